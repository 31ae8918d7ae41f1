/* Needs a library that doesn't use Python, and finds it by $ORIGIN. */
#include "traps.h"

long trap_plain_bump(void);

static PyObject *
bump_library(PyObject *module, PyObject *unused)
{
    return PyLong_FromLong(trap_plain_bump());
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"bump_library", bump_library, METH_NOARGS, NULL},
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
