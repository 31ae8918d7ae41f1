/* A library that uses Python: what it keeps is an object of one interpreter. */
#include <Python.h>

static PyObject *kept;

void
trap_keep(PyObject *object)
{
    Py_XSETREF(kept, Py_NewRef(object));
}

PyObject *
trap_kept(void)
{
    return Py_NewRef(kept ? kept : Py_None);
}
