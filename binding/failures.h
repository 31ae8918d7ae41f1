/* Exceptions of one interpreter, described there and raised again in another one. */
#ifndef ISLES_BINDING_FAILURES_H
#define ISLES_BINDING_FAILURES_H

#include "state.h"

/* What describes an exception of another interpreter, in the order in which they
 * travel. */
enum {
    FAILURE_NAME,
    FAILURE_QUALNAME,
    FAILURE_MODULE,
    FAILURE_MESSAGE,   /* str or None */
    FAILURE_FORMATTED, /* "ValueError: x" */
    FAILURE_DISPLAY,   /* the traceback, as the interpreter would print it */
    FAILURE_CARRIED,   /* bytes: the exception itself (isles/_tasks.py); or None */
    FAILURE_WHERE,     /* "3 (name)": see where_of() */
    FAILURE_FIELDS,
};

/* Sets RunFailedError from such a tuple.  Always returns NULL. */
PyObject *isles__raise_failure(const struct isles_state *state, PyObject *failure);

/* str(error) as an exact str, whatever its __str__ does; NULL only without memory. */
PyObject *isles__message_of(PyObject *error);

/* Takes the current exception and describes it as such a tuple; NULL without memory, or if a
 * signal's handler raised meanwhile.  It runs in the interpreter that failed.  `carry`: with the
 * exception itself. */
PyObject *isles__describe_failure(PyObject *sources, bool carry);

#endif
