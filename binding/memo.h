/* What was met on the way through values, by identity.  Only what is held more than once can be met
 * twice, so most values never come here. */
#ifndef ISLES_BINDING_MEMO_H
#define ISLES_BINDING_MEMO_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>

#define ISLES_MEMO_ROOM 64              /* a power of two */
#define ISLES_MEMO_PICKLED ((size_t)-1) /* instead of an index: the pickler knows it */

struct isles_memo_entry {
    PyObject *object; /* NULL: free */
    size_t index;
};

/* Begins with NULL and zeros; `room` stays as it is until something is met. */
struct isles_memo {
    struct isles_memo_entry *entries; /* NULL: nothing was met */
    size_t size;
    size_t used;
    size_t defined; /* the next index */
    bool holds;     /* a reference to each, so that nothing else gets its address */
    struct isles_memo_entry room[ISLES_MEMO_ROOM];
};

/* Makes room for more.  0, or -1 with MemoryError and as before. */
int isles__memo_grow(struct isles_memo *memo);

/* Drops what was met; it begins again. */
void isles__memo_drop(struct isles_memo *memo);

static inline void
isles__memo_clear(struct isles_memo *memo)
{
    if (memo->entries != NULL) {
        isles__memo_drop(memo);
    }
}

static inline struct isles_memo_entry *
isles__memo_slot(const struct isles_memo *memo, const PyObject *object)
{
    size_t at = (size_t)(((uint64_t)(uintptr_t)object >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    for (;; at++) {
        struct isles_memo_entry *entry = &memo->entries[at & (memo->size - 1)];
        if (entry->object == object || entry->object == NULL) {
            return entry;
        }
    }
}

/* The entry of an object, or the free one where it belongs, with room for it; NULL with
 * MemoryError. */
static inline struct isles_memo_entry *
isles__memo_find(struct isles_memo *memo, const PyObject *object)
{
    if (memo->used * 2 >= memo->size && isles__memo_grow(memo) < 0) {
        return NULL;
    }
    return isles__memo_slot(memo, object);
}

static inline void
isles__memo_enter(struct isles_memo *memo, struct isles_memo_entry *entry, PyObject *object,
                  size_t index)
{
    memo->used++;
    entry->object = memo->holds ? Py_NewRef(object) : object;
    entry->index = index;
}

#endif
