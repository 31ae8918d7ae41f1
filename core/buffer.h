/* A growable run of bytes with room for small messages inside, so that those need no allocation.
 *
 * One owner, one thread at a time.  Memory is plain malloc: CPython's allocator belongs to an
 * interpreter, and a message outlives the one that wrote it. */
#ifndef ISLES_BUFFER_H
#define ISLES_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "status.h"

#define ISLES_BUFFER_ROOM 192

struct isles_buffer {
    unsigned char *data; /* `room`, or memory of malloc */
    size_t size;         /* bytes written */
    size_t capacity;
    unsigned char room[ISLES_BUFFER_ROOM];
};

/* Makes it empty.  Never fails; must not be moved afterwards. */
void isles_buffer_init(struct isles_buffer *buffer);

/* Gives the memory back. */
void isles_buffer_fini(struct isles_buffer *buffer);

/* Makes room for `count` more bytes.  0 or ISLES_NO_MEMORY, which leaves the buffer as it was. */
int isles_buffer_grow(struct isles_buffer *buffer, size_t count);

/* Appends `count` bytes and gives where they start, to be filled; NULL without memory. */
static inline unsigned char *
isles_buffer_extend(struct isles_buffer *buffer, size_t count)
{
    if (count > buffer->capacity - buffer->size && isles_buffer_grow(buffer, count) < 0) {
        return NULL;
    }
    unsigned char *start = buffer->data + buffer->size;
    buffer->size += count;
    return start;
}

/* Appends a copy of `count` bytes.  0 or ISLES_NO_MEMORY, which leaves the buffer as it was. */
int isles_buffer_append(struct isles_buffer *buffer, const void *bytes, size_t count);

/* True if the invariants hold; for assertions. */
bool isles_buffer_is_valid(const struct isles_buffer *buffer);

/* A position in bytes that somebody else owns. */
struct isles_reader {
    const unsigned char *at;
    const unsigned char *end;
};

/* Takes the next `count` bytes; NULL if fewer are left (the reader then stays where it was). */
static inline const unsigned char *
isles_reader_take(struct isles_reader *reader, size_t count)
{
    if ((size_t)(reader->end - reader->at) < count) {
        return NULL;
    }
    const unsigned char *start = reader->at;
    reader->at += count;
    return start;
}

/* Takes `count` bytes into *out.  0 or ISLES_MALFORMED, which leaves both as they were. */
static inline int
isles_reader_copy(struct isles_reader *reader, void *out, size_t count)
{
    const unsigned char *start = isles_reader_take(reader, count);
    if (start == NULL) {
        return ISLES_MALFORMED;
    }
    memcpy(out, start, count);
    return ISLES_OK;
}

#endif
