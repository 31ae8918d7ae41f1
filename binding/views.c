#include "../core/status.h"
#include "errors.h"
#include "lending.h"
#include "views_parts.h"

/* ---- the buffer protocol ---- */

int
isles__view_getbuffer(PyObject *object, Py_buffer *buffer, int flags)
{
    struct isles_view *self = (struct isles_view *)object;
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

int
isles__view_traverse(PyObject *object, visitproc visit, void *arg)
{
    /* No clear: memoryviews may still read.  The object that a ring goes through has one. */
    Py_VISIT(((struct isles_view *)object)->home.obj);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

void
isles__view_dealloc(PyObject *object)
{
    struct isles_view *self = (struct isles_view *)object;
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
come_home(struct isles_view *self, const struct isles_block *block, PyObject *owned)
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

struct isles_view *
isles__view_make(PyTypeObject *type, struct isles_block *block, const struct isles_interp *here,
                 const struct isles_layout *layout)
{
    Py_ssize_t size = measure(block, layout);
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, isles_status_text(ISLES_MALFORMED));
        return NULL;
    }
    struct isles_view *self = (struct isles_view *)type->tp_alloc(type, 0);
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
    struct isles_view *view = isles__view_make(state->view_type, block, state->here, layout);
    PyObject *memory = view ? PyMemoryView_FromObject((PyObject *)view) : NULL;
    Py_XDECREF(view);
    return memory;
}

bool
isles__is_view(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == isles__view_dealloc;
}

struct isles_block *
isles__view_block(PyObject *object)
{
    return isles__is_view(object) ? ((struct isles_view *)object)->block : NULL;
}

PyObject *
isles__view_home(PyObject *object)
{
    return isles__is_view(object) ? ((struct isles_view *)object)->home.obj : NULL;
}

/* ---- the type ---- */

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "Memory of another interpreter's object, or of a block."},
    {Py_tp_dealloc, isles__view_dealloc},
    {Py_tp_traverse, isles__view_traverse},
    {Py_bf_getbuffer, isles__view_getbuffer},
    {0, NULL},
};

static PyType_Spec view_spec = {
    .name = "isles._interpreters.View",
    .basicsize = sizeof(struct isles_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots,
};

int
isles__views_init(PyObject *module, struct isles_state *state)
{
    state->view_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &view_spec, NULL);
    return state->view_type == NULL ? -1 : isles__shared_init(module, state);
}
