/* Single-phase, and its functions find their module by its definition: PyState_FindModule. */
#include "traps.h"

static struct PyModuleDef definition;

static PyObject *
found(PyObject *module, PyObject *unused)
{
    PyObject *self = PyState_FindModule(&definition);
    return Py_NewRef(self ? self : Py_None);
}

static PyObject *
forget(PyObject *module, PyObject *unused)
{
    return PyState_RemoveModule(&definition) ? NULL : Py_NewRef(Py_None);
}

static PyObject *
add(PyObject *module, PyObject *self)
{
    return PyState_AddModule(self, &definition) ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"found", found, METH_NOARGS, NULL},
    {"forget", forget, METH_NOARGS, NULL},
    {"add", add, METH_O, NULL},
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
    PyObject *module = PyModule_Create(&definition);
    /* Some add themselves, so that what they call while they begin finds them already. */
    if (module && PyState_AddModule(module, &definition)) {
        Py_CLEAR(module);
    }
    return module;
}
