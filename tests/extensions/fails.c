/* An init function that fails, in one way or another (TRAP_WAY). */
#include "traps.h"

enum way {
    RAISES,
    RETURNS_NULL,
    UNREPORTED,
    EXEC_RAISES,
};

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {NULL},
};

static int
execute(PyObject *module)
{
    PyErr_SetString(PyExc_LookupError, "no such trap");
    return -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = TRAP_NAME,
    .m_methods = methods,
};

PyMODINIT_FUNC
TRAP_INIT(void)
{
    PyObject *module;
    switch ((enum way)TRAP_WAY) {
    case RAISES:
        PyErr_SetString(PyExc_ValueError, "not today");
        return NULL;
    case RETURNS_NULL:
        return NULL;
    case UNREPORTED:
        module = PyModule_Create(&definition); /* first: debug builds check that none is set then */
        PyErr_SetString(PyExc_ValueError, "not told");
        return module;
    case EXEC_RAISES:
        definition.m_slots = slots;
        return PyModuleDef_Init(&definition);
    }
    return NULL;
}
