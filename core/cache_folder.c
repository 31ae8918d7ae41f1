/* Which folders are safe, and walking through them.
 *
 * The path is checked from the root down: each folder belongs to root or to the user, and nobody
 * else may rename what is in it.  So by induction only those two can change what the path leads
 * to, at any later time as well.  That is why the plain path may be handed to dlopen() and to
 * debuggers, although everything here goes through descriptors. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache_parts.h"
#include "os.h"

enum { OPEN_FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* ---- faults ---- */

static int
set_fault(struct isles_fault *fault, int status, int error, const char *why, const char *path)
{
    if (fault != NULL) {
        fault->error = error;
        fault->why = why;
        snprintf(fault->path, sizeof(fault->path), "%s", path);
    }
    return status;
}

int
isles__fault_errno(struct isles_fault *fault, int error, const char *path)
{
    return set_fault(fault, isles_status_of_errno(error), error, NULL, path);
}

int
isles__fault_status(struct isles_fault *fault, int status, const char *path)
{
    return set_fault(fault, status, 0, NULL, path);
}

int
isles__fault_unsafe(struct isles_fault *fault, const char *why, const char *path)
{
    return set_fault(fault, ISLES_UNSAFE, 0, why, path);
}

/* ---- what is safe ---- */

/* What is wrong with a folder that only the user may write to; NULL: nothing. */
static const char *
why_not_private(const struct stat *stat, uid_t user)
{
    if (!S_ISDIR(stat->st_mode)) {
        return S_ISLNK(stat->st_mode) ? "is a symbolic link" : NULL; /* whoever opens it fails */
    }
    if (stat->st_uid != user) {
        return "belongs to another user";
    }
    return stat->st_mode & (S_IWGRP | S_IWOTH) ? "can be written by other users" : NULL;
}

/* What is wrong with a folder above it; NULL: nothing. */
static const char *
why_not_above(const struct stat *stat, uid_t user)
{
    if (!S_ISDIR(stat->st_mode)) {
        return S_ISLNK(stat->st_mode) ? "is a symbolic link" : NULL; /* whoever opens it fails */
    }
    if (stat->st_uid != user && stat->st_uid != 0) {
        return "belongs to another user";
    }
    if (stat->st_mode & S_ISVTX) {
        return NULL; /* others may add names, but not take away what isn't theirs */
    }
    /* The group with the user's own number is the one that systems give to each user alone; with
     * umask 002 everything in a home is written by it. */
    bool group = (stat->st_mode & S_IWGRP) && stat->st_gid != (gid_t)user;
    return group || (stat->st_mode & S_IWOTH) ? "can be written by other users" : NULL;
}

bool
isles__cache_is_ours(const struct isles_cache *cache, const struct stat *stat)
{
    /* A second name would give a module the same statics as another: dlopen() goes by the inode. */
    return S_ISREG(stat->st_mode) && stat->st_uid == cache->owner && stat->st_nlink == 1
           && !(stat->st_mode & (S_IWGRP | S_IWOTH));
}

/* ---- the way to the folder ---- */

