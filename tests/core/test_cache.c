/* The cache: entries are kept, found, made once, and removed oldest first, but not while in use. */
#include "folder.h"

#include <signal.h>
#include <sys/wait.h>

#include "cache_parts.h"

static struct isles_fault fault;

/* ---- opening ---- */

static void
test_makes_the_folder(void)
{
    struct stat stat;
    struct isles_cache *cache = cache_in(under_base("a/b/./c//cache/"));
    CHECK(strcmp(isles_cache_path(cache), under_base("a/b/c/cache")) == 0);
    static const char *const made[] = {"a", "a/b", "a/b/c", "a/b/c/cache", "a/b/c/cache/users"};
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        CHECK(lstat(under_base(made[i]), &stat) == 0 && S_ISDIR(stat.st_mode));
        CHECK((stat.st_mode & 07777) == 0700 && stat.st_uid == geteuid());
    }
    isles_cache_close(cache);
    CHECK(names_in(under_base("a/b/c/cache/users")) == 0);
}

static void
test_relative_path(void)
{
    char before[PATH_MAX];
    CHECK(getcwd(before, sizeof(before)) != NULL && chdir(base) == 0);
    struct isles_cache *cache = cache_in("relative/cache");
    CHECK(chdir(before) == 0);
    CHECK(strcmp(isles_cache_path(cache), under_base("relative/cache")) == 0);
    CHECK(strncmp(stored(cache, 1, "x", 10), base, strlen(base)) == 0);
    isles_cache_close(cache);
}

/* A link above the folder is the user's business; where it leads is what is given. */
static void
test_link_above(void)
{
    CHECK(mkdir(under_base("real"), 0700) == 0);
    CHECK(symlink(under_base("real"), under_base("link")) == 0);
    struct isles_cache *cache = cache_in(under_base("link/cache"));
    CHECK(strcmp(isles_cache_path(cache), under_base("real/cache")) == 0);
    isles_cache_close(cache);
}

static void
test_no_path(void)
{
    struct isles_cache *cache = NULL;
    char longest[PATH_MAX + 10];
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    for (size_t i = 100; i < sizeof(longest); i += 100) {
        longest[i] = '/';
    }
    longest[sizeof(longest) - 1] = '\0';
    static const char *const bad[] = {"", "/", "///", "/.", "missing/../cache", ".."};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(isles_cache_open(bad[i], &cache, &fault) == ISLES_IO);
        CHECK(fault.error == EINVAL && fault.why == NULL);
    }
    CHECK(isles_cache_open(longest, &cache, &fault) == ISLES_IO && fault.error == ENAMETOOLONG);
    longest[PATH_MAX - 100] = '\0'; /* fits, but entries would not */
    CHECK(isles_cache_open(longest, &cache, NULL) == ISLES_IO);
    CHECK(cache == NULL);
}

/* ---- finding and storing ---- */

static void
test_store_and_find(void)
{
    static const size_t sizes[] = {0, 1, 39, 40, 41, 4096, 131072, 131073, 1000000};
    struct isles_cache *cache = cache_in(under_base("cache"));
    for (uint64_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CHECK(find_number(cache, i, "module.so", sizes[i]) == ISLES_NOT_FOUND);
        struct stat stat;
        CHECK(lstat(stored(cache, i, "module.so", sizes[i]), &stat) == 0);
        CHECK((stat.st_mode & 0777) == 0600 && stat.st_size == (off_t)sizes[i] + 40);
        CHECK(find_number(cache, i, "module.so", sizes[i]) == 0);
        CHECK(find_number(cache, i, "other.so", sizes[i]) == ISLES_NOT_FOUND);
    }
    isles_cache_close(cache);
    cache = cache_in(under_base("cache")); /* a later process */
    for (uint64_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CHECK(find_number(cache, i, "module.so", sizes[i]) == 0);
    }
    CHECK(names_in(under_base("cache/new")) == 0);
    isles_cache_close(cache);
}

/* Who has the first one open or mapped goes on with it, and so does everybody else. */
static void
test_stored_twice(void)
{
    struct stat first, second;
    struct isles_cache *cache = cache_in(under_base("cache"));
    CHECK(lstat(stored(cache, 7, "m", 500), &first) == 0);
    CHECK(lstat(stored(cache, 7, "m", 500), &second) == 0);
    CHECK(first.st_ino == second.st_ino);
    CHECK(names_in(under_base("cache/new")) == 0);
    isles_cache_close(cache);
}

