#include "encode_parts.h"
#include "interrupts.h"

#define HOOKS "isles encoder"

/* The encoder that a pickler's hook belongs to; NULL if it is over, and the pickler outlived it. */
static struct isles_encoder *
hooked(PyObject *capsule)
{
    return PyCapsule_IsValid(capsule, HOOKS) ? PyCapsule_GetPointer(capsule, HOOKS) : NULL;
}

static bool
is_open(const struct isles_encoder *e, const PyObject *object)
{
    const struct isles_step *step = e->pickling;
    while (step != NULL && step->in != object) {
        step = step->up;
    }
    return step != NULL;
}

/* persistent_id: what the message holds outside of pickles goes by its index.  What a pickle meets
 * first is the pickler's from then on. */
static PyObject *
persistent_id(PyObject *capsule, PyObject *object)
{
    struct isles_encoder *e = hooked(capsule);
    bool is_root = e != NULL && object == e->root;
    if (e == NULL || is_root || !(isles__has_identity(object) || isles__is_array(object))) {
        Py_RETURN_NONE;
    }
    bool immutable =
        PyTuple_CheckExact(object) || PyFrozenSet_CheckExact(object) || PySlice_Check(object);
    if (immutable && is_open(e, object)) {
        /* An immutable container inside of itself, by way of this pickle: it can't exist yet where
         * the pickle is loaded.  Pickle alone gets this right. */
        e->retry = ISLES_RETRY_WHOLE;
        PyErr_SetNone(PyExc_TypeError);
        return NULL;
    }
    struct isles_memo_entry *entry = isles__memo_find(&e->memo, object);
    if (entry == NULL) {
        return NULL;
    }
    if (entry->object == NULL) {
        isles__memo_enter(&e->memo, entry, object, ISLES_MEMO_PICKLED);
    }
    if (entry->index == ISLES_MEMO_PICKLED) {
        Py_RETURN_NONE;
    }
    return PyLong_FromSize_t(entry->index);
}

/* buffer_callback: in the order in which unpickling asks for them. */
static PyObject *
lend_buffer(PyObject *capsule, PyObject *buffer)
{
    struct isles_encoder *e = hooked(capsule);
    struct isles_export export;
    struct isles_span span;
    if (e == NULL) {
        Py_RETURN_TRUE; /* inside of the pickle */
    }
    if (isles__export(e->local, buffer, &export) < 0) {
        return NULL;
    }
    int result = isles__put_span(e, &export, &span);
    if (result == 0 && isles_buffer_append(&e->spans, &span, sizeof(span)) < 0) {
        result = isles__no_memory();
    }
    isles__export_fini(&export);
    return result < 0 ? NULL : Py_NewRef(Py_False);
}

static PyMethodDef persistent_id_def = {"persistent_id", persistent_id, METH_O, NULL};
static PyMethodDef lend_buffer_def = {"lend", lend_buffer, METH_O, NULL};

/* A pickler for all that this message needs one for. */
static int
open_pickler(struct isles_encoder *e, const struct isles_step *step)
{
    /* A lone root shares nothing with the rest of the message. */
    bool alone = e->whole || (step->up == NULL && !e->several);
    PyObject *helper = isles__import("isles._pickling");
    PyObject *lend = NULL, *id = NULL, *pair = NULL;
    e->hooks = helper ? PyCapsule_New(e, HOOKS, NULL) : NULL;
    if (e->hooks != NULL) {
        lend = PyCFunction_New(&lend_buffer_def, e->hooks);
        id = alone ? Py_NewRef(Py_None) : PyCFunction_New(&persistent_id_def, e->hooks);
    }
    if (lend != NULL && id != NULL) {
        pair = PyObject_CallMethod(helper, "writer", "OOO", lend, id,
                                   e->by_value ? Py_True : Py_False);
    }
    if (pair != NULL) {
        e->dump = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        e->written = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
    }
    Py_XDECREF(helper);
    Py_XDECREF(lend);
    Py_XDECREF(id);
    Py_XDECREF(pair);
    return e->dump ? 0 : -1;
}