static int
join(char out[PATH_MAX], const char *first, const char *second)
{
    int size = snprintf(out, PATH_MAX, "%s/%s", first, second);
    if (size < 0 || size >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

/* Absolute, without a '/' at its end.  0, or -1 and errno. */
static int
make_absolute(const char *folder, char path[PATH_MAX])
{
    char current[PATH_MAX] = "";
    if (folder[0] != '/' && getcwd(current, sizeof(current)) == NULL) {
        return -1;
    }
    if (join(path, current, folder[0] == '/' ? folder + 1 : folder) < 0) {
        return -1;
    }
    for (size_t size = strlen(path); size > 0 && path[size - 1] == '/'; size--) {
        path[size - 1] = '\0';
    }
    if (folder[0] == '\0' || path[0] == '\0') {
        errno = EINVAL;
        return -1;
    }
    return 0;
}

/* The real path of as much above the folder as exists, and the rest of the path.  Symbolic links on
 * the way there are the user's choice; where they lead is what is checked. */
static int
split(char *path, char real[PATH_MAX], const char **rest)
{
    char *cut = strrchr(path, '/');
    for (;;) {
        *cut = '\0';
        if (realpath(cut == path ? "/" : path, real) != NULL) {
            *rest = cut + 1;
            return 0;
        }
        if (errno != ENOENT || cut == path) {
            return -1;
        }
        char *shorter = strrchr(path, '/');
        *cut = '/';
        cut = shorter;
    }
}

/* Puts them together again, without empty parts and "."; ".." would lead out of what was checked.
 */
static int
append(char path[PATH_MAX], const char *rest)
{
    size_t size = strcmp(path, "/") == 0 ? 0 : strlen(path);
    while (*(rest += strspn(rest, "/")) != '\0') {
        size_t count = strcspn(rest, "/");
        bool up = count == 2 && memcmp(rest, "..", 2) == 0;
        if (up || size + count + 2 > PATH_MAX) {
            errno = up ? EINVAL : ENAMETOOLONG;
            return -1;
        }
        if (count > 1 || rest[0] != '.') {
            path[size++] = '/';
            memcpy(path + size, rest, count);
            size += count;
        }
        rest += count;
    }
    path[size] = '\0';
    return 0;
}

/* Looks at a folder on the way, and makes it if it is missing. */
static int
look(const char *path, struct stat *stat)
{
    if (lstat(path, stat) == 0) {
        return 0;
    }
    if (errno != ENOENT || (mkdir(path, 0700) < 0 && errno != EEXIST)) {
        return -1;
    }
    return lstat(path, stat);
}

static int
check_above(char path[PATH_MAX], uid_t user, struct isles_fault *fault)
{
    char *end = path;
    do {
        struct stat stat;
        char kept = *end;
        *end = '\0';
        const char *here = end == path ? "/" : path;
        int failed = look(here, &stat);
        const char *why = failed ? NULL : why_not_above(&stat, user);
        if (failed) {
            return isles__fault_errno(fault, errno, here);
        }
        if (why != NULL) {
            return isles__fault_unsafe(fault, why, here);
        }
        *end = kept;
        end += 1 + strcspn(end + 1, "/");
    } while (*end != '\0');
    return ISLES_OK;
}

static int
open_checked(const char *path, uid_t user, int *fd, struct isles_fault *fault)
{
    struct stat stat;
    if (look(path, &stat) < 0) {
        return isles__fault_errno(fault, errno, path);
    }
    const char *why = why_not_private(&stat, user);
    if (why != NULL) {
        return isles__fault_unsafe(fault, why, path);
    }
    int folder = open(path, OPEN_FOLDER);
    if (folder < 0) {
        return isles__fault_errno(fault, errno, path);
    }
    if (fstat(folder, &stat) < 0 || (why = why_not_private(&stat, user)) != NULL) {
        int status =
            why ? isles__fault_unsafe(fault, why, path) : isles__fault_errno(fault, errno, path);
        close(folder);
        return status;
    }
    *fd = folder;
    return ISLES_OK;
}

int
isles__cache_open_folder(const char *folder, int *fd, char path[PATH_MAX],
                         struct isles_fault *fault)
{
    char wanted[PATH_MAX];
    const char *rest;
    if (make_absolute(folder, wanted) < 0 || split(wanted, path, &rest) < 0
        || append(path, rest) < 0) {
        return isles__fault_errno(fault, errno, folder);
    }
    if (path[0] == '\0' || strlen(path) + ISLES_CACHE_ROOM > PATH_MAX) {
        return isles__fault_errno(fault, path[0] ? ENAMETOOLONG : EINVAL, folder);
    }
    uid_t user = geteuid();
    int status = check_above(path, user, fault);
    return status < 0 ? status : open_checked(path, user, fd, fault);
}

/* ---- inside ---- */

bool
isles__cache_remove(int folder, const char *name)
{
    return unlinkat(folder, name, 0) == 0 || unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

/* 0 and the descriptor; 1: what is there is no folder of ours; or a status. */
static int
open_once(const struct isles_cache *cache, const char *name, int *fd, struct isles_fault *fault)
{
    struct stat stat;
    int folder = openat(cache->folder, name, OPEN_FOLDER);
    if (folder < 0) {
        switch (errno) {
        case ENOENT:
            return ISLES_NOT_FOUND;
        case ELOOP:
        case ENOTDIR:
            return 1;
        default:
            return isles__fault_errno(fault, errno, cache->path);
        }
    }
    if (fstat(folder, &stat) < 0 || why_not_private(&stat, cache->owner) != NULL) {
        close(folder);
        return 1;
    }
    *fd = folder;
    return ISLES_OK;
}

int
isles__cache_open_inside(const struct isles_cache *cache, const char *name, bool make, int *fd,
                         struct isles_fault *fault)
{
    enum { TRIES = 100 }; /* others may remove it as often as we make it, but hardly so often */
    for (int i = 0; i < TRIES; i++) {
        int status = open_once(cache, name, fd, fault);
        if (status == 1 && !isles__cache_remove(cache->folder, name)) {
            return isles__fault_unsafe(fault, "holds something that others could have put there",
                                       cache->path);
        }
        if (status == 0 || (status < 0 && (status != ISLES_NOT_FOUND || !make))) {
            return status;
        }
        if (make && mkdirat(cache->folder, name, 0700) < 0 && errno != EEXIST) {
            return isles__fault_errno(fault, errno, cache->path);
        }
    }
    return isles__fault_errno(fault, EBUSY, cache->path);
}

int
isles__cache_each(const struct isles_cache *cache, int folder, isles__cache_visit *visit, void *arg,
                  struct isles_fault *fault)
{
    /* Opened again, because reading moves a position that all would share. */
    int again = openat(folder, ".", OPEN_FOLDER);
    DIR *names = again < 0 ? NULL : fdopendir(again);
    if (names == NULL) {
        int status = isles__fault_errno(fault, errno, cache->path);
        if (again >= 0) {
            close(again);
        }
        return status;
    }
    int status = ISLES_OK;
    const struct dirent *next;
    while (status == 0 && (next = readdir(names)) != NULL) {
        if (strcmp(next->d_name, ".") != 0 && strcmp(next->d_name, "..") != 0) {
            status = visit(folder, next->d_name, arg);
        }
    }
    closedir(names);
    return status < 0 ? isles__fault_status(fault, status, cache->path) : ISLES_OK;
}
