/* Needs a library that uses Python, itself or (TRAP_DEEP) through another one that doesn't. */
#include "traps.h"

#ifdef TRAP_DEEP
void (*trap_middle_keep(void))(PyObject *);
PyObject *(*trap_middle_kept(void))(void);
#define trap_keep trap_middle_keep()
#define trap_kept trap_middle_kept()
#else
void trap_keep(PyObject *object);
PyObject *trap_kept(void);
#endif

static PyObject *
keep(PyObject *module, PyObject *object)
{
    trap_keep(object);
    Py_RETURN_NONE;
}

static PyObject *
kept(PyObject *module, PyObject *unused)
{
    return trap_kept();
}

/* Where the library is in memory. */
static PyObject *
library(PyObject *module, PyObject *unused)
{
    return PyLong_FromVoidPtr((void *)trap_keep);
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"keep", keep, METH_O, NULL},
    {"kept", kept, METH_NOARGS, NULL},
    {"library", library, METH_NOARGS, NULL},
    {NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = TRAP_NAME,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
TRAP_INIT(void)
{
    return PyModuleDef_Init(&definition);
}