bool
isles__is_pickling_failure(void)
{
    return PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError);
}

/* After a pickler raised. */
static int
pickling_failed(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    if (!isles__is_pickling_failure()) {
        e->retry = ISLES_RETRY_NOT;
        return -1;
    }
    if (e->retry == ISLES_RETRY_NOT && !e->by_value) {
        e->retry = ISLES_RETRY_BY_VALUE;
    }
    if (e->retry != ISLES_RETRY_NOT) {
        PyErr_Clear();
        return -1;
    }
    return isles__refuse(e, object, step);
}

static int
need_pickler(struct isles_encoder *e, const struct isles_step *step)
{
    bool ready = e->dump != NULL;
    return ready || (isles__become_careful(e) == 0 && open_pickler(e, step) == 0) ? 0 : -1;
}

int
isles__put_pickle_as(struct isles_encoder *e, PyObject *object, const struct isles_step *step,
                     unsigned tag, PyObject *alone)
{
    if (need_pickler(e, step) < 0) {
        return -1;
    }
    const struct isles_step *before = e->pickling;
    uint32_t first = (uint32_t)(e->spans.size / sizeof(struct isles_span));
    e->pickling = step;
    e->root = alone == Py_True ? object : NULL;
    Py_INCREF(object);
    PyObject *offset = PyObject_CallFunctionObjArgs(e->dump, object, alone, NULL);
    int result = offset ? 0 : pickling_failed(e, object, step);
    Py_DECREF(object);
    e->pickling = before;
    if (result == 0) {
        result = isles__put_size(e, tag, PyLong_AsSize_t(offset));
    }
    if (result == 0 && isles_buffer_append(e->bytes, &first, sizeof(first)) < 0) {
        result = isles__no_memory();
    }
    Py_XDECREF(offset);
    return result;
}

int
isles__put_pickle(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    return isles__put_pickle_as(e, object, step, ISLES_TAG_PICKLE, Py_False);
}

/* ---- the end of the message ---- */

/* Whether a pickle may refer to something of __main__, which the other interpreter's __main__
 * doesn't have.  A string that only looks so costs a second pickling, no more. */
static bool
names_main(const char *at, size_t size)
{
    static const char needle[] = "__main__";
    const char *end = at + size;
    size_t length = sizeof(needle) - 1;
    while ((size_t)(end - at) >= length && (at = memchr(at, '_', (size_t)(end - at))) != NULL) {
        if ((size_t)(end - at) >= length && memcmp(at, needle, length) == 0) {
            return true;
        }
        at++;
    }
    return false;
}

static int
append_pickles(struct isles_encoder *e, const Py_buffer *pickles)
{
    if (!e->by_value && names_main(pickles->buf, (size_t)pickles->len)) {
        e->retry = ISLES_RETRY_BY_VALUE;
        return -1;
    }
    uint64_t count = e->spans.size / sizeof(struct isles_span);
    e->message->stream_at = e->bytes->size;
    if (isles_buffer_append(e->bytes, &count, sizeof(count)) < 0
        || isles_buffer_append(e->bytes, e->spans.data, e->spans.size) < 0
        || isles_buffer_append(e->bytes, pickles->buf, (size_t)pickles->len) < 0) {
        return isles__no_memory();
    }
    return 0;
}

int
isles__put_pickles(struct isles_encoder *e)
{
    PyObject *object = PyObject_CallNoArgs(e->written);
    Py_buffer pickles;
    int result = object ? PyObject_GetBuffer(object, &pickles, PyBUF_SIMPLE) : -1;
    if (result == 0) {
        result = append_pickles(e, &pickles);
        PyBuffer_Release(&pickles);
    }
    Py_XDECREF(object);
    return result;
}

void
isles__pickler_close(struct isles_encoder *e)
{
    (void)PyCapsule_SetName(e->hooks, NULL);
    Py_CLEAR(e->hooks);
    Py_CLEAR(e->dump);
    Py_CLEAR(e->written);
    isles_buffer_fini(&e->spans);
}
