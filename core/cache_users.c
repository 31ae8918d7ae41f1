/* Who uses the cache.
 *
 * Each process that opens it makes a file in users/ and holds its lock until it ends, however it
 * ends.  The file's time is when it began.  What it uses it touches, so whatever was last used
 * before the oldest of the living began is used by none of them.  That is coarser than a lock on
 * each entry, but costs one descriptor in a process instead of one for each copy, of which there
 * may be thousands; what a long-lived process keeps from being removed is what was used in its
 * time.
 *
 * All times compared are given by the file system: its clock, and its granularity, are the same for
 * users and entries, and equal counts as in use.
 *
 * A forked child shares its parent's lock: the file then lives as long as either, which is right,
 * because the child has the parent's copies mapped. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "cache_parts.h"
#include "os.h"

enum {
    TRIES = 100,
    LEFTOVER_AGE = 3600, /* seconds; writing an entry takes less */
};

void
isles__cache_unique(char name[ISLES_UNIQUE])
{
    /* The time tells processes of the same number apart, in containers or one after the other; all
     * these names are made with O_EXCL anyway. */
    static atomic_uint counter;
    unsigned number = atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
    snprintf(name, ISLES_UNIQUE, "%ld-%llx-%x", (long)getpid(), (unsigned long long)isles_now(),
             number);
}

/* ---- joining ---- */

/* 0; 1: somebody took it for a dead one before it was locked; or -1 and errno. */
static int
make_user(int users, int *fd, int64_t *since)
{
    struct stat stat;
    char name[ISLES_UNIQUE];
    isles__cache_unique(name);
    int file = openat(users, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0) {
        return errno == EEXIST ? 1 : -1;
    }
    if (isles__cache_lock(file, LOCK_EX, true) && fstat(file, &stat) == 0 && stat.st_nlink > 0) {
        *fd = file;
        *since = isles__cache_used(&stat);
        return 0;
    }
    close(file);
    return 1;
}

int
isles__cache_join(struct isles_cache *cache, struct isles_fault *fault)
{
    int users, made = 1, error = EBUSY;
    int status = isles__cache_open_inside(cache, "users", true, &users, fault);
    if (status == 0) {
        for (int i = 0; i < TRIES && made == 1; i++) {
            made = make_user(users, &cache->user, &cache->since);
            error = made < 0 ? errno : EBUSY;
        }
        close(users);
        status = made == 0 ? ISLES_OK : isles__fault_errno(fault, error, cache->path);
    }
    /* What is there can be found nevertheless.  Others may then trim it while we use it: a mapped
     * file outlives its name, only a debugger misses it. */
    return status == ISLES_READ_ONLY || status == ISLES_NO_SPACE ? ISLES_OK : status;
}

/* ---- the living and the dead ---- */

/* Notes in *arg, an int64_t, when a living user began; removes a dead one. */
static int
visit_user(int users, const char *name, void *arg)
{
    int64_t *oldest = arg;
    struct stat stat;
    int file = openat(users, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0 && errno == ENOENT) {
        return ISLES_OK;
    }
    if (file < 0) { /* a link is nobody; what can't be looked at may be alive */
        bool gone = errno == ELOOP && isles__cache_remove(users, name);
        return gone ? ISLES_OK : isles_status_of_errno(errno);
    }
    if (isles__cache_lock(file, LOCK_EX, false)) {
        (void)isles__cache_unlink(users, name, file);
    } else if (fstat(file, &stat) == 0 && isles__cache_used(&stat) < *oldest) {
        *oldest = isles__cache_used(&stat);
    }
    close(file);
    return ISLES_OK;
}

int
isles__cache_oldest(const struct isles_cache *cache, int64_t *since, struct isles_fault *fault)
{
    int users;
    int64_t oldest = cache->since;
    int status = isles__cache_open_inside(cache, "users", false, &users, fault);
    if (status == 0) {
        status = isles__cache_each(cache, users, visit_user, &oldest, fault);
        close(users);
    }
    if (status < 0 && status != ISLES_NOT_FOUND) {
        return status;
    }
    *since = oldest;
    return ISLES_OK;
}

/* ---- leftovers ---- */

static int
visit_new(int folder, const char *name, void *arg)
{
    struct stat stat;
    (void)arg;
    if (fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) == 0
        && stat.st_mtim.tv_sec < time(NULL) - LEFTOVER_AGE) {
        (void)isles__cache_remove(folder, name);
    }
    return ISLES_OK;
}

void
isles__cache_sweep(const struct isles_cache *cache)
{
    int folder;
    int64_t since;
    (void)isles__cache_oldest(cache, &since, NULL);
    if (isles__cache_open_inside(cache, "new", false, &folder, NULL) == 0) {
        (void)isles__cache_each(cache, folder, visit_new, NULL, NULL);
        close(folder);
    }
}
