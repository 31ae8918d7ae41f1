/* Where the machine sets the limit: a folder that may not be written, a full disk, no code from
 * here, too many files, no memory.  Each is named, and the cache goes on. */
#include "folder.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct isles_fault fault;

enum { SIZE = 50000 };

/* ---- may not be written ---- */

static void
test_unwritable_folder(void)
{
    char *path = NULL;
    struct isles_cache *cache = cache_in(under_base("cache"));
    (void)stored(cache, 1, "m", SIZE);
    isles_cache_close(cache);
    CHECK(chmod(under_base("cache/users"), 0500) == 0 && chmod(under_base("cache/new"), 0500) == 0);
    CHECK(chmod(under_base("cache"), 0500) == 0);
    cache = cache_in(under_base("cache"));
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
    CHECK(store_number(cache, 2, "m", SIZE, &path, &fault) == ISLES_READ_ONLY && path == NULL);
    CHECK(fault.error == EACCES && strcmp(fault.path, under_base("cache")) == 0);
    (void)isles_cache_trim(cache, 0, &fault);
    isles_cache_close(cache);
    CHECK(isles_cache_open(under_base("cache/deeper"), &cache, &fault) == ISLES_READ_ONLY);
    CHECK(strcmp(fault.path, under_base("cache/deeper")) == 0);
    CHECK(chmod(under_base("cache"), 0700) == 0 && chmod(under_base("cache/users"), 0700) == 0
          && chmod(under_base("cache/new"), 0700) == 0);
}

/* Root may write anywhere: as somebody else. */
static void
as_nobody(void (*test)(void))
{
    if (is_root()) {
        CHECK(chown(base, NOBODY, NOBODY) == 0);
        become(NOBODY);
        test();
        become(0);
    } else {
        test();
    }
}

static void
test_unwritable(void)
{
    as_nobody(test_unwritable_folder);
}

/* ---- mounts ---- */

/* Runs it in a child that has a small file system of its own at `base`, or says that it can't. */
static void
mounted(void (*test)(void), unsigned long flags, const char *options)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
            || mount("none", base, "tmpfs", flags, options) < 0) {
            puts("no mounts: left out");
            fflush(stdout);
            _exit(0);
        }
        test();
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void
full_disk(void)
{
    char *path = NULL;
    struct isles_cache *cache = cache_in(under_base("cache"));
    int status = 0;
    uint64_t count = 0;
    for (; status == 0; count++) {
        status = store_number(cache, count, "m", SIZE, &path, &fault);
        if (status == 0) {
            age(path, 1000);
            free(path);
        }
    }
    CHECK(status == ISLES_NO_SPACE && fault.error == ENOSPC && count > 3);
    CHECK(strcmp(fault.path, under_base("cache")) == 0);
    CHECK(names_in(under_base("cache/new")) == 0);
    isles_cache_close(cache);
    /* A full one can be opened, used and trimmed. */
    cache = cache_in(under_base("cache"));
    for (uint64_t i = 1; i < count - 1; i++) {
        CHECK(find_number(cache, i, "m", SIZE) == 0);
    }
    CHECK(find_number(cache, count - 1, "m", SIZE) == ISLES_NOT_FOUND);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    CHECK(find_number(cache, 0, "m", SIZE) == ISLES_NOT_FOUND); /* the only one not in use */
    (void)stored(cache, count, "m", SIZE);
    isles_cache_close(cache);
}

