/* Single-phase, and its init keeps what it imports: run in another interpreter it keeps that one's.
 */
#include "traps.h"

static PyTypeObject *node_type;

static PyObject *
is_node(PyObject *module, PyObject *object)
{
    return PyBool_FromLong(PyObject_TypeCheck(object, node_type));
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"is_node", is_node, METH_O, NULL},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = TRAP_NAME,
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
TRAP_INIT(void)
{
    PyObject *other = PyImport_ImportModule("traps.static_type");
    node_type = other ? (PyTypeObject *)PyObject_GetAttrString(other, "Node") : NULL;
    Py_XDECREF(other);
    PyObject *module = node_type ? PyModule_Create(&definition) : NULL;
    long here = (long)PyInterpreterState_GetID(PyInterpreterState_Get());
    if (module && PyModule_AddIntConstant(module, "interpreter_at_init", here)) {
        Py_CLEAR(module);
    }
    return module;
}
