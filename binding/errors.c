#include "errors.h"

#include <stdlib.h>

#include "../core/status.h"
#include "interrupts.h"
#include "signals.h"

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

/* ---- failures ---- */

static PyObject *
namespace_new(PyObject *attributes)
{
    PyObject *types = isles__import("types");
    PyObject *type = types ? PyObject_GetAttrString(types, "SimpleNamespace") : NULL;
    PyObject *empty = type ? PyTuple_New(0) : NULL;
    PyObject *result = empty ? PyObject_Call(type, empty, attributes) : NULL;
    Py_XDECREF(types);
    Py_XDECREF(type);
    Py_XDECREF(empty);
    return result;
}

static PyObject *
excinfo_new(PyObject *failure)
{
#define FIELD(index) PyTuple_GET_ITEM(failure, index)
    PyObject *type_attributes =
        Py_BuildValue("{sOsOsO}", "__name__", FIELD(FAILURE_NAME), "__qualname__",
                      FIELD(FAILURE_QUALNAME), "__module__", FIELD(FAILURE_MODULE));
    PyObject *type = type_attributes ? namespace_new(type_attributes) : NULL;
    Py_XDECREF(type_attributes);
    if (type == NULL) {
        return NULL;
    }
    PyObject *attributes =
        Py_BuildValue("{sNsOsOsO}", "type", type, "msg", FIELD(FAILURE_MESSAGE), "formatted",
                      FIELD(FAILURE_FORMATTED), "errdisplay", FIELD(FAILURE_DISPLAY));
#undef FIELD
    PyObject *info = attributes ? namespace_new(attributes) : NULL;
    Py_XDECREF(attributes);
    return info;
}

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

PyObject *
isles__raise_failure(const struct isles_state *state, PyObject *failure)
{
    if (isles_registry_exiting()) {
        return isles__raise_status(state, ISLES_EXITING, -1);
    }
    PyObject *info = excinfo_new(failure);
    PyObject *error = info ? PyObject_CallOneArg(state->run_failed, info) : NULL;
    if (error != NULL
        && PyObject_SetAttrString(error, "_where", PyTuple_GET_ITEM(failure, FAILURE_WHERE)) < 0) {
        Py_CLEAR(error);
    }
    PyObject *carried = PyTuple_GET_ITEM(failure, FAILURE_CARRIED);
    if (error != NULL && carried != Py_None
        && PyObject_SetAttrString(error, "_carried", carried) < 0) {
        Py_CLEAR(error);
    }
    if (error != NULL) {
        PyErr_SetObject(state->run_failed, error);
    }
    Py_XDECREF(error);
    Py_XDECREF(info);
    return NULL;
}

/* A str attribute, or a replacement: an exception class may answer with anything. */
static PyObject *
text_attribute(PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    if (value == NULL || !PyUnicode_Check(value)) {
        PyErr_Clear();
        Py_XDECREF(value);
        return PyUnicode_FromString("?");
    }
    if (!PyUnicode_CheckExact(value)) {
        Py_SETREF(value, PyUnicode_FromObject(value));
    }
    return value;
}

PyObject *
isles__message_of(PyObject *error)
{
    /* Of a failure from further away, not the traceback again: it is in the display, and each level
     * would double it. */
    bool nested = Py_TYPE(error)->tp_str == run_failed_str;
    PyObject *message =
        nested ? ((PyTypeObject *)PyExc_RuntimeError)->tp_str(error) : PyObject_Str(error);
    if (message == NULL) {
        PyErr_Clear();
        return PyUnicode_FromString("<exception str() failed>");
    }
    if (!PyUnicode_CheckExact(message)) {
        Py_SETREF(message, PyUnicode_FromObject(message));
    }
    return message;
}

/* The traceback by isles._failure; without it (recursion, memory, a broken sys.path) the one line
 * has to do. */
static PyObject *
display_of(PyObject *error, PyObject *sources, PyObject *formatted)
{
    if (isles_registry_exiting()) {
        /* Nobody will read it.  And the import may evaluate text (namedtuple), which clears
         * CPython's note that a KeyboardInterrupt goes unhandled: the process would not end by it.
         */
        return Py_NewRef(formatted);
    }
    PyObject *helper = isles__import("isles._failure");
    PyObject *display =
        helper ? PyObject_CallMethod(helper, "display", "(OO)", error, sources) : NULL;
    Py_XDECREF(helper);
    if (display != NULL && PyUnicode_CheckExact(display)) {
        return display;
    }
    PyErr_Clear();
    Py_XDECREF(display);
    return Py_NewRef(formatted);
}

/* The exception itself as bytes, or None. */
static PyObject *
carried_of(PyObject *error)
{
    PyObject *helper = isles_registry_exiting() ? NULL : isles__import("isles._tasks");
    PyObject *carried = helper ? PyObject_CallMethod(helper, "carry", "(O)", error) : NULL;
    Py_XDECREF(helper);
    if (carried == NULL) {
        PyErr_Clear();
        return Py_NewRef(Py_None);
    }
    return carried;
}

/* As a traceback's last line: with the module, unless it is builtins or __main__. */
static PyObject *
format_one_line(PyObject *module, PyObject *qualname, PyObject *message)
{
    bool plain =
        PyUnicode_EqualToUTF8(module, "builtins") || PyUnicode_EqualToUTF8(module, "__main__");
    PyObject *name = plain ? Py_NewRef(qualname) : PyUnicode_FromFormat("%U.%U", module, qualname);
    if (name != NULL && PyUnicode_GET_LENGTH(message) > 0) {
        Py_SETREF(name, PyUnicode_FromFormat("%U: %U", name, message));
    }
    return name;
}

/* The interpreter that runs, as it follows a colon. */
static PyObject *
where_of(void)
{
    int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
    struct isles_interp *interp = isles_registry_find(id);
    char *name = NULL;
    if (interp != NULL) {
        (void)isles_interp_name(interp, &name); /* without memory: without a name */
        isles_interp_unref(interp);
    }
    PyObject *where = name ? PyUnicode_FromFormat(" %lld (%s)", (long long)id, name)
                           : PyUnicode_FromFormat(" %lld", (long long)id);
    free(name);
    return where;
}

PyObject *
isles__describe_failure(PyObject *sources, bool carry)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *type = (PyObject *)Py_TYPE(error);
    PyObject *name = text_attribute(type, "__name__");
    PyObject *qualname = text_attribute(type, "__qualname__");
    PyObject *module = text_attribute(type, "__module__");
    PyObject *message = isles__message_of(error);
    PyObject *formatted = NULL, *display = NULL, *carried = NULL, *where = NULL, *failure = NULL;
    /* Interrupted: no more code of the exception's is run, nor would anybody read the rest. */
    if (name && qualname && module && message && !isles__signals_interrupted()) {
        formatted = format_one_line(module, qualname, message);
    }
    if (formatted != NULL) {
        display = display_of(error, sources ? sources : Py_None, formatted);
        carried = carry ? carried_of(error) : Py_NewRef(Py_None);
        where = where_of();
        failure = where ? PyTuple_Pack(FAILURE_FIELDS, name, qualname, module, message, formatted,
                                       display, carried, where)
                        : NULL;
    }
    Py_XDECREF(name);
    Py_XDECREF(qualname);
    Py_XDECREF(module);
    Py_XDECREF(message);
    Py_XDECREF(formatted);
    Py_XDECREF(display);
    Py_XDECREF(carried);
    Py_XDECREF(where);
    Py_DECREF(error);
    return failure;
}
