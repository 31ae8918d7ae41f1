#include "buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

void
isles_buffer_init(struct isles_buffer *buffer)
{
    buffer->data = buffer->room;
    buffer->size = 0;
    buffer->capacity = sizeof(buffer->room);
}

void
isles_buffer_fini(struct isles_buffer *buffer)
{
    assert(isles_buffer_is_valid(buffer));
    if (buffer->data != buffer->room) {
        free(buffer->data);
    }
    isles_buffer_init(buffer);
}

#define HEAP_LEAST 4096 /* what doesn't fit the room is mostly much more */

int
isles_buffer_grow(struct isles_buffer *buffer, size_t count)
{
    assert(isles_buffer_is_valid(buffer));
    if (count > SIZE_MAX - buffer->size) {
        return ISLES_NO_MEMORY;
    }
    size_t needed = buffer->size + count;
    size_t capacity = buffer->capacity < HEAP_LEAST ? HEAP_LEAST : buffer->capacity;
    while (capacity < needed) {
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    }
    bool inside = buffer->data == buffer->room;
    unsigned char *data = realloc(inside ? NULL : buffer->data, capacity);
    if (data == NULL) {
        return ISLES_NO_MEMORY;
    }
    if (inside) {
        memcpy(data, buffer->room, buffer->size);
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return ISLES_OK;
}

int
isles_buffer_append(struct isles_buffer *buffer, const void *bytes, size_t count)
{
    unsigned char *start = isles_buffer_extend(buffer, count);
    if (start == NULL) {
        return ISLES_NO_MEMORY;
    }
    if (count > 0) {
        memcpy(start, bytes, count);
    }
    return ISLES_OK;
}

bool
isles_buffer_is_valid(const struct isles_buffer *buffer)
{
    return buffer->data != NULL && buffer->size <= buffer->capacity
           && buffer->capacity >= sizeof(buffer->room)
           && (buffer->data != buffer->room || buffer->capacity == sizeof(buffer->room));
}
