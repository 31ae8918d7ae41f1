/* Functions on their way to another interpreter.
 *
 * A function is prepared (pickled: by reference where it can be imported, by value otherwise) once,
 * and remembered as a *shipment* for as long as it lives.  The other side remembers what it
 * unpacked by the shipment's key, so a repeated call moves neither the function nor its code.
 *
 * By value means with what it captured: cells, globals that it names, defaults.  The shipment
 * watches those; when one changes, the function is prepared again under a new key.  What can
 * change without being seen (a captured list) makes it travel anew with each call. */
#ifndef ISLES_BINDING_FUNCTIONS_H
#define ISLES_BINDING_FUNCTIONS_H

#include "local.h"
#include "state.h"

/* What the bytes are; isles/_pack.py has the same numbers. */
enum isles_cargo_kind {
    ISLES_CARGO_PICKLE,
    ISLES_CARGO_NAME, /* "module\0qualified name" */
    ISLES_CARGO_CODE, /* marshalled (name, qualified name, code): all there is to the function */
};

struct isles_cargo {
    PyObject *owner; /* keeps `bytes` alive: a reference of the sending interpreter */
    int64_t key;     /* 0: not to be remembered */
    enum isles_cargo_kind kind;
    const char *bytes;
    size_t size;
};

/* Prepares a callable.  0, or -1 with an exception (NotShareableError). */
int isles__function_pack(struct isles_state *state, PyObject *callable, struct isles_cargo *cargo);

/* Gives the callable in the receiving interpreter, a new reference; NULL with an exception.  The
 * sender is suspended on this very thread, so its bytes are read in place. */
PyObject *isles__function_unpack(struct isles_local *local, const struct isles_cargo *cargo);

void isles__functions_clear(struct isles_state *state);

#endif
