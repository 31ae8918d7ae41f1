/* The arguments of methods that are called too often for PyArg_ParseTupleAndKeywords. */
#ifndef ISLES_BINDING_ARGUMENTS_H
#define ISLES_BINDING_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#define ISLES_ARGUMENTS_MOST 4

struct isles_signature {
    const char *method;
    const char *names[ISLES_ARGUMENTS_MOST];
    int positional; /* how many may go by position; the first is required */
    bool no_first;  /* unless this says that it isn't */
};

/* Sorts what a method was called with by the names; what was not given stays NULL.  0 or -1. */
int isles__arguments_sort(const struct isles_signature *signature, PyObject *const *args,
                          Py_ssize_t count, PyObject *kwnames, PyObject **values);

/* The deadline (core/os.h) of a `timeout`, which may be NULL or None: never.  0 or -1. */
int isles__arguments_timeout(PyObject *timeout, int64_t *deadline);

/* As `queue` reads these two: without `block` the timeout does not count. */
int isles__arguments_waiting(PyObject *block, PyObject *timeout, int64_t *deadline);

#endif