static void
test_names(void)
{
    char name[ISLES_CACHE_NAME_MAX + 2] = "", *path = NULL;
    struct isles_cache *cache = cache_in(under_base("cache"));
    memset(name, 'n', ISLES_CACHE_NAME_MAX);
    (void)stored(cache, 1, name, 10);
    CHECK(find_number(cache, 1, name, 10) == 0);
    (void)stored(cache, 1, ".hidden", 10);
    CHECK(find_number(cache, 1, ".hidden", 10) == 0);
    name[ISLES_CACHE_NAME_MAX] = 'n';
    const char *const bad[] = {"", ".", "..", "a/b", "/", "../x", name};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(isles_cache_find(cache, key_of(1), bad[i], &path, &fault) == ISLES_IO);
        CHECK(fault.error == EINVAL && fault.why == NULL);
        CHECK(isles_cache_store(cache, key_of(1), bad[i], "x", 1, &path, &fault) == ISLES_IO);
        CHECK(fault.error == EINVAL);
    }
    CHECK(path == NULL);
    isles_cache_close(cache);
}

static void
test_folder_was_removed(void)
{
    char *path = NULL;
    struct isles_cache *cache = cache_in(under_base("cache"));
    (void)stored(cache, 1, "m", 10);
    remove_tree(under_base("cache"));
    CHECK(find_number(cache, 1, "m", 10) == ISLES_NOT_FOUND);
    CHECK(store_number(cache, 1, "m", 10, &path, &fault) == ISLES_IO && fault.error == ENOENT);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    isles_cache_close(cache);
    cache = cache_in(under_base("cache"));
    (void)stored(cache, 1, "m", 10);
    isles_cache_close(cache);
}

/* ---- trimming ---- */

enum { SIZE = 1000, WHOLE = SIZE + 40 };

/* Entries 0 to 9, the first used longest ago, all before anybody who lives. */
static void
fill(const char *folder)
{
    struct isles_cache *cache = cache_in(folder);
    for (uint64_t i = 0; i < 10; i++) {
        age(stored(cache, i, "m", SIZE), 1000 - (int64_t)i);
    }
    isles_cache_close(cache);
}

static unsigned
which(struct isles_cache *cache)
{
    unsigned found = 0;
    for (uint64_t i = 0; i < 10; i++) {
        char path[PATH_MAX], hex[ISLES_DIGEST_HEX + 1];
        isles_digest_hex(key_of(i), hex);
        snprintf(path, sizeof(path), "%s/%s/m", isles_cache_path(cache), hex);
        found |= exists(path) ? 1u << i : 0;
    }
    return found;
}

static void
test_trim_oldest_first(void)
{
    fill(under_base("cache"));
    struct isles_cache *cache = cache_in(under_base("cache"));
    CHECK(isles_cache_trim(cache, 10 * WHOLE, &fault) == 0 && which(cache) == 0x3ff);
    CHECK(isles_cache_trim(cache, 10 * WHOLE - 1, &fault) == 0 && which(cache) == 0x3fe);
    CHECK(isles_cache_trim(cache, 6 * WHOLE, &fault) == 0 && which(cache) == 0x3f0);
    CHECK(find_number(cache, 4, "m", SIZE) == 0); /* now the newest, and in use */
    CHECK(isles_cache_trim(cache, 2 * WHOLE, &fault) == 0 && which(cache) == 0x210);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0 && which(cache) == 0x010);
    CHECK(names_in(under_base("cache")) == 3); /* a key, users and new: empty folders went too */
    isles_cache_close(cache);
    sleep(1); /* a file system may keep whole seconds only; equal counts as in use */
    cache = cache_in(under_base("cache"));
    CHECK(isles_cache_trim(cache, 0, &fault) == 0 && which(cache) == 0);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    isles_cache_close(cache);
}

static void
test_trim_spares_what_others_use(void)
{
    fill(under_base("cache"));
    struct isles_cache *older = cache_in(under_base("cache"));
    CHECK(find_number(older, 2, "m", SIZE) == 0);
    (void)stored(older, 3, "m", SIZE); /* that is use as well */
    sleep(1);
    struct isles_cache *newer = cache_in(under_base("cache"));
    CHECK(isles_cache_trim(newer, 0, &fault) == 0 && which(newer) == 0x00c);
    isles_cache_close(older);
    CHECK(isles_cache_trim(newer, 0, &fault) == 0 && which(newer) == 0);
    isles_cache_close(newer);
}

/* The path of the only user's file. */
static const char *
user_file(void)
{
    static char path[PATH_MAX];
    DIR *users = opendir(under_base("cache/users"));
    CHECK(users != NULL && names_in(under_base("cache/users")) == 1);
    for (const struct dirent *next; (next = readdir(users)) != NULL;) {
        if (next->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/cache/users/%s", base, next->d_name);
        }
    }
    closedir(users);
    return path;
}

