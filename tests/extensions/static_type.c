/* A static type: written to by PyType_Ready, and its objects belong to one interpreter's collector.
 */
#include "traps.h"
#include <stddef.h>

struct node {
    PyObject_HEAD PyObject *child;
};

static PyObject *
node_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *child = Py_None;
    if (!PyArg_ParseTuple(args, "|O", &child)) {
        return NULL;
    }
    struct node *self = (struct node *)type->tp_alloc(type, 0);
    if (self) {
        self->child = Py_NewRef(child);
    }
    return (PyObject *)self;
}

static int
node_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct node *)self)->child);
    return 0;
}

static int
node_clear(PyObject *self)
{
    Py_CLEAR(((struct node *)self)->child);
    return 0;
}

static void
node_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    node_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *
node_reduce(PyObject *self, PyObject *unused)
{
    return Py_BuildValue("O(O)", Py_TYPE(self), ((struct node *)self)->child);
}

static PyMethodDef node_methods[] = {
    {"__reduce__", node_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef node_members[] = {
    {"child", Py_T_OBJECT_EX, offsetof(struct node, child), 0, NULL},
    {NULL},
};

static PyTypeObject node_type = {
    .ob_base = {PyObject_HEAD_INIT(NULL) 0},
    .tp_name = "traps.static_type.Node",
    .tp_basicsize = sizeof(struct node),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = node_new,
    .tp_traverse = node_traverse,
    .tp_clear = node_clear,
    .tp_dealloc = node_dealloc,
    .tp_methods = node_methods,
    .tp_members = node_members,
};

static PyObject *
is_node(PyObject *module, PyObject *object)
{
    return PyBool_FromLong(PyObject_TypeCheck(object, &node_type));
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"is_node", is_node, METH_O, NULL},
    {NULL},
};

static int
execute(PyObject *module)
{
    return PyModule_AddType(module, &node_type);
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
