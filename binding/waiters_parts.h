/* What the files of the waiters share: waiters.c is one put or get that waits, notifiers.c what
 * tells its event loop. */
#ifndef ISLES_BINDING_WAITERS_PARTS_H
#define ISLES_BINDING_WAITERS_PARTS_H

#include "waiters.h"

/* The tag of its note is the object itself, borrowed: it ends what is pending before it goes, and
 * that takes the tag off.  All of it under the interpreter's GIL. */
struct isles_waiter_object {
    PyObject_HEAD struct isles_pending *pending; /* its owner's reference; NULL: ended */
    PyObject *queue;
    bool puts;
};

/* ---- waiters.c ---- */

/* One that has nothing pending yet; NULL with an exception. */
struct isles_waiter_object *isles__waiter_new(const struct isles_state *state, PyObject *queue,
                                              bool puts);

/* ---- notifiers.c ---- */

/* Makes the type and adds it to the module.  0 or -1. */
int isles__notifiers_init(PyObject *module, struct isles_state *state);

#endif
