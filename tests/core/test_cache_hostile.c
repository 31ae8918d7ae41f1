/* A cache in the hands of somebody who means ill, or of a bad disk: it is refused, or it heals. */
#include "folder.h"

#include <sys/wait.h>

#include "os.h"

static struct isles_fault fault;

enum { SIZE = 5000, WHOLE = SIZE + 40 };

/* ---- the folder ---- */

/* Refused, and the fault says where and why. */
static void
check_unsafe(const char *folder, const char *where, const char *why)
{
    struct isles_cache *cache = NULL;
    CHECK(isles_cache_open(folder, &cache, &fault) == ISLES_UNSAFE && cache == NULL);
    CHECK(fault.error == 0 && strcmp(fault.path, where) == 0);
    CHECK(strstr(fault.why, why) != NULL);
    CHECK(isles_cache_open(folder, &cache, NULL) == ISLES_UNSAFE && cache == NULL);
}

static void
make_folder(const char *path, mode_t mode)
{
    CHECK(mkdir(path, 0700) == 0 && chmod(path, mode) == 0);
}

static void
test_others_may_write(void)
{
    static const mode_t modes[] = {0777, 0702, 0720, 0770, 01777, 01720};
    const char *folder = under_base("cache");
    make_folder(folder, 0700);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        CHECK(chmod(folder, modes[i]) == 0);
        check_unsafe(folder, folder, "written by other users");
    }
    CHECK(names_in(folder) == 0);
    CHECK(chmod(folder, 0755) == 0); /* they may look */
    isles_cache_close(cache_in(folder));
}

static void
test_folder_is_a_link(void)
{
    make_folder(under_base("real"), 0700);
    CHECK(symlink("real", under_base("cache")) == 0);
    check_unsafe(under_base("cache"), under_base("cache"), "symbolic link");
    check_unsafe(under_base("cache/"), under_base("cache"), "symbolic link");
    CHECK(unlink(under_base("cache")) == 0 && symlink("nowhere", under_base("cache")) == 0);
    check_unsafe(under_base("cache"), under_base("cache"), "symbolic link");
    check_unsafe(under_base("cache/inside"), under_base("cache"), "symbolic link");
    CHECK(names_in(under_base("real")) == 0 && !exists(under_base("nowhere")));
}

