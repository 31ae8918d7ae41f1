#include "arguments.h"

#include <math.h>

#include "../core/os.h"

/* Sorts what a method was called with by the names; what was not given stays NULL. */
int
isles__arguments_sort(const struct isles_signature *signature, PyObject *const *args,
                      Py_ssize_t count, PyObject *kwnames, PyObject **values)
{
    if (count > signature->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments (%zd given)",
                     signature->method, signature->positional, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        values[i] = args[i];
    }
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        size_t at = 0;
        while (at < Py_ARRAY_LENGTH(signature->names)
               && !(signature->names[at] && PyUnicode_EqualToUTF8(name, signature->names[at]))) {
            at++;
        }
        if (at == Py_ARRAY_LENGTH(signature->names) || values[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected or repeated argument '%U'",
                         signature->method, name);
            return -1;
        }
        values[at] = args[count + i];
    }
    if (values[0] == NULL && !signature->no_first) {
        PyErr_Format(PyExc_TypeError, "%s() misses its argument '%s'", signature->method,
                     signature->names[0]);
        return -1;
    }
    return 0;
}

/* Seconds beyond which a wait is one without a deadline. */
#define FOR_EVER 4e9

int
isles__arguments_timeout(PyObject *timeout, int64_t *deadline)
{
    *deadline = ISLES_NEVER;
    if (timeout == NULL || timeout == Py_None) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (seconds < 0 || isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be non-negative");
        return -1;
    }
    if (isinf(seconds)) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is infinite: None waits for ever");
        return -1;
    }
    if (seconds == 0) {
        *deadline = ISLES_AT_ONCE;
    } else if (seconds < FOR_EVER) {
        *deadline = isles_now() + (int64_t)(seconds * 1e9);
    }
    return 0;
}

/* As `queue` reads these two: without `block` the timeout does not count. */
int
isles__arguments_waiting(PyObject *block, PyObject *timeout, int64_t *deadline)
{
    int waits = block == NULL || block == Py_True ? 1 : PyObject_IsTrue(block);
    if (waits < 0) {
        return -1;
    }
    if (!waits) {
        *deadline = ISLES_AT_ONCE;
        return 0;
    }
    return isles__arguments_timeout(timeout, deadline);
}
