#include "views_parts.h"

PyObject *
isles__shared_new(const struct isles_state *state, struct isles_block *block)
{
    Py_ssize_t size = (Py_ssize_t)block->size, stride = 1;
    struct isles_layout layout = {
        .itemsize = 1, .ndim = 1, .format = "B", .shape = &size, .strides = &stride};
    return (PyObject *)isles__view_make(state->shared_type, block, state->here, &layout);
}

static PyObject *
shared_from_block(const struct isles_state *state, struct isles_block *block)
{
    if (block == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *object = isles__shared_new(state, block);
    isles_shared_unref(&block->shared);
    return object;
}

static PyObject *
shared_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"nbytes", NULL};
    const struct isles_state *state = isles__state_of_subclass(type);
    Py_ssize_t size;
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "n:SharedBuffer", names, &size)) {
        return NULL;
    }
    if (size < 0) {
        return PyErr_Format(PyExc_ValueError, "nbytes must not be negative, this is %zd", size);
    }
    return shared_from_block(state, isles_block_new((size_t)size));
}

/* What an unpickler gives: a view of the same memory, or bytes. */
static PyObject *
shared_from(PyObject *type, PyObject *source)
{
    const struct isles_state *state = isles__state_of_subclass((PyTypeObject *)type);
    Py_buffer buffer;
    if (state == NULL || PyObject_GetBuffer(source, &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *base = PyMemoryView_Check(source) ? PyMemoryView_GET_BASE(source) : source;
    struct isles_block *block = base ? isles__view_block(base) : NULL;
    if (block != NULL && block->owner == NULL && block->size == (size_t)buffer.len) {
        isles_shared_ref(&block->shared);
    } else {
        block = isles_block_new((size_t)buffer.len);
        if (block != NULL) {
            memcpy(block->start, buffer.buf, (size_t)buffer.len);
        }
    }
    PyBuffer_Release(&buffer);
    return shared_from_block(state, block);
}

static PyObject *
shared_reduce(PyObject *self, PyObject *protocol)
{
    long number = PyLong_AsLong(protocol);
    PyObject *make = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "_from");
    if (make == NULL || (number == -1 && PyErr_Occurred())) {
        Py_XDECREF(make);
        return NULL;
    }
    PyObject *content = number >= 5 ? PyPickleBuffer_FromObject(self) : PyBytes_FromObject(self);
    return Py_BuildValue("N(N)", make, content);
}

static Py_ssize_t
shared_length(PyObject *self)
{
    return ((struct isles_view *)self)->size;
}

static PyObject *
shared_repr(PyObject *self)
{
    return PyUnicode_FromFormat("SharedBuffer(%zd)", ((struct isles_view *)self)->size);
}

static PyObject *
shared_nbytes(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((struct isles_view *)self)->size);
}

PyDoc_STRVAR(
    shared_doc,
    "SharedBuffer(nbytes)\n--\n\n"
    "Memory that belongs to no interpreter: nbytes bytes, zero at first.\n\n"
    "It exports a writable buffer (memoryview(b), numpy.frombuffer(b)), never changes its\n"
    "size, and travels through calls, results and queues without being copied: what\n"
    "arrives is a SharedBuffer over the same memory.  It is freed when the last one and\n"
    "the last view of it are gone, in whichever interpreter.  Nothing keeps two threads\n"
    "from writing at once: use a queue to say whose turn it is.\n\n"
    "Raises ValueError for a negative size, MemoryError.  From any thread.");

static PyMethodDef shared_methods[] = {
    {"_from", shared_from, METH_O | METH_CLASS, NULL},
    {"__reduce_ex__", shared_reduce, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef shared_getset[] = {
    {"nbytes", shared_nbytes, NULL, "The size in bytes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot shared_slots[] = {
    {Py_tp_doc, (void *)shared_doc},
    {Py_tp_new, shared_new},
    {Py_tp_dealloc, isles__view_dealloc},
    {Py_tp_traverse, isles__view_traverse},
    {Py_tp_repr, shared_repr},
    {Py_tp_methods, shared_methods},
    {Py_tp_getset, shared_getset},
    {Py_sq_length, shared_length},
    {Py_bf_getbuffer, isles__view_getbuffer},
    {0, NULL},
};

static PyType_Spec shared_spec = {
    .name = "isles.SharedBuffer",
    .basicsize = sizeof(struct isles_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = shared_slots,
};

int
isles__shared_init(PyObject *module, struct isles_state *state)
{
    state->shared_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &shared_spec, NULL);
    return state->shared_type == NULL ? -1 : PyModule_AddType(module, state->shared_type);
}
