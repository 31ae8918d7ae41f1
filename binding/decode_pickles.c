#include "decode_parts.h"

#include "interrupts.h"
#include "views.h"

#define HOOKS "isles decoder"

static PyObject *
persistent_load(PyObject *capsule, PyObject *id)
{
    size_t index = PyLong_AsSize_t(id);
    if (!PyCapsule_IsValid(capsule, HOOKS) || (index == (size_t)-1 && PyErr_Occurred())) {
        return PyErr_Occurred() ? NULL : isles__malformed();
    }
    return isles__get_defined(PyCapsule_GetPointer(capsule, HOOKS), index);
}

static PyMethodDef persistent_load_def = {"persistent_load", persistent_load, METH_O, NULL};

/* A view of each buffer, in the order in which they are asked for. */
static PyObject *
get_buffers(struct isles_decoder *d, struct isles_reader *reader)
{
    uint64_t count;
    if (isles_reader_copy(reader, &count, sizeof(count)) < 0
        || count > (uint64_t)(reader->end - reader->at) / sizeof(struct isles_span)) {
        return isles__malformed();
    }
    PyObject *buffers = PyList_New(0);
    const struct isles_state *state = count > 0 ? isles__decoder_state(d) : NULL;
    bool failed = count > 0 && state == NULL;
    for (uint64_t i = 0; i < count && buffers != NULL && !failed; i++) {
        struct isles_span span = {0};
        (void)isles_reader_copy(reader, &span, sizeof(span));
        struct isles_block *block = isles__get_block(d, &span);
        Py_ssize_t size = (Py_ssize_t)span.size, stride = 1;
        struct isles_layout layout = {.offset = span.offset,
                                      .itemsize = 1,
                                      .readonly = span.readonly != 0,
                                      .ndim = 1,
                                      .format = "B",
                                      .shape = &size,
                                      .strides = &stride};
        PyObject *view = block ? isles__view_new(state, block, &layout) : NULL;
        failed = view == NULL || PyList_Append(buffers, view) < 0;
        Py_XDECREF(view);
    }
    if (failed) {
        Py_CLEAR(buffers);
    }
    return buffers;
}

/* The buffers and the bytes of the pickles, both as new references. */
static int
get_stream(struct isles_decoder *d, PyObject **buffers, PyObject **stream)
{
    if (d->contents->stream_at == 0 || d->contents->stream_at > d->contents->size) {
        isles__malformed();
        return -1;
    }
    struct isles_reader reader = {d->contents->data + d->contents->stream_at,
                                  d->contents->data + d->contents->size};
    *buffers = get_buffers(d, &reader);
    if (*buffers != NULL) {
        *stream = PyMemoryView_FromMemory((char *)reader.at, reader.end - reader.at, PyBUF_READ);
    }
    return *stream ? 0 : -1;
}

static int
open_unpickler(struct isles_decoder *d)
{
    PyObject *buffers = NULL, *stream = NULL, *persistent = NULL;
    PyObject *helper = isles__import("isles._pickling");
    d->hooks = helper ? PyCapsule_New(d, HOOKS, NULL) : NULL;
    if (d->hooks != NULL && get_stream(d, &buffers, &stream) == 0) {
        persistent = PyCFunction_New(&persistent_load_def, d->hooks);
    }
    if (persistent != NULL) {
        d->load = PyObject_CallMethod(helper, "reader", "OOO", stream, buffers, persistent);
    }
    Py_XDECREF(helper);
    Py_XDECREF(buffers);
    Py_XDECREF(stream);
    Py_XDECREF(persistent);
    return d->load ? 0 : -1;
}

/* Where a pickle starts, and the first of its buffers.  0 or -1. */
static int
get_place(struct isles_decoder *d, uint64_t *offset, uint32_t *first)
{
    if (isles_wire_size(&d->reader, offset) < 0
        || isles_reader_copy(&d->reader, first, sizeof(*first)) < 0 || d->local == NULL) {
        isles__malformed();
        return -1;
    }
    return 0;
}

static PyObject *
load(struct isles_decoder *d, uint64_t offset, uint32_t first, PyObject *alone)
{
    if (d->load == NULL && open_unpickler(d) < 0) {
        return NULL;
    }
    return PyObject_CallFunction(d->load, "KIO", (unsigned long long)offset, (unsigned int)first,
                                 alone);
}

PyObject *
isles__get_pickle(struct isles_decoder *d)
{
    uint64_t offset;
    uint32_t first;
    return get_place(d, &offset, &first) < 0 ? NULL : load(d, offset, first, Py_False);
}

PyObject *
isles__get_array(struct isles_decoder *d)
{
    uint64_t offset;
    uint32_t first;
    if (get_place(d, &offset, &first) < 0) {
        return NULL;
    }
    const unsigned char *tag = isles_reader_take(&d->reader, 1);
    if (tag == NULL || (*tag != ISLES_TAG_VIEW && *tag != ISLES_TAG_NONE)) {
        return isles__malformed();
    }
    PyObject *view = *tag == ISLES_TAG_VIEW ? isles__get_view(d, d->as_views) : Py_NewRef(Py_None);
    if (view == NULL || view != Py_None) {
        return view;
    }
    Py_DECREF(view);
    PyObject *object = load(d, offset, first, Py_True);
    if (object == NULL && *tag == ISLES_TAG_VIEW) {
        d->no_module = PyErr_ExceptionMatches(PyExc_ImportError);
    }
    return object;
}

void
isles__unpickler_close(struct isles_decoder *d)
{
    (void)PyCapsule_SetName(d->hooks, NULL);
    Py_DECREF(d->hooks);
    Py_XDECREF(d->load);
}
