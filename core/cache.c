/* Finding and storing entries.
 *
 * An entry is written under another name and renamed into place, so that nobody sees half of it.
 * It is not synced to the disk: what a power cut leaves half-written has a wrong digest, and is
 * made again.
 *
 * A name in place is never replaced by a rename, only removed and taken anew, because a process may
 * have mapped the file and a second dlopen() of the path has to meet the same one. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cache_parts.h"
#include "os.h"

enum {
    CHUNK = 128 << 10, /* stays in the processor's cache between reading and hashing */
    VERSION = 1,
    TRIES = 1000,       /* a millisecond each: whoever is in the way reads one entry */
    SLACK = 2000000000, /* nanoseconds; how coarse a file system's clock may be */
};

/* What stands behind an entry's bytes; the loader of shared objects doesn't look there. */
struct trailer {
    char magic[8];
    uint32_t version;
    uint32_t zero;
    uint64_t size;              /* of the bytes before */
    struct isles_digest digest; /* of those, and of where they belong */
};
_Static_assert(sizeof(struct trailer) == 40, "compared as bytes");

/* Which entry is meant. */
struct place {
    const struct isles_cache *cache;
    struct isles_digest key;
    const char *name;
    int folder; /* of the key, while open */
    struct isles_fault *fault;
};

/* ---- open and close ---- */

static int
cache_new(int folder, const char *path, struct isles_cache **out, struct isles_fault *fault)
{
    struct isles_cache *cache = malloc(sizeof(*cache) + strlen(path) + 1);
    if (cache == NULL) {
        return isles__fault_errno(fault, ENOMEM, path);
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    cache->folder = folder;
    cache->user = -1;
    cache->owner = geteuid();
    cache->since = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - SLACK;
    memcpy(cache->path, path, strlen(path) + 1);
    int status = isles__cache_join(cache, fault);
    if (status < 0) {
        free(cache);
        return status;
    }
    isles__cache_sweep(cache);
    *out = cache;
    return ISLES_OK;
}

int
isles_cache_open(const char *folder, struct isles_cache **out, struct isles_fault *fault)
{
    int fd;
    char path[PATH_MAX];
    int status = isles__cache_open_folder(folder, &fd, path, fault);
    if (status < 0) {
        return status;
    }
    status = isles_is_noexec(fd) ? isles__fault_status(fault, ISLES_NO_EXEC, path)
                                 : cache_new(fd, path, out, fault);
    if (status < 0) {
        close(fd);
    }
    return status;
}

void
isles_cache_close(struct isles_cache *cache)
{
    if (cache->user >= 0) {
        close(cache->user);
    }
    isles__cache_sweep(cache); /* removes our file, unless a forked process shares its lock */
    close(cache->folder);
    free(cache);
}

const char *
isles_cache_path(const struct isles_cache *cache)
{
    return cache->path;
}

/* ---- places ---- */

static int
place_init(struct place *place, const struct isles_cache *cache, struct isles_digest key,
           const char *name, struct isles_fault *fault)
{
    size_t size = strlen(name);
    if (size == 0 || size > ISLES_CACHE_NAME_MAX || strchr(name, '/') != NULL
        || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return isles__fault_errno(fault, EINVAL, cache->path);
    }
    *place = (struct place){cache, key, name, -1, fault};
    return ISLES_OK;
}

static int
place_fault(const struct place *place, int error)
{
    return isles__fault_errno(place->fault, error, place->cache->path);
}

static int
open_key(struct place *place, bool make)
{
    char hex[ISLES_DIGEST_HEX + 1];
    isles_digest_hex(place->key, hex);
    return isles__cache_open_inside(place->cache, hex, make, &place->folder, place->fault);
}

/* NULL without memory. */
static char *
path_of(const struct place *place)
{
    char hex[ISLES_DIGEST_HEX + 1];
    size_t size = strlen(place->cache->path) + ISLES_CACHE_ROOM;
    char *path = malloc(size);
    if (path != NULL) {
        isles_digest_hex(place->key, hex);
        snprintf(path, size, "%s/%s/%s", place->cache->path, hex, place->name);
    }
    return path;
}

/* The trailer for `size` bytes that were fed to the digester.  Key and name go in as well, so that
 * an entry under another's name is not taken for it. */
static struct trailer
seal(const struct place *place, struct isles_digester *digester, uint64_t size)
{
    struct trailer trailer = {
        .magic = {'i', 's', 'l', 'e', 'c', 'o', 'p', 'y'}, .version = VERSION, .size = size};
    isles_digest_update(digester, &place->key, sizeof(place->key));
    isles_digest_update(digester, place->name, strlen(place->name));
    trailer.digest = isles_digest_final(digester);
    return trailer;
}

/* ---- removing ---- */

bool
isles__cache_lock(int fd, int operation, bool otherwise)
{
    if (flock(fd, operation | LOCK_NB) == 0) {
        return true;
    }
    return errno != EWOULDBLOCK && otherwise;
}

bool
isles__cache_unlink(int folder, const char *name, int fd)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0
           && held.st_dev == named.st_dev && held.st_ino == named.st_ino
           && unlinkat(folder, name, 0) == 0;
}

