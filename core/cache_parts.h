/* What the files of the cache share; only tests include it as well.
 *
 * cache_folder.c says which folders are safe, cache_users.c who uses the cache, cache.c finds and
 * stores entries, cache_trim.c removes them. */
#ifndef ISLES_CACHE_PARTS_H
#define ISLES_CACHE_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "cache.h"
#include "status.h"

/* Does not change between open and close. */
struct isles_cache {
    int folder;    /* everything goes through it, wherever the path leads by then */
    int user;      /* our locked file in users/; -1 if none could be made */
    uid_t owner;   /* the effective user */
    int64_t since; /* what was used since then may be in use by us; in the file system's time */
    char path[];
};

/* ---- cache_folder.c ---- */

/* What a path needs beyond the cache's: "/key/name" and the NUL. */
#define ISLES_CACHE_ROOM (1 + ISLES_DIGEST_HEX + 1 + ISLES_CACHE_NAME_MAX + 1)

/* Fills `fault`, and gives the status to return: that of the errno, the given one, ISLES_UNSAFE. */
int isles__fault_errno(struct isles_fault *fault, int error, const char *path);
int isles__fault_status(struct isles_fault *fault, int status, const char *path);
int isles__fault_unsafe(struct isles_fault *fault, const char *why, const char *path);

/* Opens the folder, making it if need be, and gives its real path. */
int isles__cache_open_folder(const char *folder, int *fd, char path[PATH_MAX],
                             struct isles_fault *fault);

/* Opens a folder inside the cache's; something else in its place is removed.  ISLES_NOT_FOUND if
 * there is none and it is not to be made; ISLES_UNSAFE if what is there can't be removed. */
int isles__cache_open_inside(const struct isles_cache *cache, const char *name, bool make, int *fd,
                             struct isles_fault *fault);

/* Calls visit(folder, name, arg) for each name in a folder, until it gives a negative status, which
 * is then the result.  Keeps the folder open. */
typedef int isles__cache_visit(int folder, const char *name, void *arg);
int isles__cache_each(const struct isles_cache *cache, int folder, isles__cache_visit *visit,
                      void *arg, struct isles_fault *fault);

/* Removes a name, be it of a file or an empty folder; whether it is gone. */
bool isles__cache_remove(int folder, const char *name);

/* A regular file of the user's, under a single name, that nobody else may write. */
bool isles__cache_is_ours(const struct isles_cache *cache, const struct stat *stat);

static inline int64_t
isles__cache_used(const struct stat *stat)
{
    return (int64_t)stat->st_mtim.tv_sec * 1000000000 + stat->st_mtim.tv_nsec;
}

/* ---- cache_users.c ---- */

/* A name that nobody else gives to a file. */
#define ISLES_UNIQUE 48
void isles__cache_unique(char name[ISLES_UNIQUE]);

/* Makes our file in users/ and sets `user` and `since`.  0 also where nothing can be written. */
int isles__cache_join(struct isles_cache *cache, struct isles_fault *fault);

/* Removes the files of processes that died: of users, and of entries half-written.  What fails
 * stays for the next time. */
void isles__cache_sweep(const struct isles_cache *cache);

/* Since when what was used may be in use: the start of the oldest process that has it open. */
int isles__cache_oldest(const struct isles_cache *cache, int64_t *since, struct isles_fault *fault);

/* ---- cache.c ---- */

/* Takes an entry's lock, without waiting.  Shared: the file is being looked at, and may be returned
 * as found.  Exclusive: it is being removed; only who has that removes a name, so that he removes
 * the file that he looked at.  Some file systems have no locks: `otherwise` is the result there.
 * (Over a network the exclusive one may need a file that is open for writing.) */
bool isles__cache_lock(int fd, int operation, bool otherwise);

/* Removes the name of a file that we hold the exclusive lock of, unless it names another by now. */
bool isles__cache_unlink(int folder, const char *name, int fd);

#endif
