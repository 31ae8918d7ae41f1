#include "memo.h"

int
isles__memo_grow(struct isles_memo *memo)
{
    struct isles_memo_entry *from = memo->entries;
    size_t size = memo->size;
    if (from == NULL) {
        memo->entries = memo->room;
        memo->size = ISLES_MEMO_ROOM;
        memset(memo->room, 0, sizeof(memo->room));
        return 0;
    }
    struct isles_memo_entry *entries = PyMem_RawCalloc(size * 4, sizeof(*entries));
    if (entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memo->entries = entries;
    memo->size = size * 4;
    for (size_t i = 0; i < size; i++) {
        if (from[i].object != NULL) {
            *isles__memo_slot(memo, from[i].object) = from[i];
        }
    }
    if (from != memo->room) {
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
