#include "encode_parts.h"

/* ---- what is lent ---- */

int
isles__put_span(struct isles_encoder *e, struct isles_export *export, struct isles_span *span)
{
    span->offset = export->offset;
    span->size = (uint64_t)export->view.len;
    span->readonly = (uint32_t)export->view.readonly;
    if (isles_message_attach(e->message, &export->block->shared, &span->attached) < 0) {
        return isles__no_memory();
    }
    isles_shared_ref(&export->block->shared);
    return 0;
}

static int
put_layout(struct isles_encoder *e, const Py_buffer *view, bool packed)
{
    const char *format = view->format ? view->format : "B";
    struct isles_wire_layout layout = {
        .itemsize = (uint64_t)view->itemsize,
        .ndim = (uint32_t)view->ndim,
        .format_size = (uint32_t)strlen(format) + 1,
    };
    Py_ssize_t strides[PyBUF_MAX_NDIM], stride = view->itemsize;
    for (int i = view->ndim - 1; i >= 0; i--) {
        strides[i] = packed || view->strides == NULL ? stride : view->strides[i];
        stride *= view->shape ? view->shape[i] : view->len;
    }
    size_t dims = layout.ndim * sizeof(Py_ssize_t);
    Py_ssize_t length = view->len / view->itemsize; /* of one dimension, if nothing says more */
    if (isles_buffer_append(e->bytes, &layout, sizeof(layout)) < 0
        || isles_buffer_append(e->bytes, view->shape ? view->shape : &length, dims) < 0
        || isles_buffer_append(e->bytes, strides, dims) < 0
        || isles_buffer_append(e->bytes, format, layout.format_size) < 0) {
        return isles__no_memory();
    }
    return 0;
}

/* Lends the memory of an object that exports it; the layout is for who is to see it as a view. */
static int
put_export(struct isles_encoder *e, PyObject *object, unsigned tag, bool with_layout)
{
    struct isles_export export;
    struct isles_span span;
    if (isles__export(e->local, object, &export) < 0) {
        return -1;
    }
    int result = isles__put_span(e, &export, &span);
    if (result == 0) {
        result = isles__put_fixed(e, tag, &span, sizeof(span));
    }
    if (result == 0 && with_layout) {
        bool packed = export.copied && !PyBuffer_IsContiguous(&export.view, 'A');
        result = put_layout(e, &export.view, packed);
    }
    isles__export_fini(&export);
    return result;
}

int
isles__put_lent_bytes(struct isles_encoder *e, PyObject *object, unsigned flag)
{
    return put_export(e, object, ISLES_TAG_LENT_BYTES | flag, false);
}

/* After the pickle of an exporter: what describes it without its class, if its memory went out of
 * band; or None. */
static int
put_description(struct isles_encoder *e, PyObject *object, size_t spans_before)
{
    struct isles_span span;
    Py_buffer view;
    if (e->spans.size != spans_before + sizeof(span)) {
        return isles__put_tag(e, ISLES_TAG_NONE);
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear(); /* a class may refuse what the struct module can't describe */
        return isles__put_tag(e, ISLES_TAG_NONE);
    }
    int result;
    memcpy(&span, e->spans.data + spans_before, sizeof(span));
    if ((uint64_t)view.len == span.size && view.itemsize > 0 && view.suboffsets == NULL) {
        result = isles__put_fixed(e, ISLES_TAG_VIEW, &span, sizeof(span));
        result = result == 0 ? put_layout(e, &view, false) : result;
    } else {
        result = isles__put_tag(e, ISLES_TAG_NONE);
    }
    PyBuffer_Release(&view);
    return result;
}

/* ---- exporters ---- */

bool
isles__is_array(PyObject *object)
{
    return PyObject_CheckBuffer(object) && !PyBytes_Check(object) && !PyByteArray_Check(object);
}

/* 1, 0, or -1 with an exception: whether a class has a __reduce_ex__ of its own, which may know
 * what to do with buffers. */
static int
pickles_itself(PyTypeObject *type)
{
    PyObject *own = PyObject_GetAttrString((PyObject *)type, "__reduce_ex__");
    PyObject *plain = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__reduce_ex__");
    int result = own && plain ? own != plain : -1;
    Py_XDECREF(own);
    Py_XDECREF(plain);
    return result;
}

static bool
is_describable(PyObject *object)
{
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear();
        return false;
    }
    bool result = view.ndim > 0 && isles__exportable(&view);
    PyBuffer_Release(&view);
    PyErr_Clear();
    return result;
}

/* Whether an exporter travels as a memoryview of its memory.  Not one that is a subclass of a
 * builtin value or that knows how to be pickled: those arrive as what they are. */
static int
travels_as_view(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (PyMemoryView_Check(object) || PyByteArray_CheckExact(object)
        || strcmp(type->tp_name, "array.array") == 0) {
        return 1;
    }
    if (!PyObject_CheckBuffer(object) || PyBytes_Check(object) || PyByteArray_Check(object)) {
        return 0;
    }
    int own = pickles_itself(type);
    return own < 0 ? -1 : !own && is_describable(object);
}

static int
put_as_view(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    unsigned flag;
    int met = isles__met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    int result = put_export(e, object, ISLES_TAG_VIEW | flag, true);
    return result < 0 && isles__is_pickling_failure() ? isles__refuse(e, object, step) : result;
}

/* An exporter that is pickled: as what it is, or as a view if its module can't be imported there.
 * For that no other pickle may depend on this one. */
static int
put_array(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    unsigned flag;
    int met = isles__met_before(e, object, step, false, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    size_t spans = e->spans.size;
    int result = isles__put_pickle_as(e, object, step, ISLES_TAG_ARRAY | flag, Py_True);
    if (result == 0) {
        result = put_description(e, object, spans);
    }
    return result == 0 ? isles__met_late(e, object, flag) : result;
}

int
isles__put_exporter(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    int view = travels_as_view(object);
    if (view == 0 && !isles__is_array(object)) {
        return 0;
    }
    int result = view < 0   ? -1
                 : view > 0 ? put_as_view(e, object, step)
                            : put_array(e, object, step);
    return result < 0 ? -1 : 1;
}
