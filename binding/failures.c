#include "failures.h"

#include "../core/registry.h"
#include "../core/status.h"
#include "errors.h"
#include "interrupts.h"
#include "signals.h"

/* ---- raised again ---- */

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

/* ---- described ---- */

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
    bool nested = isles__is_run_failed(error);
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
