/* What the files of the encoder share: one message, and what is known while it is written.
 *
 * encode.c writes messages, and once more if need be; encode_values.c builtin values and
 * containers; encode_buffers.c memory that is lent; encode_own.c isles' own objects;
 * encode_pickles.c everything else; encode_way.c says where it failed. */
#ifndef ISLES_BINDING_ENCODE_PARTS_H
#define ISLES_BINDING_ENCODE_PARTS_H

#include "../core/wire.h"
#include "codec.h"
#include "lending.h"
#include "memo.h"

/* The way to a value, from the inside out. */
struct isles_step {
    const struct isles_step *up; /* NULL at a root */
    PyObject *in;                /* the container; at a root NULL or a keyword */
    PyObject *key;               /* of a dict's value; NULL for a key or a set's item */
    Py_ssize_t index;            /* in a list or tuple; at a root -1 or an argument's */
};

enum isles_retry {
    ISLES_RETRY_NOT,
    ISLES_RETRY_CAREFUL,  /* as struct isles_encoder says */
    ISLES_RETRY_BY_VALUE, /* with cloudpickle */
    ISLES_RETRY_WHOLE,    /* every root as a pickle */
};

/* The keys of a dict, in order. */
struct isles_shape {
    Py_ssize_t size;                  /* 0: none */
    int number;                       /* -1: met once */
    PyObject *keys[ISLES_SHAPE_KEYS]; /* borrowed */
};

#define ISLES_SHAPES_KEPT 8 /* remembered at a time; a power of two */

/* It begins as if no code of others could run meanwhile: nothing is held, and nothing changes.  If
 * then a value needs that code (a pickle, an exporter), it starts again and is careful: it holds
 * what it writes, expects containers to change, and gives an index to all that the code may hand
 * out once more. */
struct isles_encoder {
    const struct isles_state *state; /* may be NULL */
    struct isles_local *local;
    struct isles_message *message;
    struct isles_buffer *bytes; /* the message's */
    const char *name;           /* of a root that is no argument */
    bool several;               /* roots, which may be the same though held once */
    bool careful, by_value, whole;
    bool careless;          /* so far, so that it can't become careful now */
    int depth;              /* of containers */
    bool too_deep;          /* why it failed */
    enum isles_retry retry; /* why it failed, if there is no exception */
    struct isles_memo memo;
    PyObject *hooks; /* a capsule of this encoder, while it lives; NULL: no pickler */
    PyObject *dump;  /* the pickler's, NULL without one */
    PyObject *written;
    const struct isles_step *pickling; /* the way to what is being pickled */
    const PyObject *root;              /* that, if it is an exporter */
    struct isles_buffer spans;         /* buffers of the pickles */
    int shapes_defined; /* the next number; -1: none was met, `shapes` is not set up */
    struct isles_shape shapes[ISLES_SHAPES_KEPT];
};

/* What fails gives -1 with an exception, or with a reason in `retry`; else 0 if nothing else is
 * said. */

static inline int
isles__no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

static inline int
isles__put_tag(struct isles_encoder *e, unsigned tag)
{
    return isles_wire_tag(e->bytes, tag, 0) ? 0 : isles__no_memory();
}

static inline int
isles__put_fixed(struct isles_encoder *e, unsigned tag, const void *bytes, size_t count)
{
    unsigned char *at = isles_wire_tag(e->bytes, tag, count);
    if (at == NULL) {
        return isles__no_memory();
    }
    memcpy(at, bytes, count);
    return 0;
}

static inline int
isles__put_size(struct isles_encoder *e, unsigned tag, size_t size)
{
    return isles_wire_sized(e->bytes, tag, size, 0) ? 0 : isles__no_memory();
}

/* ---- encode.c ---- */

/* Before code of others runs.  -1 for a retry. */
int isles__become_careful(struct isles_encoder *e);

/* ---- encode_values.c ---- */

/* Any object. */
int isles__put(struct isles_encoder *e, PyObject *object, const struct isles_step *step);

/* Builtin values that may be met twice though they are held once. */
bool isles__has_identity(PyObject *object);

/* Deals with a value that was met before.  1: done; 0: it is to be written, under a tag with *flag;
 * -1.  `early` ones have their index from now on, others from isles__met_late(). */
int isles__met_before(struct isles_encoder *e, PyObject *object, const struct isles_step *step,
                      bool early, unsigned *flag);
int isles__met_late(struct isles_encoder *e, PyObject *object, unsigned flag);

/* ---- encode_buffers.c ---- */

/* Bytes from here on are lent, and copied once, by who gets them; shorter ones are copied twice,
 * which costs less. */
#define ISLES_LENT_BYTES_LEAST (32 * 1024)
int isles__put_lent_bytes(struct isles_encoder *e, PyObject *object, unsigned flag);

/* An exporter that may hand out its memory when it is pickled. */
bool isles__is_array(PyObject *object);

/* 1: done; 0: it isn't one; -1. */
int isles__put_exporter(struct isles_encoder *e, PyObject *object, const struct isles_step *step);

/* Attaches the block of an export, and gives the span of its elements. */
int isles__put_span(struct isles_encoder *e, struct isles_export *export, struct isles_span *span);

/* ---- encode_own.c ---- */

/* 1: done; 0: it is none of isles', or of a subclass; -1. */
int isles__put_own(struct isles_encoder *e, PyObject *object, const struct isles_step *step);

/* ---- encode_pickles.c ---- */

/* Pickles an object, and says under `tag` where that is; `alone`: by a pickler of its own. */
int isles__put_pickle_as(struct isles_encoder *e, PyObject *object, const struct isles_step *step,
                         unsigned tag, PyObject *alone);
int isles__put_pickle(struct isles_encoder *e, PyObject *object, const struct isles_step *step);

/* Whether what was raised says that an object can't be pickled. */
bool isles__is_pickling_failure(void);

/* Appends all pickles of the pickler to the message, which ends with them. */
int isles__put_pickles(struct isles_encoder *e);

/* Drops the pickler, or what there is of it; its hooks do nothing more. */
void isles__pickler_close(struct isles_encoder *e);

/* ---- encode_way.c ---- */

/* Raises NotShareableError, with what is set as its cause.  Always gives -1. */
int isles__refuse(const struct isles_encoder *e, PyObject *object, const struct isles_step *step);

/* Raises RuntimeError: the container changed meanwhile.  Always gives -1. */
int isles__refuse_changed(const struct isles_encoder *e, PyObject *container,
                          const struct isles_step *step);

#endif
