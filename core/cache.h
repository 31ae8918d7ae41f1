/* A folder of files that are made once and used again, by this process and later ones: the edited
 * copies of extension modules, which have to lie on disk where debuggers find them.
 *
 *     <folder>/<key>/<name>         an entry: its bytes, then a trailer with their digest
 *     <folder>/new/<unique>         an entry that is still being written
 *     <folder>/users/<unique>       one for each process that has it open, and locked by it
 *
 * Trust.  Code is loaded from here, so nobody but the user (and root) may be able to change what is
 * in the folder or where its path leads; a folder where that isn't so is refused.  An entry that
 * isn't as it was written is removed when it is met, and made again by whoever wanted it.
 *
 * Several threads and processes may do anything here at the same time; they only ever see whole
 * entries.  The structure does not change while it is open: threads need no lock.  A forked child
 * may go on using it.  Every function reads or writes files: call it without a GIL.  Only
 * isles_cache_store() ever waits for somebody else, who is looking at what is in its way: for a
 * second at most. */
#ifndef ISLES_CACHE_H
#define ISLES_CACHE_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"

#define ISLES_CACHE_NAME_MAX 200

struct isles_cache;

/* What went wrong, for an error message.  Every function here fills it if it fails (except for
 * ISLES_NOT_FOUND); it may be NULL. */
struct isles_fault {
    int error;           /* errno, or 0 */
    const char *why;     /* a static text, to follow the path, or NULL; with ISLES_UNSAFE always */
    char path[PATH_MAX]; /* the file or folder that it is about */
};

/* Opens the folder, and makes it and what is missing above it, for this user alone.  Removes what
 * processes that died left behind.  A folder that may only be read can be opened.  Whoever calls it
 * closes it.
 *
 * 0, ISLES_UNSAFE (the folder is a symbolic link, is not the user's, can be written by others; or
 * one above it can be replaced by others), ISLES_NO_EXEC, ISLES_READ_ONLY or ISLES_NO_SPACE (it is
 * missing and can't be made), ISLES_TOO_MANY_FILES, ISLES_NO_MEMORY, ISLES_IO. */
int isles_cache_open(const char *folder, struct isles_cache **cache, struct isles_fault *fault);

/* Gives it back.  What was found in it may then be trimmed by others, if nobody else uses it. */
void isles_cache_close(struct isles_cache *cache);

/* Its path: absolute, and without symbolic links when it was opened.  Lives as long as it does. */
const char *isles_cache_path(const struct isles_cache *cache);

/* Looks for a sound entry, reads it to be sure, and notes that it is in use.  Gives its absolute
 * path, to be freed.  The name has no '/', is neither "." nor "..", and has at most
 * ISLES_CACHE_NAME_MAX bytes.
 *
 * 0; ISLES_NOT_FOUND: none, or none any more, because a damaged one was removed; and
 * ISLES_TOO_MANY_FILES, ISLES_NO_MEMORY, ISLES_READ_ONLY (may not be read), ISLES_IO (EINVAL: the
 * name). */
int isles_cache_find(struct isles_cache *cache, struct isles_digest key, const char *name,
                     char **path, struct isles_fault *fault);

/* Makes an entry, unless a sound one of that key and name is there: the key stands for the bytes.
 * Gives its path like isles_cache_find().
 *
 * 0; ISLES_NO_SPACE, ISLES_READ_ONLY, ISLES_TOO_MANY_FILES, ISLES_NO_MEMORY, ISLES_UNSAFE (what is
 * in its place can't be removed), ISLES_IO (EINVAL: the name; ENOENT: somebody removed the whole
 * folder: open it again). */
int isles_cache_store(struct isles_cache *cache, struct isles_digest key, const char *name,
                      const void *data, size_t size, char **path, struct isles_fault *fault);

/* Removes entries, the ones first that were not used for longest, until the sum of their sizes is
 * within the limit; never one that may be in use: that was found or stored since the oldest of the
 * processes that have the cache open opened it.  0 also if those alone exceed the limit, or some
 * can't be removed.
 *
 * ISLES_READ_ONLY, ISLES_TOO_MANY_FILES, ISLES_NO_MEMORY, ISLES_IO: removed nothing, or not all. */
int isles_cache_trim(struct isles_cache *cache, uint64_t limit, struct isles_fault *fault);

#endif
