#include "lending.h"

#include <stdlib.h>

#include "gate.h"
#include "views.h"

struct lease {
    struct isles_block block;
    Py_buffer buffer; /* the owner's */
};

/* ---- giving back ---- */

/* In the owner.  May run Python code, at any place. */
static void
settle(struct lease *lease)
{
    PyObject *error = PyErr_GetRaisedException();
    PyBuffer_Release(&lease->buffer);
    PyErr_SetRaisedException(error);
    isles_block_settled(&lease->block);
    free(lease);
}

static void
lease_gone(struct isles_shared *shared)
{
    struct lease *lease = (struct lease *)shared;
    struct isles_interp *owner = lease->block.owner;
    if (PyThreadState_GetInterpreter(PyThreadState_Get()) == owner->state) {
        settle(lease);
        return;
    }
    isles_interp_ref(owner); /* settling drops the lease's */
    if (isles_block_return(&lease->block)) {
        isles__gate_settle(owner);
    }
    isles_interp_unref(owner);
}

void
isles__lending_settle(struct isles_interp *here)
{
    struct isles_block *block = isles_blocks_returned(here);
    while (block != NULL) {
        struct isles_block *next = block->next;
        settle((struct lease *)block);
        block = next;
    }
}

PyObject *
isles__lent_object(const struct isles_block *block, const struct isles_interp *here)
{
    return block->owner == here ? ((const struct lease *)block)->buffer.obj : NULL;
}

/* ---- exporting ---- */

void
isles__extent(const Py_buffer *view, unsigned char **low, unsigned char **high)
{
    *low = view->buf;
    if (view->ndim > 0 && view->strides == NULL) {
        *high = *low + view->len;
        return;
    }
    *high = *low + (view->len > 0 ? view->itemsize : 0);
    for (int i = 0; i < view->ndim && view->len > 0; i++) {
        Py_ssize_t reach = (view->shape[i] - 1) * view->strides[i];
        *(reach < 0 ? low : high) += reach;
    }
}

/* Whether the block's memory is the buffer's. */
static bool
holds(const struct isles_block *block, const Py_buffer *view)
{
    unsigned char *low, *high;
    isles__extent(view, &low, &high);
    return low >= block->start && high <= block->start + block->size
           && (block->readonly ? view->readonly : true);
}

/* What `object` names as the one that its memory belongs to, a new reference; NULL without one. */
static PyObject *
base_of(PyObject *object)
{
    PyObject *base = NULL;
    if (isles__is_view(object) || PyBytes_CheckExact(object)) {
        return NULL;
    }
    const char *name = PyMemoryView_Check(object) ? "obj" : "base"; /* as arrays call it */
    if (PyObject_GetOptionalAttrString(object, name, &base) < 0) {
        PyErr_Clear(); /* a released memoryview, or anybody's code */
    }
    if (base != NULL && !PyObject_CheckBuffer(base)) {
        Py_CLEAR(base);
    }
    return base;
}

#define BASES_MAX 100 /* they may lead in a ring */

/* What an object's memory came from, a new reference.  The object itself if it is nobody else's. */
static PyObject *
source_of(PyObject *object)
{
    Py_INCREF(object);
    for (int i = 0; i < BASES_MAX; i++) {
        PyObject *base = base_of(object);
        if (base == NULL) {
            break;
        }
        Py_SETREF(object, base);
    }
    return object;
}

/* A block that already holds the memory, a new reference; or NULL. */
static struct isles_block *
known_block(PyObject *source, const Py_buffer *view)
{
    struct isles_block *block = isles__view_block(source);
    if (block == NULL || !holds(block, view)) {
        return NULL;
    }
    isles_shared_ref(&block->shared);
    return block;
}

static struct isles_block *
copy(const Py_buffer *view)
{
    struct isles_block *block = isles_block_new((size_t)view->len);
    if (block == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (PyBuffer_ToContiguous(block->start, view, view->len, 'A') < 0) {
        isles_shared_unref(&block->shared);
        return NULL;
    }
    block->readonly = view->readonly;
    return block;
}

/* Lends the memory of `source`, which holds that of `view`. */
static struct isles_block *
lend(struct isles_interp *here, PyObject *source, const Py_buffer *view)
{
    struct lease *lease = malloc(sizeof(*lease));
    if (lease == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (PyObject_GetBuffer(source, &lease->buffer, PyBUF_FULL_RO) < 0) {
        free(lease);
        return NULL;
    }
    unsigned char *high;
    isles__extent(&lease->buffer, &lease->block.start, &high);
    lease->block.size = (size_t)(high - lease->block.start);
    lease->block.readonly = lease->buffer.readonly;
    if (!holds(&lease->block, view)) {
        PyBuffer_Release(&lease->buffer);
        free(lease);
        return NULL;
    }
    isles_block_lend(&lease->block, here, lease_gone);
    return &lease->block;
}

/* Whether what an interpreter lends is sure to come back before it ends. */
static bool
may_lend(const struct isles_interp *here)
{
    return here->id == 0 || (here->ours && !here->over);
}

static struct isles_block *
block_of(struct isles_interp *here, PyObject *object, const Py_buffer *view, bool *copied)
{
    PyObject *source = source_of(view->obj ? view->obj : object);
    struct isles_block *block = known_block(source, view);
    *copied = block == NULL && !may_lend(here);
    if (*copied) {
        block = copy(view);
    } else if (block == NULL) {
        /* What came home is its owner's again, and a chain of such journeys stays short. */
        PyObject *home = isles__view_home(source);
        block = lend(here, home ? home : object, view);
        if (block == NULL && home != NULL) {
            PyErr_Clear();
            block = lend(here, object, view);
        }
    }
    Py_DECREF(source);
    if (block == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_BufferError, "it exports other memory each time");
    }
    return block;
}

/* Whether a format of the struct module's says that elements are, or hold, Python objects.  Names
 * of fields stand between colons. */
static bool
has_objects(const char *format)
{
    bool name = false;
    for (; *format != 0; format++) {
        name ^= *format == ':';
        if (*format == 'O' && !name) {
            return true;
        }
    }
    return false;
}

bool
isles__exportable(const Py_buffer *view)
{
    if (view->suboffsets != NULL) {
        PyErr_SetString(PyExc_BufferError, "its memory is in several pieces (suboffsets)");
        return false;
    }
    if (view->format != NULL && has_objects(view->format)) {
        PyErr_SetString(PyExc_BufferError, "its elements are Python objects");
        return false;
    }
    if (view->itemsize <= 0) {
        PyErr_SetString(PyExc_BufferError, "its elements have no size");
        return false;
    }
    return true;
}

int
isles__export(struct isles_local *local, PyObject *object, struct isles_export *export)
{
    if (PyObject_GetBuffer(object, &export->view, PyBUF_FULL_RO) < 0) {
        return -1;
    }
    export->block = NULL;
    if (isles__exportable(&export->view)) {
        export->block = block_of(local->interp, object, &export->view, &export->copied);
    }
    if (export->block == NULL) {
        PyBuffer_Release(&export->view);
        return -1;
    }
    export->offset = 0;
    if (!export->copied) {
        export->offset = (uint64_t)((unsigned char *)export->view.buf - export->block->start);
    }
    return 0;
}

void
isles__export_fini(struct isles_export *export)
{
    PyBuffer_Release(&export->view);
    if (export->block != NULL) {
        isles_shared_unref(&export->block->shared);
    }
}
