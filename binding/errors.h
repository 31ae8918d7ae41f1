/* The exception types, and the statuses of core/ as exceptions. */
#ifndef ISLES_BINDING_ERRORS_H
#define ISLES_BINDING_ERRORS_H

#include "state.h"

/* Makes the exception types and adds them to the module.  0 or -1. */
int isles__errors_init(PyObject *module, struct isles_state *state);

/* Whether an exception is a RunFailedError, of whichever copy of the module. */
bool isles__is_run_failed(PyObject *error);

/* Sets the exception that a status stands for; `id` is the interpreter that it is about, or
 * negative.  Always returns NULL. */
PyObject *isles__raise_status(const struct isles_state *state, int status, int64_t id);

/* Replaces the current exception with a NotShareableError about `object` that it caused; `where` is
 * the way to it, or NULL.  `state` may be NULL: then a TypeError stands for it. */
void isles__raise_not_shareable(const struct isles_state *state, PyObject *object, PyObject *where);

#endif
