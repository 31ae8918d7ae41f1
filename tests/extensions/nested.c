/* Makes another module while it is executed, which does not support interpreters either: so are
 * PyO3's submodules made. */
#include "traps.h"

static int
execute_inner(PyObject *module)
{
    return PyModule_AddIntConstant(module, "executed", 1);
}

#ifdef TRAP_SLOTS
static PySlot inner_slots[] = {
    PySlot_STATIC_DATA(Py_mod_name, "inner"),
    PySlot_FUNC(Py_mod_exec, execute_inner),
    PySlot_DATA(Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED),
    PySlot_END,
};

#define MAKE(spec) PyModule_FromSlotsAndSpec(inner_slots, spec)
#define EXECUTE(module) PyModule_Exec(module)
#else
static PyModuleDef_Slot inner_slots[] = {
    {Py_mod_exec, execute_inner},
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {0, NULL},
};

static struct PyModuleDef inner_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "inner",
    .m_slots = inner_slots,
};

#define MAKE(spec) PyModule_FromDefAndSpec(&inner_definition, spec)
#define EXECUTE(module) PyModule_ExecDef(module, &inner_definition)
#endif

static int
execute(PyObject *module)
{
    PyObject *spec = PyObject_GetAttrString(module, "__spec__");
    PyObject *inner = spec ? MAKE(spec) : NULL;
    Py_XDECREF(spec);
    int result = inner ? EXECUTE(inner) : -1;
    if (result == 0) {
        result = PyModule_AddObjectRef(module, "inner", inner);
    }
    Py_XDECREF(inner);
    return result;
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
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
