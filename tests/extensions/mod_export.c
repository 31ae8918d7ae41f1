/* The module as slots, without an init function: PyModExport_ (PEP 793, CPython 3.15). */
#include "traps.h"

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {NULL},
};

static int
execute(PyObject *module)
{
    return PyModule_AddIntConstant(module, "executed", 1);
}

PyABIInfo_VAR(abi_info);

static PySlot slots[] = {
    PySlot_STATIC_DATA(Py_mod_abi, &abi_info),
    PySlot_STATIC_DATA(Py_mod_name, TRAP_NAME),
    PySlot_STATIC_DATA(Py_mod_methods, methods),
    PySlot_FUNC(Py_mod_exec, execute),
#ifdef TRAP_SUPPORT
    PySlot_DATA(Py_mod_multiple_interpreters, TRAP_SUPPORT),
#endif
    PySlot_END,
};

PyMODEXPORT_FUNC
TRAP_INIT(void)
{
    return slots;
}