/* Not unsafe, but no folder; and a FIFO must not block. */
static void
test_folder_is_a_file(void)
{
    struct isles_cache *cache;
    static const char *const folders[] = {"cache", "cache/inside", "cache/inside/deeper"};
    for (size_t i = 0; i < 6; i++) {
        if (i == 0) {
            close(open(under_base("cache"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        } else if (i == 3) {
            CHECK(unlink(under_base("cache")) == 0 && mkfifo(under_base("cache"), 0600) == 0);
        }
        CHECK(isles_cache_open(under_base(folders[i % 3]), &cache, &fault) == ISLES_IO);
        CHECK(fault.error == ENOTDIR);
    }
}

static void
test_folders_above(void)
{
    make_folder(under_base("a"), 0777);
    check_unsafe(under_base("a/b/cache"), under_base("a"), "written by other users");
    CHECK(names_in(under_base("a")) == 0);     /* nothing is made in it */
    CHECK(chmod(under_base("a"), 01777) == 0); /* as /tmp is */
    isles_cache_close(cache_in(under_base("a/b/cache")));
    CHECK(chmod(under_base("a/b"), 0707) == 0);
    check_unsafe(under_base("a/b/cache"), under_base("a/b"), "written by other users");
    CHECK(chmod(under_base("a/b"), 0700) == 0);
    /* By way of a link as well. */
    make_folder(under_base("open"), 0777);
    CHECK(symlink("open", under_base("link")) == 0);
    check_unsafe(under_base("link/cache"), under_base("open"), "written by other users");
}

/* The user's own group, which has nobody else in it, and another. */
static void
test_group_above(void)
{
    if (!is_root()) {
        return;
    }
    make_folder(under_base("a"), 0775);
    CHECK(chown(under_base("a"), 0, STRANGER) == 0 && chmod(under_base("a"), 0775) == 0);
    check_unsafe(under_base("a/cache"), under_base("a"), "written by other users");
    CHECK(chown(under_base("a"), 0, 0) == 0);
    isles_cache_close(cache_in(under_base("a/cache")));
}

static void
test_another_owner(void)
{
    if (!is_root()) {
        return;
    }
    make_folder(under_base("cache"), 0700);
    CHECK(chown(under_base("cache"), STRANGER, STRANGER) == 0);
    check_unsafe(under_base("cache"), under_base("cache"), "another user");
    check_unsafe(under_base("cache/b/c"), under_base("cache"), "another user");
    /* To somebody who isn't root, root's folder is another's too, but may lie above. */
    CHECK(chown(under_base("cache"), 0, 0) == 0 && chmod(under_base("cache"), 0755) == 0);
    CHECK(chmod(base, 0755) == 0 && mkdir(under_base("cache/mine"), 0700) == 0);
    CHECK(chown(under_base("cache/mine"), NOBODY, NOBODY) == 0);
    become(NOBODY);
    check_unsafe(under_base("cache"), under_base("cache"), "another user");
    isles_cache_close(cache_in(under_base("cache/mine")));
    isles_cache_close(cache_in(under_base("cache/mine/deeper")));
    become(0);
}

/* Whatever is swapped in for the path later, we stay where we were. */
static void
test_path_is_swapped(void)
{
    struct isles_cache *cache = cache_in(under_base("cache"));
    (void)stored(cache, 1, "m", SIZE);
    CHECK(rename(under_base("cache"), under_base("moved")) == 0);
    make_folder(under_base("evil"), 0777);
    CHECK(symlink("evil", under_base("cache")) == 0);
    char *path;
    struct isles_digest key = key_of(1);
    CHECK(isles_cache_find(cache, key, "m", &path, &fault) == 0);
    free(path);
    CHECK(isles_cache_store(cache, key_of(2), "m", "xyz", 3, &path, &fault) == 0);
    free(path);
    CHECK(names_in(under_base("evil")) == 0 && names_in(under_base("moved")) == 4);
    isles_cache_close(cache);
}

/* ---- the folders inside ---- */

static void
key_folder(uint64_t number, char path[PATH_MAX])
{
    char hex[ISLES_DIGEST_HEX + 1];
    isles_digest_hex(key_of(number), hex);
    snprintf(path, PATH_MAX, "%s/cache/%s", base, hex);
}

static void
test_links_inside(void)
{
    char key[PATH_MAX];
    make_folder(under_base("elsewhere"), 0700);
    make_folder(under_base("cache"), 0700);
    key_folder(1, key);
    CHECK(symlink("../elsewhere", key) == 0);
    CHECK(symlink("../elsewhere", under_base("cache/users")) == 0);
    CHECK(symlink("../elsewhere", under_base("cache/new")) == 0);
    struct isles_cache *cache = cache_in(under_base("cache"));
    CHECK(find_number(cache, 1, "m", SIZE) == ISLES_NOT_FOUND);
    CHECK(!exists(key));
    CHECK(symlink("../elsewhere", key) == 0);
    (void)stored(cache, 1, "m", SIZE);
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
    CHECK(symlink("../../elsewhere", under_base("cache/users/0-link")) == 0);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    CHECK(names_in(under_base("cache/users")) == 1);
    CHECK(names_in(under_base("elsewhere")) == 0);
    isles_cache_close(cache);
}

static void
test_key_is_no_safe_folder(void)
{
    char key[PATH_MAX], inside[PATH_MAX + 8], *path = NULL;
    struct isles_cache *cache = cache_in(under_base("cache"));
    key_folder(1, key);
    CHECK(mkfifo(key, 0600) == 0);
    CHECK(find_number(cache, 1, "m", SIZE) == ISLES_NOT_FOUND && !exists(key));
    make_folder(key, 0777);
    (void)stored(cache, 1, "m", SIZE); /* it was empty: replaced */
    CHECK(chmod(key, 0777) == 0);
    CHECK(find_number(cache, 1, "m", SIZE) == ISLES_NOT_FOUND);
    CHECK(store_number(cache, 1, "m", SIZE, &path, &fault) == ISLES_UNSAFE && path == NULL);
    CHECK(strstr(fault.why, "others") != NULL && fault.error == 0);
    CHECK(strcmp(fault.path, under_base("cache")) == 0);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    snprintf(inside, sizeof(inside), "%s/m", key);
    CHECK(exists(inside)); /* not touched */
    isles_cache_close(cache);
}

static void
test_key_of_another(void)
{
    char key[PATH_MAX];
    if (!is_root()) {
        return;
    }
    struct isles_cache *cache = cache_in(under_base("cache"));
    key_folder(1, key);
    make_folder(key, 0700);
    CHECK(chown(key, STRANGER, STRANGER) == 0);
    CHECK(find_number(cache, 1, "m", SIZE) == ISLES_NOT_FOUND);
    (void)stored(cache, 1, "m", SIZE);
    struct stat stat;
    CHECK(lstat(key, &stat) == 0 && stat.st_uid == 0);
    isles_cache_close(cache);
}

/* ---- entries ---- */

/* It isn't found, is removed, and can be stored again. */
static void
check_heals(struct isles_cache *cache, const char *path)
{
    CHECK(find_number(cache, 1, "m", SIZE) == ISLES_NOT_FOUND);
    CHECK(!exists(path));
    (void)stored(cache, 1, "m", SIZE);
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
}

/* To store where a bad one is heals as well. */
static void
check_store_heals(struct isles_cache *cache)
{
    (void)stored(cache, 1, "m", SIZE);
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
}

static void
alter(const char *path, off_t offset, unsigned char mask)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pread(fd, &byte, 1, offset) == 1);
    byte ^= mask;
    CHECK(pwrite(fd, &byte, 1, offset) == 1);
    close(fd);
}

static void
test_altered(void)
{
    struct isles_cache *cache = cache_in(under_base("cache"));
    char path[PATH_MAX];
    strcpy(path, stored(cache, 1, "m", SIZE));
    /* Each byte of the trailer and of the end, and some of every region. */
    for (off_t at = 0; at < WHOLE; at += at < SIZE - 70 ? 61 : 1) {
        alter(path, at, (unsigned char)(1 << at % 8));
        if (at % 2) {
            check_heals(cache, path);
        } else {
            check_store_heals(cache);
        }
    }
    isles_cache_close(cache);
}

static void
test_cut_or_longer(void)
{
    static const off_t sizes[] = {0,         1,          39,     40,       41,
                                  2500,      SIZE - 1,   SIZE,   SIZE + 1, WHOLE - 1,
                                  WHOLE + 1, WHOLE + 40, 1000000};
    struct isles_cache *cache = cache_in(under_base("cache"));
    char path[PATH_MAX];
    strcpy(path, stored(cache, 1, "m", SIZE));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CHECK(truncate(path, sizes[i]) == 0);
        check_heals(cache, path);
        CHECK(truncate(path, sizes[i]) == 0);
        check_store_heals(cache);
    }
    isles_cache_close(cache);
}

