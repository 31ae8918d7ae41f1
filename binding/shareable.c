#include "codec.h"

/* Whether it is, for all but tuples. */
static bool
is_shareable(const struct isles_state *state, PyObject *object)
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
                if (!is_shareable(state, item)) {
                    return 0;
                }
            } else if (note_tuple(to_do, seen, item) < 0) {
                return -1;
            }
        }
    }
    return 1;
}

int
isles__is_shareable(const struct isles_state *state, PyObject *object)
{
    if (!PyTuple_CheckExact(object)) {
        return is_shareable(state, object);
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
