/* Makes another module while it is executed, as PyO3 does: that one declares no support either. */
#include "traps.h"

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {NULL},
};

/* Of the module inside.  TRAP_SLOTS: made of slots alone (CPython 3.15). */
#ifdef TRAP_SLOTS
PyABIInfo_VAR(abi_info);

static PySlot inner_slots[] = {
    PySlot_STATIC_DATA(Py_mod_abi, &abi_info),
    PySlot_STATIC_DATA(Py_mod_name, "inner"),
    PySlot_STATIC_DATA(Py_mod_methods, methods),
    PySlot_END,
};

static PyObject *
make_inner(PyObject *spec)
{
    PyObject *inner = PyModule_FromSlotsAndSpec(inner_slots, spec);
    if (inner && PyModule_Exec(inner) < 0) {
        Py_CLEAR(inner);
    }
    return inner;
}
#else
static PyModuleDef_Slot inner_slots[] = {{0, NULL}};

static struct PyModuleDef inner_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "inner",
    .m_methods = methods,
    .m_slots = inner_slots,
};

static PyObject *
make_inner(PyObject *spec)
{
    PyObject *inner = NULL;
    if (PyModuleDef_Init(&inner_definition)) {
        inner = PyModule_FromDefAndSpec(&inner_definition, spec);
    }
    if (inner && PyModule_ExecDef(inner, &inner_definition) < 0) {
        Py_CLEAR(inner);
    }
    return inner;
}
#endif

static int
execute(PyObject *module)
{
    PyObject *machinery = PyImport_ImportModule("importlib.machinery");
    PyObject *spec =
        machinery ? PyObject_CallMethod(machinery, "ModuleSpec", "sO", "inner", Py_None) : NULL;
    PyObject *inner = spec ? make_inner(spec) : NULL;
    int result = inner ? PyModule_AddObjectRef(module, "inner", inner) : -1;
    Py_XDECREF(machinery);
    Py_XDECREF(spec);
    Py_XDECREF(inner);
    return result;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
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
