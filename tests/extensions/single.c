/* Single-phase in a package: the name inside the init function names its types, as with pybind11.
 */
#include "traps.h"
#include <stddef.h>

struct number {
    PyObject_HEAD long value;
};

static PyObject *
number_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    long value = 0;
    if (!PyArg_ParseTuple(args, "|l", &value)) {
        return NULL;
    }
    struct number *self = (struct number *)type->tp_alloc(type, 0);
    if (self) {
        self->value = value;
    }
    return (PyObject *)self;
}

static PyObject *
number_reduce(PyObject *self, PyObject *unused)
{
    return Py_BuildValue("O(l)", Py_TYPE(self), ((struct number *)self)->value);
}

static PyMethodDef number_methods[] = {
    {"__reduce__", number_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef number_members[] = {
    {"value", Py_T_LONG, offsetof(struct number, value), Py_READONLY, NULL},
    {NULL},
};

static PyTypeObject static_type = {
    .ob_base = {PyObject_HEAD_INIT(NULL) 0},
    .tp_name = "traps.sub.single.Static",
    .tp_basicsize = sizeof(struct number),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = number_new,
    .tp_methods = number_methods,
    .tp_members = number_members,
};

/* It has a base, so only its name is left to say. */
static PyType_Slot heap_slots[] = {
    {0, NULL},
};

static PyObject *heap_type;
static long init_count;

static PyObject *
inits(PyObject *module, PyObject *unused)
{
    return PyLong_FromLong(init_count);
}

/* Makes one without being given the module: by the static pointer. */
static PyObject *
make_heap(PyObject *module, PyObject *value)
{
    return PyObject_CallOneArg(heap_type, value);
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"inits", inits, METH_NOARGS, NULL},
    {"make_heap", make_heap, METH_O, NULL},
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
    init_count++;
    PyObject *module = PyModule_Create(&definition);
    const char *name = module ? PyModule_GetName(module) : NULL;
    if (!name) {
        return NULL;
    }
    char full[200];
    PyOS_snprintf(full, sizeof(full), "%s.Heap", name);
    PyType_Spec spec = {.name = full, .flags = Py_TPFLAGS_DEFAULT, .slots = heap_slots};
    if (PyType_Ready(&static_type)
        || !(heap_type = PyType_FromSpecWithBases(&spec, (PyObject *)&static_type))
        || PyModule_AddStringConstant(module, "name_at_init", name)
        || PyModule_AddObjectRef(module, "Static", (PyObject *)&static_type)
        || PyModule_AddObjectRef(module, "Heap", heap_type)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
