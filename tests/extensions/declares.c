/* A module that says what it supports (TRAP_SUPPORT), and has static memory all the same. */
#include "traps.h"

#ifdef TRAP_KEEPS
/* What code has that keeps another module's pointers. */
const char trap_keeps[] = TRAP_KEEPS;
#endif

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {NULL},
};

static int
execute(PyObject *module)
{
    return PyModule_AddIntConstant(module, "executed", 1);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {Py_mod_multiple_interpreters, TRAP_SUPPORT},
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
