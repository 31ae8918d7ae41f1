#include "memo.h"

int
isles__memo_grow(struct isles_memo *memo)
{
    struct isles_memo old = *memo;
    if (old.entries == NULL) {
        memo->entries = memo->room;
        memo->size = ISLES_MEMO_ROOM;
        memset(memo->room, 0, sizeof(memo->room));
        return 0;
    }
    memo->size = old.size * 4;
    memo->entries = PyMem_RawCalloc(memo->size, sizeof(*memo->entries));
    if (memo->entries == NULL) {
        *memo = old;
        PyErr_NoMemory();
        return -1;
    }
    struct isles_memo_entry *from = old.entries == memo->room ? old.room : old.entries;
    for (size_t i = 0; i < old.size; i++) {
        if (from[i].object != NULL) {
            *isles__memo_slot(memo, from[i].object) = from[i];
        }
    }
    if (from != old.room) {
        PyMem_RawFree(from);
    }
    return 0;
}

void
isles__memo_drop(struct isles_memo *memo)
{
    for (size_t i = 0; i < memo->size && memo->holds; i++) {
        Py_XDECREF(memo->entries[i].object);
    }
    if (memo->entries != memo->room) {
        PyMem_RawFree(memo->entries);
    }
    memo->entries = NULL;
    memo->size = memo->used = memo->defined = 0;
}
