/* What one copy of the module, in one interpreter, keeps: its types and exceptions.
 *
 * Nothing here is shared between interpreters; what is, lives in core/. */
#ifndef ISLES_BINDING_STATE_H
#define ISLES_BINDING_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../core/registry_interps.h"

struct isles_state {
    PyTypeObject *id_type;     /* InterpreterID */
    PyTypeObject *interp_type; /* Interpreter, the base of isles.Interpreter */
    PyTypeObject *view_type;   /* what memoryviews of others' memory are views of */
    PyTypeObject *shared_type; /* SharedBuffer */
    PyObject *interp_class;    /* isles.Interpreter, found at the first need */
    PyObject *error;           /* InterpreterError */
    PyObject *not_found;       /* InterpreterNotFoundError */
    PyObject *busy;            /* InterpreterBusyError */
    PyObject *run_failed;      /* RunFailedError, which is isles.ExecutionFailed */
    PyObject *not_shareable;   /* NotShareableError */

    struct isles_interp *here; /* the interpreter that this copy serves; a reference */

    PyObject *known; /* weak references to the Interpreter objects, by id */

    PyTypeObject *queue_type; /* isles.Queue */
    PyObject *known_queues;   /* the addresses of the Queue objects, by id: queues.c */
    PyObject *queues_module;  /* isles.queues, once needed */

    PyTypeObject *notifier_type; /* _Notifier and _Waiter: waiters.h */
    PyTypeObject *waiter_type;

    /* Functions that were prepared for the journey, by address: functions.c */
    PyObject *shipments;
    PyObject *last_function; /* borrowed, only compared */
    PyObject *last_shipment;
};

extern PyModuleDef isles__module_def;

/* The state of the module that defines a method's class. */
struct isles_state *isles__state_of(PyTypeObject *defining_class);

/* The same for a class that may derive from one of the module's; NULL with an exception if the
 * module is gone. */
struct isles_state *isles__state_of_subclass(PyTypeObject *type);

/* The state of a module object. */
struct isles_state *isles__state_of_module(PyObject *module);

#endif
