/* What the files of the decoder share: one message, and what is known while it is read.
 *
 * decode.c reads messages, and once more if need be; decode_values.c builtin values and containers;
 * decode_buffers.c what is of memory that was lent; decode_own.c isles' own objects;
 * decode_pickles.c everything else. */
#ifndef ISLES_BINDING_DECODE_PARTS_H
#define ISLES_BINDING_DECODE_PARTS_H

#include "../core/block.h"
#include "../core/wire.h"
#include "codec.h"

#define ISLES_DECODER_ROOM 32

/* A tuple that is being filled, and those around it with no list, dict or set in between: inside of
 * itself only by way of one of these does a tuple have a hash. */
struct isles_unfinished {
    const struct isles_unfinished *around;
    PyObject *tuple;
};

struct isles_decoder {
    struct isles_local *local; /* NULL: then only builtin values are read */
    const struct isles_contents *contents;
    struct isles_reader reader;
    PyObject **memo; /* by index: references */
    size_t defined, memo_size;
    const struct isles_unfinished *unfinished;
    PyObject *hooks; /* a capsule of this decoder, while it lives; NULL: no unpickler */
    PyObject *load;  /* the unpickler's, NULL without one */
    bool as_views;   /* ARRAY as a view, for its module can't be imported here */
    bool no_module;  /* why it failed */
    int depth;       /* of containers */
    unsigned shapes_defined;
    PyObject *shapes[ISLES_SHAPES_MAX]; /* tuples of keys */
    PyObject *room[ISLES_DECODER_ROOM];
};

/* What reads something gives a new reference, or NULL with an exception. */

/* ---- decode.c ---- */

/* Raises ValueError.  Always gives NULL. */
PyObject *isles__malformed(void);

/* Of the interpreter's own copy of isles; NULL with an exception. */
struct isles_state *isles__decoder_state(const struct isles_decoder *d);

/* ---- decode_values.c ---- */

/* Any value. */
PyObject *isles__get(struct isles_decoder *d);

/* What has this index. */
PyObject *isles__get_defined(const struct isles_decoder *d, uint64_t index);

/* ---- decode_buffers.c ---- */

/* What is attached to the message under this index, borrowed. */
struct isles_shared *isles__get_attached(const struct isles_decoder *d, uint32_t index,
                                         enum isles_kind kind);

/* The block that a span is of, borrowed. */
struct isles_block *isles__get_block(const struct isles_decoder *d, const struct isles_span *span);

PyObject *isles__get_lent_bytes(struct isles_decoder *d);

/* Reads the span and layout of a view; makes it, or skips it and gives None. */
PyObject *isles__get_view(struct isles_decoder *d, bool wanted);

/* ---- decode_own.c ---- */

/* An InterpreterID or Interpreter. */
PyObject *isles__get_id(struct isles_decoder *d, unsigned tag);

/* A Queue or SharedBuffer. */
PyObject *isles__get_shared(struct isles_decoder *d, unsigned tag);

/* ---- decode_pickles.c ---- */

PyObject *isles__get_pickle(struct isles_decoder *d);

/* The pickle of an array, or the view that describes it. */
PyObject *isles__get_array(struct isles_decoder *d);

/* Drops the unpickler, or what there is of it; its hook does nothing more. */
void isles__unpickler_close(struct isles_decoder *d);

#endif
