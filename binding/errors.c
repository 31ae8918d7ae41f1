#include "errors.h"

#include <stdlib.h>

#include "../core/registry.h"
#include "../core/registry_threads.h"
#include "../core/status.h"
#include "failures.h"

/* ---- RunFailedError ---- */

static PyObject *
run_failed_str(PyObject *self)
{
    PyTypeObject *base = (PyTypeObject *)PyExc_RuntimeError;
    PyObject *text = base->tp_str(self);
    if (text == NULL) {
        return NULL;
    }
    PyObject *info = PyObject_GetAttrString(self, "excinfo");
    PyObject *display = info ? PyObject_GetAttrString(info, "errdisplay") : NULL;
    if (display == NULL) {
        PyErr_Clear();
    } else if (display != Py_None) {
        PyObject *where = PyObject_GetAttrString(self, "_where");
        if (where == NULL) { /* made by somebody else */
            PyErr_Clear();
            where = PyUnicode_FromString("");
        }
        Py_SETREF(text, where ? PyUnicode_FromFormat("%U\n\nUncaught in the interpreter:%S\n\n%S",
                                                     text, where, display)
                              : NULL);
        Py_XDECREF(where);
    }
    Py_XDECREF(info);
    Py_XDECREF(display);
    return text;
}

/* Of an excinfo, as in the standard library; of a text, as its copies are made (pickle, copy). */
static int
run_failed_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyTypeObject *base = (PyTypeObject *)PyExc_RuntimeError;
    if (PyTuple_GET_SIZE(args) != 1 || PyUnicode_Check(PyTuple_GET_ITEM(args, 0))) {
        return base->tp_init(self, args, kwargs);
    }
    PyObject *info = PyTuple_GET_ITEM(args, 0);
    PyObject *formatted = PyObject_GetAttrString(info, "formatted");
    PyObject *text = formatted ? PyTuple_Pack(1, formatted) : NULL;
    int result = text ? base->tp_init(self, text, kwargs) : -1;
    Py_XDECREF(formatted);
    Py_XDECREF(text);
    return result < 0 ? -1 : PyObject_SetAttrString(self, "excinfo", info);
}

PyDoc_STRVAR(run_failed_doc,
             "Code that ran in another interpreter raised an exception.\n\n"
             "excinfo describes it, as PEP 734 lists: type (with __name__, __qualname__ and\n"
             "__module__), msg, formatted ('ValueError: x') and errdisplay, the traceback as\n"
             "that interpreter would print it.  isles.ExecutionFailed is the same class.");

bool
isles__is_run_failed(PyObject *error)
{
    return Py_TYPE(error)->tp_str == run_failed_str;
}

static PyType_Slot run_failed_slots[] = {
    {Py_tp_doc, (void *)run_failed_doc},
    {Py_tp_init, run_failed_init},
    {Py_tp_str, run_failed_str},
    {0, NULL},
};

static PyType_Spec run_failed_spec = {
    .name = "isles.ExecutionFailed",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = run_failed_slots,
};

/* ---- the types ---- */

static int
add_error(PyObject *module, PyObject **slot, const char *name, const char *doc, PyObject *bases)
{
    *slot = PyErr_NewExceptionWithDoc(name, doc, bases, NULL);
    if (*slot == NULL) {
        return -1;
    }
    return PyModule_AddType(module, (PyTypeObject *)*slot);
}

static int
add_not_shareable(PyObject *module, struct isles_state *state)
{
    PyObject *bases = PyTuple_Pack(2, state->error, PyExc_TypeError);
    if (bases == NULL) {
        return -1;
    }
    int result = add_error(module, &state->not_shareable, "isles.NotShareableError",
                           "An object can't travel to another interpreter.", bases);
    Py_DECREF(bases);
    return result;
}

static int
add_run_failed(PyObject *module, struct isles_state *state)
{
    state->run_failed = PyType_FromModuleAndSpec(module, &run_failed_spec, state->error);
    if (state->run_failed == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "RunFailedError", state->run_failed);
}

int
isles__errors_init(PyObject *module, struct isles_state *state)
{
    if (add_error(module, &state->error, "isles.InterpreterError",
                  "An operation on an interpreter failed.", PyExc_RuntimeError)
            < 0
        || add_error(module, &state->not_found, "isles.InterpreterNotFoundError",
                     "There is no interpreter of that id, or it has ended.", state->error)
               < 0
        || add_error(module, &state->busy, "isles.InterpreterBusyError",
                     "The interpreter is running in another thread.", state->error)
               < 0) {
        return -1;
    }
    return add_run_failed(module, state) < 0 ? -1 : add_not_shareable(module, state);
}

/* ---- statuses ---- */

PyObject *
isles__raise_status(const struct isles_state *state, int status, int64_t id)
{
    if (status == ISLES_NOT_FOUND && isles_registry_exiting()) {
        status = ISLES_EXITING; /* ended before this thread came */
    }
    long long number = id;
    const char *text = isles_status_text(status);
    switch (status) {
    case ISLES_NO_MEMORY:
        return PyErr_NoMemory();
    case ISLES_EXITING:
        /* The thread that meets it has nothing more to do; an exception of another kind would
         * only be printed. */
        PyErr_SetNone(PyExc_SystemExit);
        return NULL;
    case ISLES_NOT_FOUND:
        return PyErr_Format(state->not_found,
                            "unrecognized interpreter ID %lld: there is none, or it has ended",
                            number);
    case ISLES_UNRECOGNIZED:
        return PyErr_Format(state->error, "unrecognized interpreter %lld: it %s", number, text);
    case ISLES_BUSY:
        if (id == 0) {
            return PyErr_Format(state->busy,
                                "the main interpreter is already running: only a thread that came "
                                "from it can call back into it");
        }
        return PyErr_Format(state->busy,
                            "interpreter %lld %s: one at a time is inside, so make another "
                            "interpreter, or use InterpreterPoolExecutor",
                            number, text);
    case ISLES_IS_MAIN:
        return PyErr_Format(state->error,
                            "interpreter %lld %s, which can be neither closed nor interrupted",
                            number, text);
    case ISLES_IS_CURRENT:
        return PyErr_Format(state->error, "interpreter %lld %s: only another one can close it",
                            number, text);
    case ISLES_TOO_DEEP:
        return PyErr_Format(PyExc_RecursionError, "%s (limit %d)", text, ISLES_DEPTH_MAX);
    default:
        break;
    }
    PyObject *type = status == ISLES_THREADS_ALIVE ? state->busy : state->error;
    return PyErr_Format(type, "interpreter %lld %s", number, text);
}

/* ---- what can't travel ---- */

void
isles__raise_not_shareable(const struct isles_state *state, PyObject *object, PyObject *where)
{
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return; /* says nothing about the object */
    }
    PyObject *cause = PyErr_GetRaisedException();
    PyObject *why = isles__message_of(cause);
    if (why == NULL) {
        Py_DECREF(cause);
        return;
    }
    PyErr_Format(state ? state->not_shareable : PyExc_TypeError,
                 "%V%s%T object can't travel to another interpreter: %U", where, "",
                 where ? ": " : "", object, why);
    Py_DECREF(why);
    PyObject *error = PyErr_GetRaisedException();
    PyException_SetCause(error, cause); /* steals */
    PyErr_SetRaisedException(error);
}
