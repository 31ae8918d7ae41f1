#define _GNU_SOURCE /* asprintf */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copies_parts.h"

#define LIMIT_DEFAULT (UINT64_C(8) << 30) /* bytes, of the whole folder */

/* Under the lock. */
static struct isles_cache *cache;
static struct isles_cache *volatile lost; /* kept for those in it; volatile, or it is left out */

bool
isles__store_is_memory(void)
{
    const char *where = getenv("ISLES_CACHE");
    return where != NULL && strcmp(where, "memory") == 0;
}

/* Why the environment names no folder that can be used; NULL if it does. */
static const char *
cache_folder(char *out, size_t size)
{
    const char *named = getenv("ISLES_CACHE_DIR"), *user = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME"), *below = "", *folder = NULL;
    const char *where = getenv("ISLES_CACHE");
    if (where != NULL && *where != 0) {
        return "ISLES_CACHE is neither unset nor \"memory\"";
    }
    if (named != NULL && *named != 0) {
        folder = named;
    } else if (user != NULL && *user == '/') {
        folder = user;
        below = "/isles/extensions";
    } else if (home != NULL && *home == '/') {
        folder = home;
        below = "/.cache/isles/extensions";
    }
    if (folder == NULL) {
        return "HOME is not set to a folder";
    }
    if ((size_t)snprintf(out, size, "%s%s", folder, below) >= size) {
        return "its path is too long";
    }
    return strchr(out, '$') ? "its path has a dollar sign, which the dynamic linker would expand"
                            : NULL;
}

/* Whether the environment names a limit that can be understood, or none: then it is the default. */
static bool
cache_limit(uint64_t *limit)
{
    const char *text = getenv("ISLES_CACHE_LIMIT");
    *limit = LIMIT_DEFAULT;
    if (text == NULL || *text == 0) {
        return true;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0) {
        return false;
    }
    *limit = number;
    return true;
}

/* The process's cache, opened at the first need and never closed. */
int
isles__store_cache(struct isles_cache **out, struct isles_fault *fault)
{
    isles_mutex_lock(&isles__copies_lock);
    *out = cache;
    isles_mutex_unlock(&isles__copies_lock);
    if (*out != NULL) {
        return ISLES_OK;
    }
    char folder[PATH_MAX];
    struct isles_cache *opened;
    uint64_t limit;
    const char *why = cache_limit(&limit) ? cache_folder(folder, sizeof(folder))
                                          : "ISLES_CACHE_LIMIT is not a number of bytes";
    if (why != NULL) {
        return isles__copies_fail_for(fault, ISLES_IO, "the folder for copies", why);
    }
    int status = isles_cache_open(folder, &opened, fault);
    if (status < 0) {
        return status;
    }
    isles_mutex_lock(&isles__copies_lock);
    struct isles_cache *mine = opened;
    if (cache == NULL) {
        cache = opened;
        mine = NULL;
    }
    *out = cache;
    isles_mutex_unlock(&isles__copies_lock);
    if (mine != NULL) {
        isles_cache_close(mine); /* another thread was faster */
    }
    return ISLES_OK;
}

/* The user removed the folder under a running process: the next one to ask opens it again.  Others
 * may be inside, so it stays. */
static void
forget_cache(const struct isles_cache *gone)
{
    isles_mutex_lock(&isles__copies_lock);
    if (cache == gone) {
        lost = cache;
        cache = NULL;
    }
    isles_mutex_unlock(&isles__copies_lock);
}

/* ---- in memory ---- */

#define MEMORY_FILE "/proc/self/fd/%d"

/* In memory: the file stays open, or another one would get its name, and the linker would take it
 * for this one. */
static int
store_in_memory(const char *name, const unsigned char *data, size_t size, char **path,
                struct isles_fault *fault)
{
    int fd, status = isles_memory_file(name, data, size, &fd);
    if (status < 0) {
        return isles__copies_fail(fault, status, name);
    }
    if (asprintf(path, MEMORY_FILE, fd) < 0) {
        close(fd);
        return ISLES_NO_MEMORY;
    }
    return ISLES_OK;
}

bool
isles__store_has_in_memory(const char *path)
{
    int fd;
    return sscanf(path, MEMORY_FILE, &fd) == 1;
}

/* ---- on disk ---- */

/* After `size` more bytes.  To look what all take reads the whole folder, so it is done after the
 * first that a process stores, and then each time that a 64th of the limit has come on top. */
static void
trim(struct isles_cache *opened, uint64_t size)
{
    static _Atomic uint64_t since = UINT64_MAX / 2;
    uint64_t limit;
    (void)cache_limit(&limit); /* if it was changed to nonsense since isles__store_cache(): none */
    if (atomic_fetch_add(&since, size) + size > limit / 64) {
        atomic_store(&since, 0);
        (void)isles_cache_trim(opened, limit, NULL);
    }
}

/* `passing`: it goes as soon as it is loaded, so there is no use in looking what all take. */
static int
store_on_disk(struct isles_digest key, const char *name, const unsigned char *data, size_t size,
              bool passing, char **path, struct isles_fault *fault)
{
    struct isles_cache *opened;
    int status = isles__store_cache(&opened, fault);
    if (status < 0) {
        return status;
    }
    status = isles_cache_store(opened, key, name, data, size, path, fault);
    if (status == ISLES_IO && fault->error == ENOENT) {
        forget_cache(opened);
        status = isles__store_cache(&opened, fault);
        status =
            status < 0 ? status : isles_cache_store(opened, key, name, data, size, path, fault);
    }
    if (status == 0 && !passing) {
        trim(opened, size);
    }
    return status;
}

/* ---- either ---- */

int
isles__store_find(struct isles_digest key, const char *name, char **path, struct isles_fault *fault)
{
    struct isles_cache *opened;
    if (isles__store_is_memory()) {
        return ISLES_NOT_FOUND;
    }
    int status = isles__store_cache(&opened, fault);
    return status < 0 ? status : isles_cache_find(opened, key, name, path, fault);
}

int
isles__store_put(struct isles_digest key, const char *name, const unsigned char *data, size_t size,
                 bool passing, char **path, struct isles_fault *fault)
{
    return isles__store_is_memory() ? store_in_memory(name, data, size, path, fault)
                                    : store_on_disk(key, name, data, size, passing, path, fault);
}

void
isles__store_remove(const char *path)
{
    int fd;
    char folder[PATH_MAX];
    if (sscanf(path, MEMORY_FILE, &fd) == 1) {
        close(fd);
        return;
    }
    (void)unlink(path);
    if ((size_t)snprintf(folder, sizeof(folder), "%s", path) < sizeof(folder)) {
        *strrchr(folder, '/') = 0;
        (void)rmdir(folder); /* of its key */
    }
}
