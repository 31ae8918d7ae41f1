/* What isles keeps inside an interpreter to serve calls into it: pickle's functions, the callables
 * and the code that were shipped there before.  Made at the first need, found through the
 * interpreter's registry entry, touched under its GIL only. */
#ifndef ISLES_BINDING_LOCAL_H
#define ISLES_BINDING_LOCAL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "state.h"

struct isles_local {
    struct isles_interp *interp; /* whose it is; borrowed */
    PyObject *loads;             /* pickle.loads: isles__local_loads() */
    PyObject *module;            /* isles._interpreters: isles__local_state() */
    PyObject *main_module; /* not its dict: CPython's finalization clears that of a living module */

    /* Callables by the key of their shipment (functions.h), and the one called last. */
    PyObject *callables;
    size_t callables_size;
    int64_t last_key; /* 0: none */
    PyObject *last_callable;

    /* Code objects by source; sources by the file name that they were compiled under, which is
     * where a traceback finds its lines. */
    PyObject *codes;
    PyObject *sources;
    PyObject *last_source;
    PyObject *last_code;
    PyObject *last_long_source; /* its name */
    unsigned long long next_source;

    /* Private copies of extension modules: loader.c. */
    long slot;         /* core/copies.h; -1: none yet */
    PyObject *copies;  /* the paths of those that are loaded, by the module's name */
    PyObject *singles; /* what single-phase ones are to have again, by (name, path) */
};

/* How many callables, and how many sources, an interpreter remembers; beyond that it forgets all
 * and starts again.  A source longer than the limit (bytes) is not remembered. */
#define ISLES_CALLABLES_MAX 1024
#define ISLES_CALLABLES_SIZE_MAX (16 * 1024 * 1024) /* bytes, all packed callables together */
#define ISLES_CALLABLE_SIZE_MAX (1024 * 1024)       /* one beyond is not remembered */
#define ISLES_SOURCES_MAX 256
#define ISLES_SOURCE_SIZE_MAX (64 * 1024)

/* The current interpreter's, which `interp` must be; NULL with an exception. */
struct isles_local *isles__local(struct isles_interp *interp);

/* pickle.loads, borrowed; NULL with an exception. */
PyObject *isles__local_loads(struct isles_local *local);

/* The state of the interpreter's own copy of isles, imported at the first need; NULL with an
 * exception. */
struct isles_state *isles__local_state(struct isles_local *local);

/* Gives everything back.  In the interpreter. */
void isles__local_free(struct isles_interp *interp);

#endif
