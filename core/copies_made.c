#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "copies_parts.h"
#include "libraries.h"

struct made {
    unsigned slot;
    char *from;
    char *path;
    atomic_bool passing; /* to be removed once it is loaded */
    struct made *next;
};

static struct made *all; /* under the lock */

/* What was made of a file for a slot; NULL.  It stays as it is.  Under the lock. */
static const struct made *
look_up(const char *from, unsigned slot)
{
    const struct made *one = all;
    while (one != NULL && !(one->slot == slot && strcmp(one->from, from) == 0)) {
        one = one->next;
    }
    return one;
}

const char *
isles__made_find(const char *from, unsigned slot)
{
    isles_mutex_lock(&isles__copies_lock);
    const struct made *one = look_up(from, slot);
    isles_mutex_unlock(&isles__copies_lock);
    return one ? one->path : NULL;
}

static void
made_free(struct made *one)
{
    if (one != NULL) {
        free(one->from);
        free(one->path);
        free(one);
    }
}

const char *
isles__made_note(const char *from, unsigned slot, const char *path, bool passing)
{
    struct made *one = calloc(1, sizeof(*one));
    if (one == NULL || (one->from = strdup(from)) == NULL || (one->path = strdup(path)) == NULL) {
        made_free(one);
        return NULL;
    }
    one->slot = slot;
    atomic_init(&one->passing, passing);
    isles_mutex_lock(&isles__copies_lock);
    const struct made *before = look_up(from, slot);
    if (before == NULL) {
        one->next = all;
        all = one;
    }
    isles_mutex_unlock(&isles__copies_lock);
    if (before != NULL) {
        made_free(one);
    }
    return before ? before->path : one->path;
}

bool
isles_copies_slot_of(const char *path, unsigned *slot)
{
    isles_mutex_lock(&isles__copies_lock);
    const struct made *one = all;
    while (one != NULL && strcmp(one->path, path) != 0) {
        one = one->next;
    }
    isles_mutex_unlock(&isles__copies_lock);
    if (one == NULL) {
        return false;
    }
    *slot = one->slot;
    return true;
}

/* The linker goes on finding them by their names.  Others of the slot may not be loaded yet, by
 * another thread, or ever, as what needs them failed. */
void
isles_copies_loaded(unsigned slot)
{
    char path[PATH_MAX];
    isles_mutex_lock(&isles__copies_lock);
    struct made *one = all;
    isles_mutex_unlock(
        &isles__copies_lock); /* the linker has a lock of its own, under which ours is taken */
    for (; one != NULL; one = one->next) {
        if (one->slot == slot && atomic_load(&one->passing)
            && isles_loaded_library(one->path, path, sizeof(path))) {
            atomic_store(&one->passing, false);
            isles__store_remove(one->path);
        }
    }
}
