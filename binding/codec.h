/* How values travel: between objects of an interpreter and the bytes of a message (core/wire.h).
 *
 * Builtin values and containers of them are written by C code; everything else is a pickle inside
 * the message, made by one pickler for all of the message, with its buffers outside of it.  What
 * pickle can't name in another interpreter goes by value, with cloudpickle.
 *
 * Identity survives: what a message holds twice arrives as one object, as pickle would deliver it,
 * also where one is inside a pickle and the other is not.  docs/design/codec.md. */
#ifndef ISLES_BINDING_CODEC_H
#define ISLES_BINDING_CODEC_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../core/message.h"
#include "local.h"
#include "state.h"

/* How deep containers may nest is CPython's to say.  Since 3.14 its check looks at the stack, which
 * has room for some levels more; before, it counts. */
#if PY_VERSION_HEX >= 0x030E0000
#define ISLES_LEVELS_A_CHECK 8
#else
#define ISLES_LEVELS_A_CHECK 1
#endif

/* One level deeper.  0, or -1 with RecursionError, and no deeper. */
static inline int
isles__nest(int *depth, const char *where)
{
    if (++*depth % ISLES_LEVELS_A_CHECK == 0 && Py_EnterRecursiveCall(where) != 0) {
        --*depth;
        return -1;
    }
    return 0;
}

static inline void
isles__unnest(int *depth)
{
    if ((*depth)-- % ISLES_LEVELS_A_CHECK == 0) {
        Py_LeaveRecursiveCall();
    }
}

/* Writes one object into an empty message.  `name` is what an error calls it: "result".
 * 0; or -1 with an exception, the message empty: NotShareableError (its cause says why) for what
 * can't be pickled, RuntimeError for a container that changed meanwhile.  `state` may be NULL: then
 * a TypeError stands for NotShareableError. */
int isles__encode(const struct isles_state *state, struct isles_local *local,
                  struct isles_message *message, PyObject *object, const char *name);

/* Reads it: a new reference, or NULL with an exception, ValueError for a malformed message. */
PyObject *isles__decode(struct isles_local *local, const struct isles_contents *contents);

/* The same for the arguments of a call, as vectorcall has them: what two of them share they share
 * there. */
int isles__encode_args(const struct isles_state *state, struct isles_local *local,
                       struct isles_message *message, PyObject *const *args, Py_ssize_t count,
                       PyObject *kwnames);

#define ISLES_ARGS_ON_STACK 8

struct isles_args {
    PyObject **values; /* positional ones, then those of `names`; values[-1] may be used */
    size_t positional;
    size_t keywords;
    PyObject *names; /* a tuple, or NULL */
    PyObject *few[1 + ISLES_ARGS_ON_STACK];
};

/* 0 or -1 with an exception; then there is nothing to give back. */
int isles__decode_args(struct isles_local *local, const struct isles_contents *contents,
                       struct isles_args *args);
void isles__args_fini(struct isles_args *args);

#endif