/* Not a file more, not even an empty one. */
static void
no_inodes(void)
{
    char *path = NULL;
    struct isles_cache *cache = NULL;
    cache = cache_in(under_base("cache"));
    (void)stored(cache, 1, "m", 10);
    isles_cache_close(cache);
    int fd = 0;
    for (int i = 0; fd >= 0; i++) {
        char name[20];
        snprintf(name, sizeof(name), "%d", i);
        fd = open(under_base(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        close(fd);
    }
    CHECK(isles_cache_open(under_base("another"), &cache, &fault) == ISLES_NO_SPACE);
    cache = cache_in(under_base("cache"));
    CHECK(find_number(cache, 1, "m", 10) == 0);
    CHECK(store_number(cache, 2, "m", 10, &path, &fault) == ISLES_NO_SPACE && path == NULL);
    isles_cache_close(cache);
}

static void
read_only_disk(void)
{
    char *path = NULL;
    struct isles_cache *cache = cache_in(under_base("cache"));
    (void)stored(cache, 1, "m", SIZE);
    isles_cache_close(cache);
    CHECK(mount("none", base, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    cache = cache_in(under_base("cache"));
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
    CHECK(find_number(cache, 2, "m", SIZE) == ISLES_NOT_FOUND);
    CHECK(store_number(cache, 2, "m", SIZE, &path, &fault) == ISLES_READ_ONLY);
    CHECK(fault.error == EROFS && path == NULL);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
    isles_cache_close(cache);
    CHECK(isles_cache_open(under_base("another"), &cache, &fault) == ISLES_READ_ONLY);
    CHECK(fault.error == EROFS);
}

static void
no_code(void)
{
    struct isles_cache *cache = NULL;
    CHECK(isles_cache_open(under_base("cache"), &cache, &fault) == ISLES_NO_EXEC && cache == NULL);
    CHECK(strcmp(fault.path, under_base("cache")) == 0 && fault.error == 0);
}

static void
test_mounts(void)
{
    if (is_root()) {
        mounted(full_disk, 0, "size=400k,mode=0700");
        mounted(no_inodes, 0, "nr_inodes=30,mode=0700");
        mounted(read_only_disk, 0, "mode=0700");
        mounted(no_code, MS_NOEXEC, "mode=0700");
    }
}

/* ---- limits of the process ---- */

static void
test_file_too_large(void)
{
    char *path = NULL;
    struct rlimit before, limit;
    struct isles_cache *cache = cache_in(under_base("cache"));
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = SIZE + 39; /* the bytes fit, the trailer does not */
    signal(SIGXFSZ, SIG_IGN);   /* as Python does */
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(store_number(cache, 1, "m", SIZE, &path, &fault) == ISLES_NO_SPACE);
    CHECK(fault.error == EFBIG && path == NULL);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(names_in(under_base("cache/new")) == 0);
    CHECK(find_number(cache, 1, "m", SIZE) == ISLES_NOT_FOUND);
    (void)stored(cache, 1, "m", SIZE);
    isles_cache_close(cache);
}

/* Leaves `count` descriptors free; -1: as many as at the start. */
static void
limit_files(int count)
{
    static struct rlimit before;
    struct rlimit limit;
    if (before.rlim_cur == 0) {
        CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    }
    limit = before;
    if (count >= 0) {
        int next = dup(0);
        CHECK(next >= 0);
        close(next);
        limit.rlim_cur = (rlim_t)(next + count);
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static int
try_open(struct isles_cache **cache)
{
    return isles_cache_open(under_base("cache"), cache, &fault);
}

/* With no descriptor left, one, two, and so on until it works; never is an entry lost for it. */
static void
test_too_many_files(void)
{
    int status = -1, count;
    char *path = NULL;
    struct isles_cache *cache = NULL;
    for (count = 0; status < 0; count++) {
        limit_files(count);
        status = try_open(&cache);
        limit_files(-1);
        CHECK(status == 0 || (status == ISLES_TOO_MANY_FILES && fault.error == EMFILE));
    }
    CHECK(count > 3 && count < 8);
    (void)stored(cache, 1, "m", SIZE);
    for (status = -1, count = 0; status < 0; count++) {
        limit_files(count);
        status = isles_cache_find(cache, key_of(1), "m", &path, &fault);
        limit_files(-1);
        CHECK(status == 0 || status == ISLES_TOO_MANY_FILES);
    }
    CHECK(count > 2 && count < 6);
    free(path);
    unsigned char *bytes = bytes_of(2, SIZE);
    for (status = -1, count = 0; status < 0; count++) {
        limit_files(count);
        status = isles_cache_store(cache, key_of(2), "m", bytes, SIZE, &path, &fault);
        limit_files(-1);
        CHECK(status == 0 || status == ISLES_TOO_MANY_FILES);
    }
    CHECK(count > 2 && names_in(under_base("cache/new")) == 0);
    age(path, 1000);
    free(path);
    for (status = -1, count = 0; status < 0; count++) {
        CHECK(count == 0 || exists(under_base("cache")));
        limit_files(count);
        status = isles_cache_trim(cache, 0, &fault);
        limit_files(-1);
        CHECK(status == 0 || status == ISLES_TOO_MANY_FILES);
    }
    CHECK(count > 2);
    CHECK(find_number(cache, 1, "m", SIZE) == 0);
    CHECK(isles_cache_trim(cache, 0, &fault) == 0);
    CHECK(find_number(cache, 2, "m", SIZE) == ISLES_NOT_FOUND);
    free(bytes);
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
    run(test_unwritable);
    run(test_mounts);
    run(test_file_too_large);
    run(test_too_many_files);
    return 0;
}
