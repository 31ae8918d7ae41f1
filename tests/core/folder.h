/* A folder for each test of the cache, made and removed with all that is in it; entries whose
 * content follows from a number.  Include it first. */
#ifndef ISLES_TESTS_FOLDER_H
#define ISLES_TESTS_FOLDER_H

#define _GNU_SOURCE /* nftw */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache.h"
#include "check.h"
#include "status.h"

/* Two users who aren't root and own nothing. */
enum { NOBODY = 65534, STRANGER = 54321 };

/* The test's folder, a real path.  Like /tmp, the one above has to let other users through. */
static char base[200];

static inline void
base_make(void)
{
    const char *parent = getenv("TMPDIR"); /* set it where /tmp is noexec */
    char real[PATH_MAX];
    CHECK(realpath(parent != NULL ? parent : "/tmp", real) != NULL && strlen(real) < 150);
    snprintf(base, sizeof(base), "%.150s/isles-test-XXXXXX", real);
    CHECK(mkdtemp(base) != NULL);
}

static inline int
remove_one(const char *path, const struct stat *stat, int flag, struct FTW *where)
{
    (void)stat, (void)flag, (void)where;
    return remove(path);
}

static inline void
remove_tree(const char *path)
{
    CHECK(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static inline void
base_remove(void)
{
    remove_tree(base);
}

/* "base/name"; good for the next seven calls. */
static inline const char *
under_base(const char *name)
{
    static _Thread_local char paths[8][PATH_MAX];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", base, name);
    return path;
}

static inline bool
is_root(void)
{
    static bool told;
    if (geteuid() != 0 && !told) {
        told = true;
        puts("not root: what needs other users or mounts is left out");
    }
    return geteuid() == 0;
}

/* As another user, and back. */
static inline void
become(uid_t user)
{
    if (user != 0) {
        CHECK(setegid(user) == 0 && seteuid(user) == 0);
    } else {
        CHECK(seteuid(0) == 0 && setegid(0) == 0);
    }
}

/* ---- entries ---- */

static inline struct isles_digest
key_of(uint64_t number)
{
    return isles_digest_of(&number, sizeof(number));
}

/* Bytes of malloc that tell the number and where they are. */
static inline unsigned char *
bytes_of(uint64_t number, size_t size)
{
    unsigned char *bytes = malloc(size + 1);
    CHECK(bytes != NULL);
    uint32_t seed = (uint32_t)number * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)(random_next(&seed) >> 13);
    }
    return bytes;
}

static inline bool
file_begins_with(const char *path, const unsigned char *bytes, size_t size)
{
    unsigned char *found = malloc(size + 1);
    CHECK(found != NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t done = 0;
    for (ssize_t got = 1; fd >= 0 && got > 0 && done < size; done += (size_t)got) {
        got = read(fd, found + done, size - done);
        CHECK(got >= 0);
    }
    bool same = fd >= 0 && done == size && memcmp(found, bytes, size) == 0;
    if (fd >= 0) {
        close(fd);
    }
    free(found);
    return same;
}

static inline int
store_number(struct isles_cache *cache, uint64_t number, const char *name, size_t size, char **path,
             struct isles_fault *fault)
{
    unsigned char *bytes = bytes_of(number, size);
    int status = isles_cache_store(cache, key_of(number), name, bytes, size, path, fault);
    CHECK(status < 0 || file_begins_with(*path, bytes, size));
    free(bytes);
    return status;
}

/* Stores it and gives the path, good until the next call. */
static inline const char *
stored(struct isles_cache *cache, uint64_t number, const char *name, size_t size)
{
    static char kept[PATH_MAX];
    char *path;
    struct isles_fault fault;
    CHECK(store_number(cache, number, name, size, &path, &fault) == 0);
    strcpy(kept, path);
    free(path);
    return kept;
}

/* The status of looking for it; checks what is found. */
static inline int
find_number(struct isles_cache *cache, uint64_t number, const char *name, size_t size)
{
    char *path = NULL;
    struct isles_fault fault;
    int status = isles_cache_find(cache, key_of(number), name, &path, &fault);
    if (status < 0) {
        CHECK(path == NULL);
        return status;
    }
    unsigned char *bytes = bytes_of(number, size);
    CHECK(file_begins_with(path, bytes, size));
    free(bytes);
    free(path);
    return status;
}

static inline struct isles_cache *
cache_in(const char *folder)
{
    struct isles_cache *cache;
    struct isles_fault fault;
    int status = isles_cache_open(folder, &cache, &fault);
    if (status < 0) {
        fprintf(stderr, "%s: %s %s, errno %d\n", fault.path, isles_status_text(status),
                fault.why ? fault.why : "", fault.error);
        abort();
    }
    return cache;
}

static inline int
names_in(const char *folder)
{
    DIR *names = opendir(folder);
    if (names == NULL) {
        return 0;
    }
    int count = -2; /* "." and ".." */
    while (readdir(names) != NULL) {
        count++;
    }
    closedir(names);
    return count;
}

/* Sets back when a file was last used. */
static inline void
age(const char *path, int64_t seconds)
{
    struct timespec then;
    clock_gettime(CLOCK_REALTIME, &then);
    then.tv_sec -= seconds;
    CHECK(utimensat(AT_FDCWD, path, (struct timespec[]){then, then}, AT_SYMLINK_NOFOLLOW) == 0);
}

static inline bool
exists(const char *path)
{
    struct stat stat;
    return lstat(path, &stat) == 0;
}

#endif