/* Sound, but somewhere else. */
static void
test_in_the_place_of_another(void)
{
    struct isles_cache *cache = cache_in(under_base("cache"));
    char path[PATH_MAX], other[PATH_MAX];
    strcpy(path, stored(cache, 1, "m", SIZE));
    strcpy(other, stored(cache, 1, "other", SIZE));
    CHECK(rename(other, path) == 0);
    check_heals(cache, path);
    strcpy(other, stored(cache, 2, "m", SIZE));
    CHECK(rename(other, path) == 0);
    check_heals(cache, path);
    isles_cache_close(cache);
}

static void
test_links(void)
{
    struct isles_cache *cache = cache_in(under_base("cache"));
    char path[PATH_MAX];
    strcpy(path, stored(cache, 1, "m", SIZE));
    CHECK(rename(path, under_base("good")) == 0);
    CHECK(symlink(under_base("good"), path) == 0); /* even to the very file */
    check_heals(cache, path);
    CHECK(unlink(path) == 0 && symlink(path, path) == 0);
    check_store_heals(cache);
    /* Of two hard links dlopen() would make one module with the same statics. */
    CHECK(unlink(path) == 0 && link(under_base("good"), path) == 0);
    check_heals(cache, path);
    CHECK(unlink(path) == 0 && link(under_base("good"), path) == 0);
    check_store_heals(cache);
    CHECK(exists(under_base("good")));
    isles_cache_close(cache);
}

static void
test_other_kinds(void)
{
    struct isles_cache *cache = cache_in(under_base("cache"));
    char path[PATH_MAX], inside[PATH_MAX + 8], *out = NULL;
    strcpy(path, stored(cache, 1, "m", SIZE));
    for (int i = 0; i < 2; i++) { /* a FIFO would block whoever opens it */
        CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
        i ? check_store_heals(cache) : check_heals(cache, path);
        CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
        i ? check_store_heals(cache) : check_heals(cache, path);
    }
    CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
    snprintf(inside, sizeof(inside), "%s/x", path);
    CHECK(mkdir(inside, 0700) == 0);
    CHECK(find_number(cache, 1, "m", SIZE) == ISLES_NOT_FOUND);
    CHECK(store_number(cache, 1, "m", SIZE, &out, &fault) == ISLES_UNSAFE && out == NULL);
    CHECK(strstr(fault.why, "removed") != NULL);
    CHECK(names_in(under_base("cache/new")) == 0);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    isles_cache_close(cache);
}

