#include "views.h"

#include "../core/status.h"
#include "errors.h"
#include "lending.h"

typedef struct {
    PyObject_HEAD struct isles_block *block; /* a reference; NULL if the memory came home */
    Py_buffer home;                          /* then this keeps it; otherwise obj is NULL */
    unsigned char *start;
    Py_ssize_t size; /* bytes of all elements */
    struct isles_layout layout;
} View;

/* ---- the buffer protocol ---- */

static int
view_getbuffer(PyObject *object, Py_buffer *buffer, int flags)
{
    View *self = (View *)object;
    struct isles_layout *layout = &self->layout;
    *buffer = (Py_buffer){
        .buf = self->start,
        .len = self->size,
        .itemsize = (Py_ssize_t)layout->itemsize,
        .readonly = layout->readonly,
        .ndim = layout->ndim,
        .format = (char *)layout->format,
        .shape = (Py_ssize_t *)layout->shape,
        .strides = (Py_ssize_t *)layout->strides,
    };
    bool strided = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
    const char *missing = NULL;
    if ((flags & PyBUF_WRITABLE) && layout->readonly) {
        missing = "writable";
    } else if (((flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS || !strided)
               && !PyBuffer_IsContiguous(buffer, 'C')) {
        missing = "C-contiguous";
    } else if ((flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS
               && !PyBuffer_IsContiguous(buffer, 'F')) {
        missing = "Fortran contiguous";
    } else if ((flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS
               && !PyBuffer_IsContiguous(buffer, 'A')) {
        missing = "contiguous";
    }
    if (missing != NULL) {
        buffer->obj = NULL;
        PyErr_Format(PyExc_BufferError, "the memory is not %s", missing);
        return -1;
    }
    if (!(flags & PyBUF_FORMAT)) {
        buffer->format = NULL;
    }
    if (!(flags & PyBUF_ND)) {
        buffer->shape = NULL;
        buffer->ndim = 1;
    }
    if (!strided) {
        buffer->strides = NULL;
    }
    buffer->obj = Py_NewRef(object);
    return 0;
}

static int
view_traverse(PyObject *object, visitproc visit, void *arg)
{
    /* No clear: memoryviews may still read.  The object that a ring goes through has one. */
    Py_VISIT(((View *)object)->home.obj);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static void
view_dealloc(PyObject *object)
{
    View *self = (View *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    PyBuffer_Release(&self->home);
    if (self->block != NULL) {
        isles_shared_unref(&self->block->shared);
    }
    PyMem_Free((void *)self->layout.shape); /* with strides and format */
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- making one ---- */

/* The bytes that the elements take, if they lie inside of the block; -1. */
static Py_ssize_t
measure(const struct isles_block *block, const struct isles_layout *layout)
{
    uint64_t size = layout->itemsize, low = layout->offset, high = layout->offset;
    bool empty = false, over = size == 0 || size > PY_SSIZE_T_MAX;
    for (int i = 0; i < layout->ndim; i++) {
        over |= layout->shape[i] < 0;
        empty |= layout->shape[i] == 0;
    }
    for (int i = 0; i < layout->ndim && !empty && !over; i++) {
        Py_ssize_t stride = layout->strides[i];
        uint64_t last = (uint64_t)layout->shape[i] - 1, reach;
        uint64_t length = stride < 0 ? -(uint64_t)stride : (uint64_t)stride;
        over |= __builtin_mul_overflow(size, (uint64_t)layout->shape[i], &size);
        over |= __builtin_mul_overflow(last, length, &reach);
        over |= stride < 0 ? __builtin_sub_overflow(low, reach, &low)
                           : __builtin_add_overflow(high, reach, &high);
    }
    if (over || size > PY_SSIZE_T_MAX) {
        return -1;
    }
    if (empty) {
        return layout->offset <= block->size ? 0 : -1;
    }
    bool inside = low <= high && isles_block_holds(block, low, high - low)
                  && isles_block_holds(block, high, layout->itemsize);
    return inside ? (Py_ssize_t)size : -1;
}

/* At home the view keeps the object itself, not what was lent: or an interpreter could never end
 * that holds memory of its own.  0; -1 if the object gives other memory by now. */
static int
come_home(View *self, const struct isles_block *block, PyObject *owned)
{
    if (PyObject_GetBuffer(owned, &self->home, PyBUF_FULL_RO) < 0) {
        PyErr_Clear();
        return -1;
    }
    unsigned char *low, *high;
    isles__extent(&self->home, &low, &high);
    if (low != block->start || high != block->start + block->size) {
        PyBuffer_Release(&self->home);
        return -1;
    }
    return 0;
}

/* Copies what the layout points at into one piece of memory.  0 or -1 with MemoryError. */
static int
keep_layout(struct isles_layout *to, const struct isles_layout *from)
{
    size_t dims = (size_t)from->ndim, length = strlen(from->format) + 1;
    Py_ssize_t *room = PyMem_Malloc(2 * dims * sizeof(*room) + length);
    if (room == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *to = *from;
    to->shape = memcpy(room, from->shape, dims * sizeof(*room));
    to->strides = memcpy(room + dims, from->strides, dims * sizeof(*room));
    to->format = memcpy(room + 2 * dims, from->format, length);
    return 0;
}

static View *
new_view(PyTypeObject *type, struct isles_block *block, const struct isles_interp *here,
         const struct isles_layout *layout)
{
    Py_ssize_t size = measure(block, layout);
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, isles_status_text(ISLES_MALFORMED));
        return NULL;
    }
    View *self = (View *)type->tp_alloc(type, 0);
    if (self == NULL || keep_layout(&self->layout, layout) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    self->start = block->start + layout->offset;
    self->size = size;
    self->layout.readonly |= block->readonly;
    PyObject *owned = isles__lent_object(block, here);
    if (owned == NULL || come_home(self, block, owned) < 0) {
        self->block = block;
        isles_shared_ref(&block->shared);
    }
    return self;
}

PyObject *
isles__view_new(const struct isles_state *state, struct isles_block *block,
                const struct isles_layout *layout)
{
    View *view = new_view(state->view_type, block, state->here, layout);
    PyObject *memory = view ? PyMemoryView_FromObject((PyObject *)view) : NULL;
    Py_XDECREF(view);
    return memory;
}

PyObject *
isles__shared_new(const struct isles_state *state, struct isles_block *block)
{
    Py_ssize_t size = (Py_ssize_t)block->size, stride = 1;
    struct isles_layout layout = {
        .itemsize = 1, .ndim = 1, .format = "B", .shape = &size, .strides = &stride};
    return (PyObject *)new_view(state->shared_type, block, state->here, &layout);
}

bool
isles__is_view(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == view_dealloc;
}

struct isles_block *
isles__view_block(PyObject *object)
{
    return isles__is_view(object) ? ((View *)object)->block : NULL;
}

PyObject *
isles__view_home(PyObject *object)
{
    return isles__is_view(object) ? ((View *)object)->home.obj : NULL;
}

/* ---- View ---- */

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "Memory of another interpreter's object, or of a block."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_traverse, view_traverse},
    {Py_bf_getbuffer, view_getbuffer},
    {0, NULL},
};

static PyType_Spec view_spec = {
    .name = "isles._interpreters.View",
    .basicsize = sizeof(View),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots,
};

/* ---- SharedBuffer ---- */

static struct isles_state *
state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &isles__module_def); /* borrowed */
    return module ? isles__state_of_module(module) : NULL;
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
    const struct isles_state *state = state_of_type(type);
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
    const struct isles_state *state = state_of_type((PyTypeObject *)type);
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
    return ((View *)self)->size;
}

static PyObject *
shared_repr(PyObject *self)
{
    return PyUnicode_FromFormat("SharedBuffer(%zd)", ((View *)self)->size);
}

static PyObject *
shared_nbytes(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((View *)self)->size);
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
    {Py_tp_doc, (void *)shared_doc},   {Py_tp_new, shared_new},
    {Py_tp_dealloc, view_dealloc},     {Py_tp_traverse, view_traverse},
    {Py_tp_repr, shared_repr},         {Py_tp_methods, shared_methods},
    {Py_tp_getset, shared_getset},     {Py_sq_length, shared_length},
    {Py_bf_getbuffer, view_getbuffer}, {0, NULL},
};

static PyType_Spec shared_spec = {
    .name = "isles.SharedBuffer",
    .basicsize = sizeof(View),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = shared_slots,
};

int
isles__views_init(PyObject *module, struct isles_state *state)
{
    state->view_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &view_spec, NULL);
    state->shared_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &shared_spec, NULL);
    if (state->view_type == NULL || state->shared_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->shared_type);
}
