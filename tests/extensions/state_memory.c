/* Single-phase with memory for each module object (m_size >= 0): importing it anew runs init again.
 */
#include "traps.h"

struct state {
    PyObject *items;
};

static long init_count;

static PyObject *
inits(PyObject *module, PyObject *unused)
{
    return PyLong_FromLong(init_count);
}

static PyObject *
push(PyObject *module, PyObject *item)
{
    struct state *state = PyModule_GetState(module);
    return PyList_Append(state->items, item) ? NULL : PyLong_FromSsize_t(PyList_Size(state->items));
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"inits", inits, METH_NOARGS, NULL},
    {"push", push, METH_O, NULL},
    {NULL},
};

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    Py_VISIT(state->items);
    return 0;
}

static int
clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->items);
    return 0;
}

static void
release(void *module)
{
    clear(module);
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = TRAP_NAME,    .m_size = sizeof(struct state),
    .m_methods = methods,  .m_traverse = traverse, .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC
TRAP_INIT(void)
{
    init_count++;
    PyObject *module = PyModule_Create(&definition);
    struct state *state = module ? PyModule_GetState(module) : NULL;
    if (state && !(state->items = PyList_New(0))) {
        Py_CLEAR(module);
    }
    return module;
}