/* The time that an entry and a user have in common counts as in use, as coarse as it may be. */
static void
test_trim_equal_times(void)
{
    struct stat stat;
    fill(under_base("cache"));
    struct isles_cache *cache = cache_in(under_base("cache"));
    CHECK(lstat(user_file(), &stat) == 0);
    struct timespec same[2] = {stat.st_mtim, stat.st_mtim};
    CHECK(utimensat(AT_FDCWD, stored(cache, 5, "m", SIZE), same, 0) == 0);
    same[0].tv_sec--, same[1].tv_sec--;
    CHECK(utimensat(AT_FDCWD, stored(cache, 6, "m", SIZE), same, 0) == 0);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0 && which(cache) == 0x020);
    isles_cache_close(cache);
}

/* What is found or stored is in use even if the clock has been set back since we began. */
static void
test_trim_after_the_clock_was_set_back(void)
{
    fill(under_base("cache"));
    struct isles_cache *cache = cache_in(under_base("cache"));
    age(user_file(), -3600); /* as if we had begun in an hour */
    struct stat stat;
    CHECK(lstat(user_file(), &stat) == 0);
    cache->since = isles__cache_used(&stat);
    CHECK(find_number(cache, 4, "m", SIZE) == 0);
    (void)stored(cache, 20, "m", SIZE);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    CHECK(which(cache) == 0x010 && find_number(cache, 20, "m", SIZE) == 0);
    isles_cache_close(cache);
}

/* A process that is killed leaves its file, but not the lock. */
static void
test_dead_user(void)
{
    int pipes[2];
    char byte;
    fill(under_base("cache"));
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct isles_cache *cache = cache_in(under_base("cache"));
        CHECK(find_number(cache, 1, "m", SIZE) == 0 && write(pipes[1], "x", 1) == 1);
        pause();
        _exit(0);
    }
    CHECK(read(pipes[0], &byte, 1) == 1);
    sleep(1);
    struct isles_cache *cache = cache_in(under_base("cache"));
    CHECK(names_in(under_base("cache/users")) == 2);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0 && which(cache) == 0x002);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK(names_in(under_base("cache/users")) == 2);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0 && which(cache) == 0);
    CHECK(names_in(under_base("cache/users")) == 1);
    isles_cache_close(cache);
    close(pipes[0]);
    close(pipes[1]);
}

/* The child goes on using what its parent opened, for as long as it lives. */
static void
test_forked_child(void)
{
    int pipes[2];
    fill(under_base("cache"));
    struct isles_cache *cache = cache_in(under_base("cache"));
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(pipes[1]);
        CHECK(find_number(cache, 2, "m", SIZE) == 0);
        CHECK(read(pipes[0], &byte, 1) == 0); /* the parent has closed its end */
        isles_cache_close(cache);
        _exit(0);
    }
    close(pipes[0]);
    isles_cache_close(cache);
    CHECK(names_in(under_base("cache/users")) == 1);
    sleep(1);
    cache = cache_in(under_base("cache"));
    (void)isles_cache_trim(cache, 0, &fault);
    CHECK((which(cache) & ~4u) == 2); /* 2 may not have been found yet */
    close(pipes[1]);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(names_in(under_base("cache/users")) == 1);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0 && which(cache) == 0);
    isles_cache_close(cache);
}

static void
make_file(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
}

static void
test_leftovers(void)
{
    struct isles_cache *cache = cache_in(under_base("cache"));
    (void)stored(cache, 1, "m", 10);
    make_file(under_base("cache/new/old"));
    make_file(under_base("cache/new/fresh"));
    make_file(under_base("cache/users/dead"));
    make_file(under_base("cache/what-is-not-ours"));
    age(under_base("cache/new/old"), 3605);
    age(under_base("cache/new/fresh"), 3500);
    age(under_base("cache/what-is-not-ours"), 1000000);
    isles_cache_close(cache_in(under_base("cache")));
    CHECK(!exists(under_base("cache/new/old")) && exists(under_base("cache/new/fresh")));
    CHECK(!exists(under_base("cache/users/dead")) && names_in(under_base("cache/users")) == 1);
    age(under_base("cache/new/fresh"), 3605);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    CHECK(!exists(under_base("cache/new/fresh")));
    CHECK(exists(under_base("cache/what-is-not-ours")));
    isles_cache_close(cache);
}

static void
run(void (*test)(void))
{
    base_make();
    test();
    base_remove();
}

int
main(void)
{
    run(test_makes_the_folder);
    run(test_relative_path);
    run(test_link_above);
    run(test_no_path);
    run(test_store_and_find);
    run(test_stored_twice);
    run(test_names);
    run(test_folder_was_removed);
    run(test_trim_oldest_first);
    run(test_trim_spares_what_others_use);
    run(test_trim_equal_times);
    run(test_trim_after_the_clock_was_set_back);
    run(test_dead_user);
    run(test_forked_child);
    run(test_leftovers);
    return 0;
}
