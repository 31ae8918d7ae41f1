/* The wire format: how values lie in a message.  binding/encode*.c write it, decode*.c read it.
 *
 * A message is a row of values; each is a tag, and what the tag says:
 *
 *     NONE TRUE FALSE ELLIPSIS NOT_IMPLEMENTED
 *     INT8 INT32 INT64          the number
 *     INTS                      in a tuple or list, uint64: as many of its items, int32 each
 *     INT                       size, that many bytes of two's complement
 *     FLOAT COMPLEX             one double, two
 *     ASCII STR1 STR2 STR4      size in characters, the characters
 *     BYTES                     size, the bytes
 *     LENT_BYTES                a span of a block
 *     TUPLE LIST SET FROZENSET  size, the items
 *     DICT                      size, keys and values in turn
 *     SHAPE                     a dict with the keys that others have too: size, keys, values;
 *                               the keys get the next number, counted from 0
 *     RECORD                    such a dict: number, values
 *     RANGE SLICE               start, stop, step
 *     ID INTERPRETER            an interpreter's id, int64
 *     QUEUE SHARED              index of what is attached
 *     VIEW                      a span of a block, and the layout of what lies there
 *     REF                       index of a value that was defined before
 *     PICKLE                    offset among the pickles, index of its first buffer (uint32)
 *     ARRAY                     the same for an exporter, then a VIEW or NONE: what arrives if the
 *                               pickle's module can't be imported
 *
 * A tag with DEFINES set gives its value the next index, counted from 0.  Tuples, lists, dicts and
 * sets take it before their items, everything else when it is complete; so no REF leads to what
 * doesn't exist yet.
 *
 * A layout is an isles_layout, ndim lengths and as many strides (int64), and a format with its NUL.
 *
 * The pickles follow at `stream_at`: a uint64 count of buffers, the spans of those, and the pickles
 * one after another, written by one pickler and read by one unpickler, which therefore know what
 * was in those before; but those of ARRAYs by one each.  A persistent id is the index of a value.
 *
 * Numbers are in the machine's own order and unaligned: a message never leaves the process. */
#ifndef ISLES_WIRE_H
#define ISLES_WIRE_H

#include <string.h>

#include "buffer.h"
#include "status.h"

enum isles_tag {
    ISLES_TAG_NONE = 1,
    ISLES_TAG_TRUE,
    ISLES_TAG_FALSE,
    ISLES_TAG_ELLIPSIS,
    ISLES_TAG_NOT_IMPLEMENTED,
    ISLES_TAG_INT8,
    ISLES_TAG_INT32,
    ISLES_TAG_INT64,
    ISLES_TAG_INT,
    ISLES_TAG_INTS,
    ISLES_TAG_FLOAT,
    ISLES_TAG_COMPLEX,
    ISLES_TAG_ASCII,
    ISLES_TAG_STR1,
    ISLES_TAG_STR2,
    ISLES_TAG_STR4,
    ISLES_TAG_BYTES,
    ISLES_TAG_LENT_BYTES,
    ISLES_TAG_TUPLE,
    ISLES_TAG_LIST,
    ISLES_TAG_SET,
    ISLES_TAG_DICT,
    ISLES_TAG_FROZENSET,
    ISLES_TAG_SHAPE,
    ISLES_TAG_RECORD,
    ISLES_TAG_RANGE,
    ISLES_TAG_SLICE,
    ISLES_TAG_ID,
    ISLES_TAG_INTERPRETER,
    ISLES_TAG_QUEUE,
    ISLES_TAG_SHARED,
    ISLES_TAG_VIEW,
    ISLES_TAG_REF,
    ISLES_TAG_PICKLE,
    ISLES_TAG_ARRAY,
    ISLES_TAG_DEFINES = 0x80,
};

/* Limits of SHAPE: how many keys, and how many of them in a message. */
#define ISLES_SHAPE_KEYS 16
#define ISLES_SHAPES_MAX 250

/* Part of a block. */
struct isles_span {
    uint64_t offset; /* of the first element */
    uint64_t size;
    uint32_t attached; /* the block's index in the message */
    uint32_t readonly;
};

struct isles_wire_layout {
    uint64_t itemsize;
    uint32_t ndim;
    uint32_t format_size; /* with its NUL */
};

/* Sizes take a byte if they are small, which they mostly are; else this byte and eight more. */
#define ISLES_WIRE_LONG 0xff

/* Appends a tag and `count` bytes, which the caller fills: where they start, or NULL. */
static inline unsigned char *
isles_wire_tag(struct isles_buffer *buffer, unsigned tag, size_t count)
{
    unsigned char *at = isles_buffer_extend(buffer, 1 + count);
    if (at == NULL) {
        return NULL;
    }
    *at = (unsigned char)tag;
    return at + 1;
}

/* Appends a tag, a size and `count` bytes to be filled. */
static inline unsigned char *
isles_wire_sized(struct isles_buffer *buffer, unsigned tag, uint64_t size, size_t count)
{
    if (size < ISLES_WIRE_LONG) {
        unsigned char *at = isles_wire_tag(buffer, tag, 1 + count);
        if (at == NULL) {
            return NULL;
        }
        *at = (unsigned char)size;
        return at + 1;
    }
    if (count > SIZE_MAX - 16) {
        return NULL;
    }
    unsigned char *at = isles_wire_tag(buffer, tag, 1 + sizeof(size) + count);
    if (at == NULL) {
        return NULL;
    }
    *at = ISLES_WIRE_LONG;
    memcpy(at + 1, &size, sizeof(size));
    return at + 1 + sizeof(size);
}

/* Reads a size.  0 or ISLES_MALFORMED. */
static inline int
isles_wire_size(struct isles_reader *reader, uint64_t *size)
{
    const unsigned char *at = isles_reader_take(reader, 1);
    if (at == NULL) {
        return ISLES_MALFORMED;
    }
    if (*at < ISLES_WIRE_LONG) {
        *size = *at;
        return ISLES_OK;
    }
    return isles_reader_copy(reader, size, sizeof(*size));
}

#endif