static void
test_permissions(void)
{
    static const mode_t modes[] = {0602, 0620, 0666, 0777};
    struct isles_cache *cache = cache_in(under_base("cache"));
    char path[PATH_MAX];
    strcpy(path, stored(cache, 1, "m", SIZE));
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        CHECK(chmod(path, modes[i]) == 0);
        check_heals(cache, path);
    }
    CHECK(chmod(path, 0755) == 0); /* others may read it */
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
    if (is_root()) {
        CHECK(chown(path, STRANGER, STRANGER) == 0);
        check_heals(cache, path);
        CHECK(chown(path, STRANGER, 0) == 0);
        check_store_heals(cache);
    }
    isles_cache_close(cache);
}

/* Somebody else owns a file in our folder, and we aren't root. */
static void
test_as_nobody(void)
{
    if (!is_root()) {
        return;
    }
    char path[PATH_MAX];
    CHECK(chown(base, NOBODY, NOBODY) == 0);
    become(NOBODY);
    struct isles_cache *cache = cache_in(under_base("cache"));
    strcpy(path, stored(cache, 1, "m", SIZE));
    become(0);
    CHECK(chown(path, STRANGER, STRANGER) == 0);
    become(NOBODY);
    check_heals(cache, path);
    CHECK(chmod(path, 0000) == 0); /* ours, but not to be read */
    check_heals(cache, path);
    become(0);
    CHECK(chown(path, 0, 0) == 0);
    become(NOBODY);
    check_store_heals(cache);
    isles_cache_close(cache);
    become(0);
}

/* ---- somebody who changes things all the time ---- */

/* What links lead to.  What follows one here may write there: never to anything that is in use. */
static const char *
decoy(void)
{
    const char *path = under_base("decoy");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    return path;
}

static int
vandalise(uint32_t seed, const char *path)
{
    static const off_t sizes[] = {0, 20, 3000};
    switch (random_next(&seed) % 7) {
    case 0:
        return unlink(path);
    case 1:
        return truncate(path, sizes[seed % 3]);
    case 2:
        return unlink(path) + symlink(decoy(), path);
    case 3:
        return unlink(path) + mkfifo(path, 0600);
    case 4:
        return unlink(path) + mkdir(path, 0700);
    case 5:
        return chmod(path, 0666);
    default: {
        int fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        return fd < 0 || pwrite(fd, "evil", 4, seed % WHOLE) < 0 || close(fd) < 0;
    }
    }
}

/* Whatever happens, both either succeed or say what they met; what is stored again is found when
 * it is over. */
static void
test_vandal(void)
{
    char path[PATH_MAX], *out;
    struct isles_cache *cache = cache_in(under_base("cache"));
    strcpy(path, stored(cache, 1, "m", SIZE));
    pid_t child = fork();
    if (child == 0) {
        for (uint32_t seed = 1;; seed++) {
            (void)vandalise(seed * 2654435761u, path);
            isles_sleep(10000);
        }
    }
    unsigned char *bytes = bytes_of(1, SIZE);
    int64_t end = isles_now() + 1000000000;
    for (int i = 0; isles_now() < end; i++) {
        int status = i % 2 ? isles_cache_find(cache, key_of(1), "m", &out, &fault)
                           : isles_cache_store(cache, key_of(1), "m", bytes, SIZE, &out, &fault);
        CHECK(status == 0 || (status == ISLES_NOT_FOUND && i % 2) || status == ISLES_UNSAFE);
        if (status == 0) {
            free(out);
        }
    }
    free(bytes);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    check_store_heals(cache);
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
    run(test_others_may_write);
    run(test_folder_is_a_link);
    run(test_folder_is_a_file);
    run(test_folders_above);
    run(test_group_above);
    run(test_another_owner);
    run(test_path_is_swapped);
    run(test_links_inside);
    run(test_key_is_no_safe_folder);
    run(test_key_of_another);
    run(test_altered);
    run(test_cut_or_longer);
    run(test_in_the_place_of_another);
    run(test_links);
    run(test_other_kinds);
    run(test_permissions);
    run(test_as_nobody);
    run(test_vandal);
    return 0;
}
