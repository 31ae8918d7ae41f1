/* Removing what was not used for longest. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cache_parts.h"

struct entry {
    int64_t used;
    uint64_t size;
    char key[ISLES_DIGEST_HEX + 1];
    char name[ISLES_CACHE_NAME_MAX + 1];
};

struct survey {
    const struct isles_cache *cache;
    struct isles_fault *fault;
    const char *key; /* of the folder that is being read */
    struct entry *entries;
    size_t count, capacity;
    uint64_t sum;
};

/* ---- what is there ---- */

static struct entry *
add_entry(struct survey *survey)
{
    if (survey->count == survey->capacity) {
        size_t capacity = survey->capacity ? survey->capacity * 2 : 64;
        struct entry *larger = realloc(survey->entries, capacity * sizeof(*larger));
        if (larger == NULL) {
            return NULL;
        }
        survey->entries = larger;
        survey->capacity = capacity;
    }
    return &survey->entries[survey->count++];
}

static int
visit_entry(int folder, const char *name, void *arg)
{
    struct survey *survey = arg;
    struct stat stat;
    if (fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) < 0) {
        return ISLES_OK;
    }
    if (!isles__cache_is_ours(survey->cache, &stat) || strlen(name) > ISLES_CACHE_NAME_MAX) {
        (void)isles__cache_remove(folder, name); /* no entry, and nobody has found it */
        return ISLES_OK;
    }
    struct entry *entry = add_entry(survey);
    if (entry == NULL) {
        return ISLES_NO_MEMORY;
    }
    entry->used = isles__cache_used(&stat);
    entry->size = (uint64_t)stat.st_size;
    strcpy(entry->key, survey->key);
    strcpy(entry->name, name);
    survey->sum += entry->size;
    return ISLES_OK;
}

static int
visit_key(int folder, const char *name, void *arg)
{
    struct survey *survey = arg;
    int key;
    (void)folder;
    if (strlen(name) != ISLES_DIGEST_HEX || strspn(name, "0123456789abcdef") != ISLES_DIGEST_HEX) {
        return ISLES_OK;
    }
    int status = isles__cache_open_inside(survey->cache, name, false, &key, survey->fault);
    if (status < 0) {
        return status == ISLES_NOT_FOUND || status == ISLES_UNSAFE ? ISLES_OK : status;
    }
    survey->key = name;
    status = isles__cache_each(survey->cache, key, visit_entry, survey, survey->fault);
    close(key);
    return status;
}

static int
compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    return (a->used > b->used) - (a->used < b->used);
}

/* ---- removing ---- */

/* Whether the entry is gone, or on its way: not if it has been used meanwhile. */
static bool
remove_unused(int folder, const char *name, int64_t since)
{
    struct stat stat;
    int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT;
    }
    bool gone;
    if (isles__cache_lock(fd, LOCK_EX, false)) {
        /* Now nobody is about to find it: it was touched before, or it will not be found. */
        gone = fstat(fd, &stat) == 0 && isles__cache_used(&stat) < since
               && isles__cache_unlink(folder, name, fd);
        (void)flock(fd, LOCK_UN);
    } else {
        gone = true; /* by somebody else's hand; or being found: too little is removed then */
    }
    close(fd);
    return gone;
}

static int
remove_oldest(struct survey *survey, uint64_t limit, int64_t since)
{
    for (size_t i = 0; i < survey->count && survey->sum > limit; i++) {
        const struct entry *entry = &survey->entries[i];
        int key;
        if (entry->used >= since) {
            break; /* and so are all that follow */
        }
        int status =
            isles__cache_open_inside(survey->cache, entry->key, false, &key, survey->fault);
        if (status < 0 && status != ISLES_NOT_FOUND) {
            return status;
        }
        if (status < 0 || remove_unused(key, entry->name, since)) {
            survey->sum -= entry->size;
        }
        if (status == 0) {
            close(key);
        }
        (void)unlinkat(survey->cache->folder, entry->key, AT_REMOVEDIR); /* if it is empty */
    }
    return ISLES_OK;
}

int
isles_cache_trim(struct isles_cache *cache, uint64_t limit, struct isles_fault *fault)
{
    int64_t since;
    struct survey survey = {.cache = cache, .fault = fault};
    isles__cache_sweep(cache);
    /* Before looking at entries: who comes later begins later than we did, and what he finds is
     * newer than what we remove. */
    int status = isles__cache_oldest(cache, &since, fault);
    if (status == 0) {
        status = isles__cache_each(cache, cache->folder, visit_key, &survey, fault);
    }
    if (status == 0 && survey.count > 0) {
        qsort(survey.entries, survey.count, sizeof(*survey.entries), compare);
        status = remove_oldest(&survey, limit, since);
    }
    free(survey.entries);
    return status;
}