/* ---- looking ---- */

/* Notes that it is used now; not before we began, even if the clock was set back since. */
static void
touch(const struct isles_cache *cache, int fd)
{
    struct stat stat;
    if (futimens(fd, NULL) == 0 && fstat(fd, &stat) == 0
        && isles__cache_used(&stat) < cache->since) {
        struct timespec since = {cache->since / 1000000000, cache->since % 1000000000};
        (void)futimens(fd, (struct timespec[]){since, since});
    }
}

/* All `count` bytes, or 0 if they can't be had, as in a file that is being cut or on a damaged
 * disk; or ISLES_NO_MEMORY. */
static int
read_at(const struct place *place, int fd, void *bytes, size_t count, uint64_t offset)
{
    for (size_t done = 0; done < count;) {
        ssize_t got = pread(fd, (char *)bytes + done, count - done, (off_t)(offset + done));
        if (got < 0 && errno == ENOMEM) {
            return place_fault(place, errno);
        }
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return ISLES_NOT_FOUND;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return ISLES_OK;
}

static int
digest_file(const struct place *place, int fd, uint64_t size, struct isles_digester *digester)
{
    unsigned char *chunk = malloc(CHUNK);
    int status = chunk ? ISLES_OK : place_fault(place, ENOMEM);
    for (uint64_t at = 0; status == 0 && at < size; at += CHUNK) {
        size_t count = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        status = read_at(place, fd, chunk, count, at);
        if (status == 0) {
            isles_digest_update(digester, chunk, count);
        }
    }
    free(chunk);
    return status;
}

/* Whether the file is as it was written: 0, ISLES_NOT_FOUND, ISLES_NO_MEMORY. */
static int
verify(const struct place *place, int fd, uint64_t whole)
{
    struct trailer found;
    struct isles_digester digester;
    if (whole < sizeof(found)) {
        return ISLES_NOT_FOUND;
    }
    uint64_t size = whole - sizeof(found);
    isles_digest_init(&digester);
    int status = read_at(place, fd, &found, sizeof(found), size);
    if (status == 0) {
        status = digest_file(place, fd, size, &digester);
    }
    if (status < 0) {
        return status;
    }
    struct trailer right = seal(place, &digester, size);
    return memcmp(&found, &right, sizeof(right)) == 0 ? ISLES_OK : ISLES_NOT_FOUND;
}

/* With the file open: 0, ISLES_NOT_FOUND after removing a damaged one, or ISLES_NO_MEMORY. */
static int
examine(const struct place *place, int fd)
{
    struct stat stat;
    if (!isles__cache_lock(fd, LOCK_SH, true)) {
        return ISLES_NOT_FOUND; /* is being removed */
    }
    int status = ISLES_NOT_FOUND;
    if (fstat(fd, &stat) == 0 && isles__cache_is_ours(place->cache, &stat)) {
        status = verify(place, fd, (uint64_t)stat.st_size);
    }
    if (status == 0) {
        touch(place->cache, fd);
    } else if (status == ISLES_NOT_FOUND && isles__cache_lock(fd, LOCK_EX, true)) {
        (void)isles__cache_unlink(place->folder, place->name, fd);
    }
    /* Not left to close(): a process that was forked just now has the descriptor too. */
    (void)flock(fd, LOCK_UN);
    return status;
}

/* In the key's open folder: 0 if a sound entry is there, ISLES_NOT_FOUND after removing what is
 * not, or a failure. */
static int
look(const struct place *place)
{
    struct stat stat;
    if (fstatat(place->folder, place->name, &stat, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? ISLES_NOT_FOUND : place_fault(place, errno);
    }
    /* Looked at before it is opened: to open a device can have effects. */
    int fd = -1, error = 0;
    if (isles__cache_is_ours(place->cache, &stat)) {
        fd = openat(place->folder, place->name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        error = fd < 0 ? errno : 0;
    }
    if (fd >= 0) {
        int status = examine(place, fd);
        close(fd);
        return status;
    }
    if (error == EMFILE || error == ENFILE || error == ENOMEM) {
        return place_fault(place, error);
    }
    if (error != ENOENT) {
        (void)isles__cache_remove(place->folder, place->name);
    }
    return ISLES_NOT_FOUND;
}

int
isles_cache_find(struct isles_cache *cache, struct isles_digest key, const char *name, char **out,
                 struct isles_fault *fault)
{
    struct place place;
    int status = place_init(&place, cache, key, name, fault);
    if (status < 0) {
        return status;
    }
    char *path = path_of(&place);
    if (path == NULL) {
        return place_fault(&place, ENOMEM);
    }
    status = open_key(&place, false);
    if (status == 0) {
        status = look(&place);
        close(place.folder);
    }
    if (status < 0) {
        free(path);
        return status == ISLES_UNSAFE ? ISLES_NOT_FOUND : status;
    }
    *out = path;
    return ISLES_OK;
}

/* ---- storing ---- */

/* Writes bytes and trailer to a new file in an open folder.  0, or -1 and errno. */
static int
write_new(const struct place *place, int folder, const char *unique, const void *data, size_t size)
{
    struct isles_digester digester;
    int fd = openat(folder, unique, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    isles_digest_init(&digester);
    isles_digest_update(&digester, data, size);
    struct trailer trailer = seal(place, &digester, size);
    int failed = isles_write_all(fd, data, size);
    failed = failed ? failed : isles_write_all(fd, &trailer, sizeof(trailer));
    int error = failed ? errno : 0;
    touch(place->cache, fd);
    if (close(fd) < 0 && !failed) { /* some file systems say only now that they are full */
        failed = -1;
        error = errno;
    }
    if (failed) {
        (void)unlinkat(folder, unique, 0);
        errno = error;
    }
    return failed;
}

/* One try to give the new file its place: 0, 1 if a sound entry is there already, ISLES_NOT_FOUND
 * if it is worth another try, or a failure. */
static int
rename_once(struct place *place, int folder, const char *unique)
{
    int status = open_key(place, true);
    if (status < 0) {
        return status;
    }
    if (isles_rename_new(folder, unique, place->folder, place->name) < 0) {
        switch (errno) {
        case EEXIST:
            status = look(place);
            status = status == 0 ? 1 : status;
            break;
        case ENOENT: /* trimming has taken the key's folder away */
            status = ISLES_NOT_FOUND;
            break;
        default:
            status = place_fault(place, errno);
        }
    }
    close(place->folder);
    return status;
}

static int
put_in_place(struct place *place, int folder, const char *unique)
{
    for (int i = 0; i < TRIES; i++) {
        int status = rename_once(place, folder, unique);
        if (status == 0) {
            return ISLES_OK;
        }
        if (status != ISLES_NOT_FOUND) {
            (void)unlinkat(folder, unique, 0);
            return status > 0 ? ISLES_OK : status;
        }
        isles_sleep(i == 0 ? 0 : 1000000);
    }
    (void)unlinkat(folder, unique, 0);
    return isles__fault_unsafe(place->fault, "holds something that can't be removed",
                               place->cache->path);
}

int
isles_cache_store(struct isles_cache *cache, struct isles_digest key, const char *name,
                  const void *data, size_t size, char **out, struct isles_fault *fault)
{
    int folder;
    struct place place;
    char unique[ISLES_UNIQUE];
    int status = place_init(&place, cache, key, name, fault);
    if (status < 0) {
        return status;
    }
    char *path = path_of(&place);
    if (path == NULL) {
        return place_fault(&place, ENOMEM);
    }
    status = isles__cache_open_inside(cache, "new", true, &folder, fault);
    if (status < 0) {
        goto no_folder;
    }
    isles__cache_unique(unique);
    status = write_new(&place, folder, unique, data, size) < 0
                 ? place_fault(&place, errno)
                 : put_in_place(&place, folder, unique);
    close(folder);
no_folder:
    if (status < 0) {
        free(path);
        return status;
    }
    *out = path;
    return ISLES_OK;
}
