#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "copies_parts.h"

#define SLACK INT64_C(2000000000) /* nanoseconds; how coarse a file system's clock may be */

static int64_t
nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct isles_file_version
version_of(const struct stat *info)
{
    return (struct isles_file_version){
        .device = info->st_dev,
        .inode = info->st_ino,
        .size = (uint64_t)info->st_size,
        .modified = nanoseconds(info->st_mtim),
        .changed = nanoseconds(info->st_ctim),
    };
}

int
isles_original_open(struct isles_original *original, const char *path, struct isles_fault *fault)
{
    struct stat info;
    int status = ISLES_IO, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return isles__copies_fail(fault, isles_status_of_errno(errno), path);
    }
    void *data = MAP_FAILED;
    errno = EINVAL;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    status = data == MAP_FAILED ? isles__copies_fail(fault, isles_status_of_errno(errno), path)
                                : ISLES_OK;
    close(fd);
    if (status < 0) {
        return status;
    }
    struct isles_original made = {.data = data,
                                  .size = (size_t)info.st_size,
                                  .version = version_of(&info),
                                  .path = strdup(path)};
    status = made.path ? isles_elf_open(&made.elf, data, made.size) : ISLES_NO_MEMORY;
    if (status < 0) {
        isles_original_close(&made);
        errno = 0;
        return isles__copies_fail(fault, status, path);
    }
    *original = made;
    return ISLES_OK;
}

void
isles_original_close(struct isles_original *original)
{
    munmap(original->data, original->size);
    free(original->path);
}

bool
isles_original_contains(const struct isles_original *original, const char *text)
{
    return memmem(original->data, original->size, text, strlen(text)) != NULL;
}

/* ---- what they hold ---- */

struct seen {
    struct isles_file_version version;
    struct isles_digest digest;
    struct seen *next;
};

static struct seen *seen; /* under the lock; for good */

static bool
find_seen(const struct isles_file_version *version, struct isles_digest *digest)
{
    isles_mutex_lock(&isles__copies_lock);
    const struct seen *one = seen;
    while (one != NULL && memcmp(&one->version, version, sizeof(*version)) != 0) {
        one = one->next;
    }
    isles_mutex_unlock(&isles__copies_lock);
    if (one != NULL) {
        *digest = one->digest;
    }
    return one != NULL;
}

/* Not if it was changed just now: the next change might leave the same time behind. */
static void
note_seen(const struct isles_file_version *version, struct isles_digest digest)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct seen *one = nanoseconds(now) - version->changed > SLACK ? malloc(sizeof(*one)) : NULL;
    if (one != NULL) {
        one->version = *version;
        one->digest = digest;
        isles_mutex_lock(&isles__copies_lock);
        one->next = seen;
        seen = one;
        isles_mutex_unlock(&isles__copies_lock);
    }
}

struct isles_digest
isles__original_digest(const struct isles_original *original)
{
    struct isles_digest digest;
    if (!find_seen(&original->version, &digest)) {
        digest = isles_digest_of(original->data, original->size);
        note_seen(&original->version, digest);
    }
    return digest;
}
