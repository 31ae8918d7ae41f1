/* One piece of work done in another interpreter, on the calling thread. */
#ifndef ISLES_BINDING_CALLS_H
#define ISLES_BINDING_CALLS_H

#include "functions.h"
#include "state.h"

enum isles_call_kind {
    ISLES_CALL,
    ISLES_CALL_DISCARD, /* the result is None */
    ISLES_CALL_TASK,    /* what is raised comes along, if it can travel: isles/_tasks.py */
    ISLES_CALL_CHUNK,   /* so, and isles._tasks.run_chunk(callable, *args, **kwargs) is called */
};

/* Calls callable(*args, **kwargs) there and gives a copy of the result.
 * `args` are `count` positional ones followed by those that `kwnames` (a tuple or NULL) names.
 * NULL with an exception: RunFailedError, NotShareableError, InterpreterError … */
PyObject *isles__call(struct isles_state *state, struct isles_interp *interp, PyObject *callable,
                      PyObject *const *args, Py_ssize_t count, PyObject *kwnames,
                      enum isles_call_kind kind);

/* Runs a str, a code object or a function without arguments in its __main__; None or NULL. */
PyObject *isles__exec(struct isles_state *state, struct isles_interp *interp, PyObject *code);

/* Binds a mapping's items in its __main__; None or NULL. */
PyObject *isles__bind(struct isles_state *state, struct isles_interp *interp, PyObject *mapping);

#endif
