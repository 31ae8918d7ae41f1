#include "module_parts.h"

/* Whether it is, for all but tuples. */
static bool
is_leaf(const struct isles_state *state, PyObject *object)
{
    return object == Py_None || PyLong_CheckExact(object) || PyUnicode_CheckExact(object)
           || PyBool_Check(object) || PyFloat_CheckExact(object) || PyBytes_CheckExact(object)
           || PyMemoryView_Check(object) || Py_IS_TYPE(object, state->queue_type)
           || Py_IS_TYPE(object, state->shared_type);
}

/* Notes a tuple to be looked into, unless it was met before.  0 or -1. */
static int
note_tuple(PyObject *to_do, PyObject *seen, PyObject *tuple)
{
    PyObject *address = PyLong_FromVoidPtr(tuple);
    int known = address ? PySet_Contains(seen, address) : -1;
    int result = known < 0 ? -1 : 0;
    if (known == 0) {
        result = PySet_Add(seen, address) < 0 ? -1 : PyList_Append(to_do, tuple);
    }
    Py_XDECREF(address);
    return result;
}

/* Without recursion, and each tuple once: they may be nested deep, and share what they hold. */
static int
are_shareable(const struct isles_state *state, PyObject *to_do, PyObject *seen)
{
    for (Py_ssize_t done = 0; done < PyList_GET_SIZE(to_do); done++) {
        PyObject *tuple = PyList_GET_ITEM(to_do, done); /* the list keeps it */
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
            PyObject *item = PyTuple_GET_ITEM(tuple, i);
            if (!PyTuple_CheckExact(item)) {
                if (!is_leaf(state, item)) {
                    return 0;
                }
            } else if (note_tuple(to_do, seen, item) < 0) {
                return -1;
            }
        }
    }
    return 1;
}

/* 1, 0, or -1 with an exception. */
static int
shareable(const struct isles_state *state, PyObject *object)
{
    if (!PyTuple_CheckExact(object)) {
        return is_leaf(state, object);
    }
    PyObject *to_do = PyList_New(0), *seen = PySet_New(NULL);
    int result = -1;
    if (to_do != NULL && seen != NULL && note_tuple(to_do, seen, object) == 0) {
        result = are_shareable(state, to_do, seen);
    }
    Py_XDECREF(to_do);
    Py_XDECREF(seen);
    return result;
}

PyDoc_STRVAR(
    is_shareable_doc,
    "is_shareable(obj, /)\n--\n\n"
    "Whether PEP 734 calls an object shareable: None, bool, int, float, str, bytes,\n"
    "memoryview, Queue, SharedBuffer, and tuples of these.  All but the views, queues and\n"
    "buffers arrive as copies.  Most other objects travel as well, as copies.");

static PyObject *
is_shareable(PyObject *module, PyObject *object)
{
    int result = shareable(isles__state_of_module(module), object);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyMethodDef isles__shareable_functions[] = {
    {"is_shareable", is_shareable, METH_O, is_shareable_doc},
    {NULL, NULL, 0, NULL},
};
