#include "../core/status.h"
#include "../core/wire.h"
#include "codec.h"
#include "errors.h"
#include "gate.h"
#include "ids.h"
#include "interp.h"
#include "interrupts.h"
#include "lending.h"
#include "queues.h"
#include "views.h"

/* ---- the memo: what was met, by identity ---- */

/* Only what is held more than once can be met twice, so most values never come here. */

#define MEMO_ROOM 64         /* a power of two */
#define PICKLED ((size_t)-1) /* instead of an index: the pickler knows it */

struct memo_entry {
    PyObject *object; /* NULL: free */
    size_t index;
};

struct memo {
    struct memo_entry *entries; /* NULL: nothing was met */
    size_t size;
    size_t used;
    size_t defined; /* the next index */
    bool holds;     /* a reference to each, so that nothing else gets its address */
    struct memo_entry room[MEMO_ROOM];
};

static struct memo_entry *
memo_slot(const struct memo *memo, const PyObject *object)
{
    size_t at = (size_t)(((uint64_t)(uintptr_t)object >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    for (;; at++) {
        struct memo_entry *entry = &memo->entries[at & (memo->size - 1)];
        if (entry->object == object || entry->object == NULL) {
            return entry;
        }
    }
}

static int
memo_resize(struct memo *memo)
{
    struct memo old = *memo;
    if (old.entries == NULL) {
        memo->entries = memo->room;
        memo->size = MEMO_ROOM;
        memset(memo->room, 0, sizeof(memo->room));
        return 0;
    }
    memo->size = old.size * 4;
    memo->entries = PyMem_RawCalloc(memo->size, sizeof(*memo->entries));
    if (memo->entries == NULL) {
        *memo = old;
        PyErr_NoMemory();
        return -1;
    }
    struct memo_entry *from = old.entries == memo->room ? old.room : old.entries;
    for (size_t i = 0; i < old.size; i++) {
        if (from[i].object != NULL) {
            *memo_slot(memo, from[i].object) = from[i];
        }
    }
    if (from != old.room) {
        PyMem_RawFree(from);
    }
    return 0;
}

/* The entry of an object, or the free one where it belongs, with room for it; NULL with
 * MemoryError. */
static struct memo_entry *
memo_find(struct memo *memo, const PyObject *object)
{
    if (memo->used * 2 >= memo->size && memo_resize(memo) < 0) {
        return NULL;
    }
    return memo_slot(memo, object);
}

static void
memo_enter(struct memo *memo, struct memo_entry *entry, PyObject *object, size_t index)
{
    memo->used++;
    entry->object = memo->holds ? Py_NewRef(object) : object;
    entry->index = index;
}

static void
memo_clear(struct memo *memo)
{
    for (size_t i = 0; i < memo->size && memo->holds; i++) {
        Py_XDECREF(memo->entries[i].object);
    }
    if (memo->entries != memo->room) {
        PyMem_RawFree(memo->entries);
    }
    memo->entries = NULL;
    memo->size = memo->used = memo->defined = 0;
}

/* ---- the encoder ---- */

/* The way to a value, from the inside out. */
struct step {
    const struct step *up; /* NULL at a root */
    PyObject *in;          /* the container; at a root NULL or a keyword */
    PyObject *key;         /* of a dict's value; NULL for a key or a set's item */
    Py_ssize_t index;      /* in a list or tuple; at a root -1 or an argument's */
};

enum retry {
    NO_RETRY,
    CAREFUL,  /* as struct encoder says */
    BY_VALUE, /* with cloudpickle */
    WHOLE,    /* every root as a pickle */
};

/* The keys of a dict, in order. */
struct shape {
    Py_ssize_t size;                  /* 0: none */
    int number;                       /* -1: met once */
    PyObject *keys[ISLES_SHAPE_KEYS]; /* borrowed */
};

#define SHAPES 8      /* remembered at a time; a power of two */
#define SHAPE_LEAST 3 /* keys; below that a number saves nothing */

/* It begins as if no code of others could run meanwhile: nothing is held, and nothing changes.  If
 * then a value needs that code (a pickle, an exporter), it starts again and is careful: it holds
 * what it writes, expects containers to change, and gives an index to all that the code may hand
 * out once more. */
struct encoder {
    const struct isles_state *state; /* may be NULL */
    struct isles_local *local;
    struct isles_message *message;
    struct isles_buffer *bytes; /* the message's */
    const char *name;           /* of a root that is no argument */
    bool several;               /* roots, which may be the same though held once */
    bool careful, by_value, whole;
    bool careless;    /* so far, so that it can't become careful now */
    int depth;        /* of containers */
    bool too_deep;    /* why it failed */
    enum retry retry; /* why it failed, if there is no exception */
    struct memo memo;
    PyObject *hooks; /* a capsule of this encoder, while it lives */
    PyObject *dump;  /* the pickler's, NULL without one */
    PyObject *written;
    const struct step *pickling; /* the way to what is being pickled */
    const PyObject *root;        /* that, if it is an exporter */
    struct isles_buffer spans;   /* buffers of the pickles */
    int shapes_defined;          /* the next number; -1: none was met, `shapes` is not set up */
    struct shape shapes[SHAPES];
};

static int put(struct encoder *e, PyObject *object, const struct step *step);

/* Inlined into put(), these would make every number save the registers that they need. */
#define RARE __attribute__((noinline))

static int
no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

static int
put_tag(struct encoder *e, unsigned tag)
{
    return isles_wire_tag(e->bytes, tag, 0) ? 0 : no_memory();
}

static int
put_fixed(struct encoder *e, unsigned tag, const void *bytes, size_t count)
{
    unsigned char *at = isles_wire_tag(e->bytes, tag, count);
    if (at == NULL) {
        return no_memory();
    }
    memcpy(at, bytes, count);
    return 0;
}

static int
put_size(struct encoder *e, unsigned tag, size_t size)
{
    return isles_wire_sized(e->bytes, tag, size, 0) ? 0 : no_memory();
}

/* Most strings are so short that calling memcpy takes longer than the copying. */
static void
copy(unsigned char *to, const unsigned char *from, size_t count)
{
    if (count > 16) {
        memcpy(to, from, count);
    } else if (count >= 8) {
        memcpy(to, from, 8);
        memcpy(to + count - 8, from + count - 8, 8);
    } else if (count >= 4) {
        memcpy(to, from, 4);
        memcpy(to + count - 4, from + count - 4, 4);
    } else {
        for (size_t i = 0; i < count; i++) {
            to[i] = from[i];
        }
    }
}

static int
put_sized(struct encoder *e, unsigned tag, size_t size, const void *bytes, size_t count)
{
    unsigned char *at = isles_wire_sized(e->bytes, tag, size, count);
    if (at == NULL) {
        return no_memory();
    }
    copy(at, bytes, count);
    return 0;
}

/* ---- where it failed ---- */

static PyObject *
step_text(const struct encoder *e, const struct step *step)
{
    if (step->up == NULL) {
        return step->in           ? PyUnicode_FromFormat("kwargs[%R]", step->in)
               : step->index >= 0 ? PyUnicode_FromFormat("args[%zd]", step->index)
                                  : PyUnicode_FromString(e->name);
    }
    if (PyDict_CheckExact(step->in) && step->key == NULL) {
        return PyUnicode_FromString(".keys()");
    }
    if (step->key != NULL) {
        /* The repr of anything else is somebody's code. */
        bool plain = PyUnicode_CheckExact(step->key) || PyLong_CheckExact(step->key);
        return plain ? PyUnicode_FromFormat("[%R]", step->key)
                     : PyUnicode_FromFormat("[%T object]", step->key);
    }
    return step->index >= 0 ? PyUnicode_FromFormat("[%zd]", step->index)
                            : PyUnicode_FromString("{...}");
}

#define STEPS_SHOWN 20

/* "args[0]['rows'][3]", the innermost steps and the root of a very long way; NULL with an
 * exception. */
static PyObject *
way_to(const struct encoder *e, const struct step *step)
{
    PyObject *text = PyUnicode_FromString("");
    for (int shown = 0; step != NULL && text != NULL; step = step->up, shown++) {
        if (shown >= STEPS_SHOWN && step->up != NULL) {
            continue;
        }
        PyObject *piece = step_text(e, step);
        const char *gap = shown > STEPS_SHOWN ? "..." : "";
        PyObject *longer = piece ? PyUnicode_FromFormat("%U%s%U", piece, gap, text) : NULL;
        Py_XDECREF(piece);
        Py_SETREF(text, longer);
    }
    return text;
}

static int
refuse(const struct encoder *e, PyObject *object, const struct step *step)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *where = way_to(e, step);
    if (where != NULL) {
        PyErr_SetRaisedException(error);
        isles__raise_not_shareable(e->state, object, where);
        Py_DECREF(where);
    } else {
        Py_XDECREF(error);
    }
    return -1;
}

static int
changed(const struct encoder *e, PyObject *container, const struct step *step)
{
    PyObject *where = way_to(e, step);
    if (where != NULL) {
        PyErr_Format(PyExc_RuntimeError, "%U: %T changed while it was on its way", where,
                     container);
        Py_DECREF(where);
    }
    return -1;
}

/* ---- buffers ---- */

/* Attaches the block of an export.  0 with the span of its elements. */
static int
attach_span(struct encoder *e, struct isles_export *export, struct isles_span *span)
{
    span->offset = export->offset;
    span->size = (uint64_t)export->view.len;
    span->readonly = (uint32_t)export->view.readonly;
    if (isles_message_attach(e->message, &export->block->shared, &span->attached) < 0) {
        return no_memory();
    }
    isles_shared_ref(&export->block->shared);
    return 0;
}

/* Bytes from here on are lent, and copied once, by who gets them; shorter ones are copied twice,
 * which costs less. */
#define LENT_BYTES_LEAST (32 * 1024)

static int
put_lent_bytes(struct encoder *e, PyObject *object, unsigned flag)
{
    struct isles_export export;
    struct isles_span span;
    if (isles__export(e->local, object, &export) < 0) {
        return -1;
    }
    int result = attach_span(e, &export, &span);
    if (result == 0) {
        result = put_fixed(e, ISLES_TAG_LENT_BYTES | flag, &span, sizeof(span));
    }
    isles__export_fini(&export);
    return result;
}

static int
put_layout(struct encoder *e, const Py_buffer *view, bool packed)
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
        return no_memory();
    }
    return 0;
}

static int
put_view(struct encoder *e, PyObject *object, unsigned flag)
{
    struct isles_export export;
    struct isles_span span;
    if (isles__export(e->local, object, &export) < 0) {
        return -1;
    }
    int result = attach_span(e, &export, &span);
    if (result == 0) {
        result = put_fixed(e, ISLES_TAG_VIEW | flag, &span, sizeof(span));
    }
    if (result == 0) {
        bool packed = export.copied && !PyBuffer_IsContiguous(&export.view, 'A');
        result = put_layout(e, &export.view, packed);
    }
    isles__export_fini(&export);
    return result;
}

/* After the pickle of an exporter: what describes it without its class, if its memory went out of
 * band; or None. */
static int
put_description(struct encoder *e, PyObject *object, size_t spans_before)
{
    struct isles_span span;
    Py_buffer view;
    if (e->spans.size != spans_before + sizeof(span)) {
        return put_tag(e, ISLES_TAG_NONE);
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear(); /* a class may refuse what the struct module can't describe */
        return put_tag(e, ISLES_TAG_NONE);
    }
    int result;
    memcpy(&span, e->spans.data + spans_before, sizeof(span));
    if ((uint64_t)view.len == span.size && view.itemsize > 0 && view.suboffsets == NULL) {
        result = put_fixed(e, ISLES_TAG_VIEW, &span, sizeof(span));
        result = result == 0 ? put_layout(e, &view, false) : result;
    } else {
        result = put_tag(e, ISLES_TAG_NONE);
    }
    PyBuffer_Release(&view);
    return result;
}

/* ---- pickles ---- */

#define HOOKS "isles encoder"

/* The encoder that a pickler's hook belongs to; NULL if it is over, and the pickler outlived it. */
static struct encoder *
hooked(PyObject *capsule)
{
    return PyCapsule_IsValid(capsule, HOOKS) ? PyCapsule_GetPointer(capsule, HOOKS) : NULL;
}

static bool
is_open(const struct encoder *e, const PyObject *object)
{
    const struct step *step = e->pickling;
    while (step != NULL && step->in != object) {
        step = step->up;
    }
    return step != NULL;
}

/* An exporter that may hand out its memory when it is pickled. */
static bool
is_array(PyObject *object)
{
    return PyObject_CheckBuffer(object) && !PyBytes_Check(object) && !PyByteArray_Check(object);
}

static bool
has_identity(PyObject *object)
{
    return PyDict_CheckExact(object) || PyList_CheckExact(object) || PyTuple_CheckExact(object)
           || PyAnySet_CheckExact(object) || PySlice_Check(object) || PyRange_Check(object)
           || PyMemoryView_Check(object) || PyByteArray_CheckExact(object);
}

/* persistent_id: what the message holds outside of pickles goes by its index.  What a pickle meets
 * first is the pickler's from then on. */
static PyObject *
persistent_id(PyObject *capsule, PyObject *object)
{
    struct encoder *e = hooked(capsule);
    bool is_root = e != NULL && object == e->root;
    if (e == NULL || is_root || !(has_identity(object) || is_array(object))) {
        Py_RETURN_NONE;
    }
    bool immutable =
        PyTuple_CheckExact(object) || PyFrozenSet_CheckExact(object) || PySlice_Check(object);
    if (immutable && is_open(e, object)) {
        /* An immutable container inside of itself, by way of this pickle: it can't exist yet where
         * the pickle is loaded.  Pickle alone gets this right. */
        e->retry = WHOLE;
        PyErr_SetNone(PyExc_TypeError);
        return NULL;
    }
    struct memo_entry *entry = memo_find(&e->memo, object);
    if (entry == NULL) {
        return NULL;
    }
    if (entry->object == NULL) {
        memo_enter(&e->memo, entry, object, PICKLED);
    }
    if (entry->index == PICKLED) {
        Py_RETURN_NONE;
    }
    return PyLong_FromSize_t(entry->index);
}

/* buffer_callback: in the order in which unpickling asks for them. */
static PyObject *
lend_buffer(PyObject *capsule, PyObject *buffer)
{
    struct encoder *e = hooked(capsule);
    struct isles_export export;
    struct isles_span span;
    if (e == NULL) {
        Py_RETURN_TRUE; /* inside of the pickle */
    }
    if (isles__export(e->local, buffer, &export) < 0) {
        return NULL;
    }
    int result = attach_span(e, &export, &span);
    if (result == 0 && isles_buffer_append(&e->spans, &span, sizeof(span)) < 0) {
        result = no_memory();
    }
    isles__export_fini(&export);
    return result < 0 ? NULL : Py_NewRef(Py_False);
}

static PyMethodDef persistent_id_def = {"persistent_id", persistent_id, METH_O, NULL};
static PyMethodDef lend_buffer_def = {"lend", lend_buffer, METH_O, NULL};

/* A pickler for all that this message needs one for. */
static int
open_pickler(struct encoder *e, const struct step *step)
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

static bool
is_pickling_failure(void)
{
    return PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError);
}

/* After a pickler raised. */
static int
pickling_failed(struct encoder *e, PyObject *object, const struct step *step)
{
    if (!is_pickling_failure()) {
        e->retry = NO_RETRY;
        return -1;
    }
    if (e->retry == NO_RETRY && !e->by_value) {
        e->retry = BY_VALUE;
    }
    if (e->retry != NO_RETRY) {
        PyErr_Clear();
        return -1;
    }
    return refuse(e, object, step);
}

/* Before code of others runs.  0, or -1 for a retry. */
static int
become_careful(struct encoder *e)
{
    if (e->careless) {
        e->retry = CAREFUL;
        return -1;
    }
    e->careful = e->memo.holds = true;
    return 0;
}

static int
need_pickler(struct encoder *e, const struct step *step)
{
    bool ready = e->dump != NULL;
    return ready || (become_careful(e) == 0 && open_pickler(e, step) == 0) ? 0 : -1;
}

/* Pickles an object, and says under `tag` where that is; `alone`: by a pickler of its own. */
static int
put_pickle_as(struct encoder *e, PyObject *object, const struct step *step, unsigned tag,
              PyObject *alone)
{
    if (need_pickler(e, step) < 0) {
        return -1;
    }
    const struct step *before = e->pickling;
    uint32_t first = (uint32_t)(e->spans.size / sizeof(struct isles_span));
    e->pickling = step;
    e->root = alone == Py_True ? object : NULL;
    Py_INCREF(object);
    PyObject *offset = PyObject_CallFunctionObjArgs(e->dump, object, alone, NULL);
    int result = offset ? 0 : pickling_failed(e, object, step);
    Py_DECREF(object);
    e->pickling = before;
    if (result == 0) {
        result = put_size(e, tag, PyLong_AsSize_t(offset));
    }
    if (result == 0 && isles_buffer_append(e->bytes, &first, sizeof(first)) < 0) {
        result = no_memory();
    }
    Py_XDECREF(offset);
    return result;
}

static int
put_pickle(struct encoder *e, PyObject *object, const struct step *step)
{
    return put_pickle_as(e, object, step, ISLES_TAG_PICKLE, Py_False);
}

/* ---- what has identity ---- */

/* Deals with a value that was met before.  1: done; 0: it is to be written, under a tag with *flag;
 * -1.  `early` ones have their index from now on, others from remember_late(). */
static int
met_before(struct encoder *e, PyObject *object, const struct step *step, bool early, unsigned *flag)
{
    *flag = 0;
    /* A frame may lend its argument without counting: then one root may be another one. */
    if (Py_REFCNT(object) == 1 && !(step->up == NULL && e->several)
        && !(e->careful && has_identity(object))) {
        return 0;
    }
    e->careless = !e->careful;
    struct memo_entry *entry = memo_find(&e->memo, object);
    if (entry == NULL) {
        return -1;
    }
    if (entry->object == NULL) {
        *flag = ISLES_TAG_DEFINES;
        if (early) {
            memo_enter(&e->memo, entry, object, e->memo.defined++);
        }
        return 0;
    }
    int result = entry->index == PICKLED ? put_pickle(e, object, step)
                                         : put_size(e, ISLES_TAG_REF, entry->index);
    return result < 0 ? -1 : 1;
}

static int
remember_late(struct encoder *e, PyObject *object, unsigned flag)
{
    if (flag == 0) {
        return 0;
    }
    struct memo_entry *entry = memo_find(&e->memo, object);
    if (entry == NULL) {
        return -1;
    }
    if (entry->object != NULL) {
        e->retry = WHOLE; /* it was inside of itself */
        return -1;
    }
    memo_enter(&e->memo, entry, object, e->memo.defined++);
    return 0;
}

/* ---- leaves ---- */

static RARE int
put_big_int(struct encoder *e, PyObject *object)
{
    Py_ssize_t size = PyLong_AsNativeBytes(object, NULL, 0, Py_ASNATIVEBYTES_NATIVE_ENDIAN);
    if (size < 0) {
        return -1;
    }
    unsigned char *at = isles_wire_sized(e->bytes, ISLES_TAG_INT, (size_t)size, (size_t)size);
    if (at == NULL) {
        return no_memory();
    }
    return PyLong_AsNativeBytes(object, at, size, Py_ASNATIVEBYTES_NATIVE_ENDIAN) < 0 ? -1 : 0;
}

static int
put_int(struct encoder *e, PyObject *object)
{
    int overflow = 0;
    int64_t value = PyUnstable_Long_IsCompact((PyLongObject *)object)
                        ? PyUnstable_Long_CompactValue((PyLongObject *)object)
                        : PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0) {
        return put_big_int(e, object);
    }
    int8_t tiny = (int8_t)value;
    if (tiny == value) {
        return put_fixed(e, ISLES_TAG_INT8, &tiny, sizeof(tiny));
    }
    int32_t small = (int32_t)value;
    if (small == value) {
        return put_fixed(e, ISLES_TAG_INT32, &small, sizeof(small));
    }
    return put_fixed(e, ISLES_TAG_INT64, &value, sizeof(value));
}

/* By its own characters, not UTF-8: lone surrogates travel too, and nothing is cached in it. */
static int
put_str(struct encoder *e, PyObject *object, const struct step *step)
{
    static const unsigned char tags[] = {0, ISLES_TAG_STR1, ISLES_TAG_STR2, 0, ISLES_TAG_STR4};
    unsigned tag = PyUnicode_IS_ASCII(object) ? ISLES_TAG_ASCII : tags[PyUnicode_KIND(object)];
    size_t length = (size_t)PyUnicode_GET_LENGTH(object);
    unsigned kind = (unsigned)PyUnicode_KIND(object), flag = 0;
    if (length > 1) { /* the shorter ones are mostly the same object everywhere */
        int met = met_before(e, object, step, true, &flag);
        if (met != 0) {
            return met < 0 ? -1 : 0;
        }
    }
    return put_sized(e, tag | flag, length, PyUnicode_DATA(object), length * kind);
}

static RARE int
put_bytes(struct encoder *e, PyObject *object, const struct step *step)
{
    unsigned flag;
    int met = met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(object);
    if (size >= LENT_BYTES_LEAST && e->local != NULL) {
        return put_lent_bytes(e, object, flag);
    }
    return put_sized(e, ISLES_TAG_BYTES | flag, size, PyBytes_AS_STRING(object), size);
}

static int
put_float(struct encoder *e, PyObject *object)
{
    double value = PyFloat_AS_DOUBLE(object);
    return put_fixed(e, ISLES_TAG_FLOAT, &value, sizeof(value));
}

static RARE int
put_complex(struct encoder *e, PyObject *object, const struct step *step)
{
    unsigned flag;
    int met = met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    Py_complex value = PyComplex_AsCComplex(object);
    return put_fixed(e, ISLES_TAG_COMPLEX | flag, &value, sizeof(value));
}

/* ---- containers ---- */

static bool
is_small_int(PyObject *object, int32_t *value)
{
    if (!PyLong_CheckExact(object) || !PyUnstable_Long_IsCompact((PyLongObject *)object)) {
        return false;
    }
    Py_ssize_t wide = PyUnstable_Long_CompactValue((PyLongObject *)object);
    *value = (int32_t)wide;
    return *value == wide;
}

#define MANY 8
#define AHEAD 24

/* Writes the small ints that stand in a row there, if they are many.  How many it wrote, or -1. */
static Py_ssize_t
put_ints(struct encoder *e, PyObject *const *items, Py_ssize_t count)
{
    int32_t value;
    Py_ssize_t row = 0;
    while (row < MANY && row < count && is_small_int(items[row], &value)) {
        row++;
    }
    if (row < MANY) {
        return 0;
    }
    unsigned char *at =
        isles_wire_tag(e->bytes, ISLES_TAG_INTS, sizeof(uint64_t) + (size_t)count * sizeof(value));
    if (at == NULL) {
        return no_memory();
    }
    unsigned char *to = at + sizeof(uint64_t);
    for (row = 0; row < count && is_small_int(items[row], &value); row++) {
        /* A long list's ints are not in the nearest cache: reading them is what takes the time. */
        __builtin_prefetch(items[row + AHEAD < count ? row + AHEAD : row]);
        memcpy(to, &value, sizeof(value));
        to += sizeof(value);
    }
    uint64_t written = (uint64_t)row;
    memcpy(at, &written, sizeof(written));
    e->bytes->size = (size_t)(to - e->bytes->data);
    return row;
}

static int
put_sequence(struct encoder *e, PyObject *object, unsigned tag, const struct step *step)
{
    Py_ssize_t size = Py_SIZE(object), looked = 0; /* for rows of ints */
    struct step here = {.up = step, .in = object};
    int result = put_size(e, tag, (size_t)size);
    for (; result == 0 && here.index < size; here.index++) {
        if (Py_SIZE(object) != size) {
            return changed(e, object, step);
        }
        PyObject *const *items = PySequence_Fast_ITEMS(object) + here.index;
        if (PyLong_CheckExact(*items) && here.index >= looked) {
            Py_ssize_t row = put_ints(e, items, size - here.index);
            looked = here.index + (row > 0 ? row : MANY);
            if (row != 0) {
                result = row < 0 ? -1 : 0;
                here.index += row - 1;
                continue;
            }
        }
        result = put(e, *items, &here);
    }
    return result == 0 && Py_SIZE(object) != size ? changed(e, object, step) : result;
}

static int
put_pairs(struct encoder *e, PyObject *object, unsigned tag, const struct step *step)
{
    Py_ssize_t size = PyDict_GET_SIZE(object), at = 0, count = 0;
    struct step here = {.up = step, .in = object, .index = -1};
    PyObject *key, *value;
    int result = put_size(e, tag, (size_t)size);
    while (result == 0 && PyDict_Next(object, &at, &key, &value)) {
        if (++count > size) {
            return changed(e, object, step);
        }
        PyObject *held[] = {e->careful ? Py_NewRef(key) : NULL,
                            e->careful ? Py_NewRef(value) : NULL};
        here.key = NULL;
        result = put(e, key, &here);
        if (result == 0) {
            here.key = key;
            result = put(e, value, &here);
        }
        Py_XDECREF(held[0]);
        Py_XDECREF(held[1]);
        if (result == 0 && PyDict_GET_SIZE(object) != size) {
            return changed(e, object, step);
        }
    }
    return result == 0 && count != size ? changed(e, object, step) : result;
}

static struct shape *
shape_slot(struct encoder *e, const PyObject *key, Py_ssize_t size)
{
    if (e->shapes_defined < 0) {
        e->shapes_defined = 0;
        for (size_t i = 0; i < SHAPES; i++) {
            e->shapes[i].size = 0;
        }
    }
    return &e->shapes[((uintptr_t)key / 32 + (size_t)size) % SHAPES];
}

/* Writes the tag of a dict, and what it says of the keys: all of them, or a number.  1 if the keys
 * are to be written with the values; 0; or -1. */
static int
put_keys(struct encoder *e, PyObject *const *keys, Py_ssize_t size, const struct step *here)
{
    struct shape *shape = shape_slot(e, keys[0], size);
    size_t bytes = (size_t)size * sizeof(*keys);
    if (shape->size != size || memcmp(shape->keys, keys, bytes) != 0) {
        shape->size = size;
        shape->number = -1;
        memcpy(shape->keys, keys, bytes);
        return put_size(e, ISLES_TAG_DICT, (size_t)size) < 0 ? -1 : 1;
    }
    if (shape->number >= 0) {
        return put_size(e, ISLES_TAG_RECORD, (size_t)shape->number);
    }
    if (e->shapes_defined == ISLES_SHAPES_MAX) {
        return put_size(e, ISLES_TAG_DICT, (size_t)size) < 0 ? -1 : 1;
    }
    shape->number = e->shapes_defined++;
    int result = put_size(e, ISLES_TAG_SHAPE, (size_t)size);
    for (Py_ssize_t i = 0; i < size && result == 0; i++) {
        result = put(e, keys[i], here);
    }
    return result;
}

/* A small dict, careless; many have the keys of one before.  1: done; 0: it isn't one with keys of
 * str; -1. */
static int
put_record(struct encoder *e, PyObject *object, const struct step *step)
{
    PyObject *keys[ISLES_SHAPE_KEYS], *values[ISLES_SHAPE_KEYS];
    Py_ssize_t size = 0;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &keys[size], &values[size]); size++) {
        if (!PyUnicode_CheckExact(keys[size])) {
            return 0;
        }
    }
    struct step here = {.up = step, .in = object, .index = -1};
    int paired = put_keys(e, keys, size, &here), result = paired < 0 ? -1 : 0;
    for (Py_ssize_t i = 0; i < size && result == 0; i++) {
        result = paired ? put(e, keys[i], &here) : 0;
        if (result == 0) {
            result = put(e, values[i], &here);
        }
    }
    return result < 0 ? -1 : 1;
}

static int
put_dict(struct encoder *e, PyObject *object, unsigned tag, const struct step *step)
{
    Py_ssize_t length = PyDict_GET_SIZE(object);
    if (tag == ISLES_TAG_DICT && !e->careful && length >= SHAPE_LEAST
        && length <= ISLES_SHAPE_KEYS) {
        int done = put_record(e, object, step);
        if (done != 0) {
            return done < 0 ? -1 : 0;
        }
    }
    return put_pairs(e, object, tag, step);
}

static int
put_set(struct encoder *e, PyObject *object, unsigned tag, const struct step *step)
{
    Py_ssize_t size = PySet_GET_SIZE(object), count = 0;
    struct step here = {.up = step, .in = object, .index = -1};
    PyObject *iterator = PyObject_GetIter(object), *item;
    int result = iterator ? put_size(e, tag, (size_t)size) : -1;
    while (result == 0 && (item = PyIter_Next(iterator)) != NULL) {
        result = ++count > size ? changed(e, object, step) : put(e, item, &here);
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    if (result == 0 && (PyErr_Occurred() || count != size)) {
        PyErr_Clear();
        return changed(e, object, step);
    }
    return result;
}

/* The start, stop and step of a range or slice. */
static int
put_three(struct encoder *e, PyObject *object, unsigned tag, const struct step *step)
{
    static const char *const names[] = {"start", "stop", "step"};
    struct step here = {.up = step, .in = object};
    int result = put_tag(e, tag);
    for (; here.index < 3 && result == 0; here.index++) {
        PyObject *part = PyObject_GetAttrString(object, names[here.index]);
        result = part ? put(e, part, &here) : -1;
        Py_XDECREF(part);
    }
    return result;
}

typedef int putter(struct encoder *, PyObject *, unsigned, const struct step *);

/* A value that holds others. */
static int
put_container(struct encoder *e, PyObject *object, unsigned tag, const struct step *step,
              putter *content, bool early)
{
    unsigned flag;
    int met = met_before(e, object, step, early, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    e->careless = !e->careful;
    if (isles__nest(&e->depth, " while a value is on its way") < 0) {
        e->too_deep = true; /* no stack is left to say so here */
        return -1;
    }
    PyObject *held = e->careful ? Py_NewRef(object) : NULL;
    int result = content(e, object, tag | flag, step);
    if (result == 0 && !early) {
        result = remember_late(e, object, flag);
    }
    Py_XDECREF(held);
    isles__unnest(&e->depth);
    return result;
}

/* ---- exporters ---- */

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
put_exporter(struct encoder *e, PyObject *object, const struct step *step)
{
    unsigned flag;
    int met = met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    int result = put_view(e, object, flag);
    return result < 0 && is_pickling_failure() ? refuse(e, object, step) : result;
}

/* An exporter that is pickled: as what it is, or as a view if its module can't be imported there.
 * For that no other pickle may depend on this one. */
static int
put_array(struct encoder *e, PyObject *object, const struct step *step)
{
    unsigned flag;
    int met = met_before(e, object, step, false, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    size_t spans = e->spans.size;
    int result = put_pickle_as(e, object, step, ISLES_TAG_ARRAY | flag, Py_True);
    if (result == 0) {
        result = put_description(e, object, spans);
    }
    return result == 0 ? remember_late(e, object, flag) : result;
}

/* ---- isles' own ---- */

static int
put_attached(struct encoder *e, unsigned tag, struct isles_shared *shared)
{
    uint32_t index;
    if (isles_message_attach(e->message, shared, &index) < 0) {
        return no_memory();
    }
    isles_shared_ref(shared);
    return put_fixed(e, tag, &index, sizeof(index));
}

/* The state of the copy of the module that a class comes from, itself or its base; NULL without an
 * exception if it is none of isles'. */
static struct isles_state *
origin(PyTypeObject *type)
{
    for (int i = 0; i < 2 && type != NULL; i++, type = type->tp_base) {
        PyObject *module = PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) ? PyType_GetModule(type)
                                                                        : NULL; /* borrowed */
        if (module != NULL && PyModule_GetDef(module) == &isles__module_def) {
            return isles__state_of_module(module);
        }
        PyErr_Clear();
    }
    return NULL;
}

/* The interpreter must not end before the message is read. */
static int
put_interpreter(struct encoder *e, struct isles_interp *interp, unsigned flag)
{
    uint32_t index;
    if (isles__gate_attach(interp, e->message, &index) < 0) {
        return no_memory();
    }
    return put_fixed(e, ISLES_TAG_INTERPRETER | flag, &interp->id, sizeof(interp->id));
}

/* 1: done; 0: it is none of isles', or of a subclass; -1. */
static int
put_own(struct encoder *e, PyObject *object, const struct step *step)
{
    PyTypeObject *type = Py_TYPE(object);
    struct isles_state *state = origin(type);
    if (state == NULL) {
        return 0;
    }
    struct isles_interp *interp = isles__interp_of(state, object);
    if (interp == NULL && type != state->id_type && type != state->shared_type
        && type != state->queue_type) {
        return PyErr_Occurred() ? -1 : 0;
    }
    unsigned flag;
    int met = met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met;
    }
    int64_t id;
    int result;
    if (interp != NULL) {
        result = put_interpreter(e, interp, flag);
    } else if (type == state->queue_type) {
        result = put_attached(e, ISLES_TAG_QUEUE | flag, &isles__queue_of(object)->shared);
    } else if (type == state->shared_type) {
        result = put_attached(e, ISLES_TAG_SHARED | flag, &isles__view_block(object)->shared);
    } else {
        result = isles__id_parse(state, object, &id);
        if (result == 0) {
            result = put_fixed(e, ISLES_TAG_ID | flag, &id, sizeof(id));
        }
    }
    return result < 0 ? -1 : 1;
}

/* ---- any ---- */

static RARE int
put_odd(struct encoder *e, PyObject *object, const struct step *step)
{
    if (object == Py_Ellipsis) {
        return put_tag(e, ISLES_TAG_ELLIPSIS);
    }
    if (object == Py_NotImplemented) {
        return put_tag(e, ISLES_TAG_NOT_IMPLEMENTED);
    }
    if (PyFrozenSet_CheckExact(object)) {
        return put_container(e, object, ISLES_TAG_FROZENSET, step, put_set, false);
    }
    if (Py_IS_TYPE(object, &PyRange_Type)) {
        return put_container(e, object, ISLES_TAG_RANGE, step, put_three, false);
    }
    if (Py_IS_TYPE(object, &PySlice_Type)) {
        return put_container(e, object, ISLES_TAG_SLICE, step, put_three, false);
    }
    int done = become_careful(e) < 0 ? -1 : put_own(e, object, step);
    if (done != 0) {
        return done < 0 ? -1 : 0;
    }
    int view = travels_as_view(object);
    return view < 0           ? -1
           : view > 0         ? put_exporter(e, object, step)
           : is_array(object) ? put_array(e, object, step)
                              : put_pickle(e, object, step);
}

static int
put(struct encoder *e, PyObject *object, const struct step *step)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type) {
        return put_str(e, object, step);
    }
    if (type == &PyLong_Type) {
        return put_int(e, object);
    }
    if (object == Py_None) {
        return put_tag(e, ISLES_TAG_NONE);
    }
    if (type == &PyBool_Type) {
        return put_tag(e, object == Py_True ? ISLES_TAG_TRUE : ISLES_TAG_FALSE);
    }
    if (type == &PyFloat_Type) {
        return put_float(e, object);
    }
    if (type == &PyDict_Type) {
        return put_container(e, object, ISLES_TAG_DICT, step, put_dict, true);
    }
    if (type == &PyList_Type) {
        return put_container(e, object, ISLES_TAG_LIST, step, put_sequence, true);
    }
    if (type == &PyTuple_Type) {
        return put_container(e, object, ISLES_TAG_TUPLE, step, put_sequence, true);
    }
    if (type == &PyBytes_Type) {
        return put_bytes(e, object, step);
    }
    if (type == &PySet_Type) {
        return put_container(e, object, ISLES_TAG_SET, step, put_set, true);
    }
    if (type == &PyComplex_Type) {
        return put_complex(e, object, step);
    }
    return put_odd(e, object, step);
}

static int
put_root(struct encoder *e, PyObject *object, Py_ssize_t index, PyObject *keyword)
{
    struct step root = {.in = keyword, .index = index};
    int result = e->whole ? put_pickle(e, object, &root) : put(e, object, &root);
    return result < 0 && e->too_deep ? refuse(e, object, &root) : result;
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
append_pickles(struct encoder *e, const Py_buffer *pickles)
{
    if (!e->by_value && names_main(pickles->buf, (size_t)pickles->len)) {
        e->retry = BY_VALUE;
        return -1;
    }
    uint64_t count = e->spans.size / sizeof(struct isles_span);
    e->message->stream_at = e->bytes->size;
    if (isles_buffer_append(e->bytes, &count, sizeof(count)) < 0
        || isles_buffer_append(e->bytes, e->spans.data, e->spans.size) < 0
        || isles_buffer_append(e->bytes, pickles->buf, (size_t)pickles->len) < 0) {
        return no_memory();
    }
    return 0;
}

static int
put_pickles(struct encoder *e)
{
    if (e->dump == NULL) {
        return 0;
    }
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

static void
encoder_fini(struct encoder *e)
{
    if (e->hooks != NULL) {
        (void)PyCapsule_SetName(e->hooks, NULL);
    }
    Py_CLEAR(e->hooks);
    Py_CLEAR(e->dump);
    Py_CLEAR(e->written);
    isles_buffer_fini(&e->spans);
    memo_clear(&e->memo);
}

/* What is to be written. */
struct roots {
    PyObject *const *args;
    Py_ssize_t positional;
    PyObject *names; /* a tuple; NULL: no keywords */
    bool head;       /* arguments, not one object */
};

static int
put_roots(struct encoder *e, const struct roots *roots)
{
    Py_ssize_t keywords = roots->names ? PyTuple_GET_SIZE(roots->names) : 0;
    Py_ssize_t count = roots->positional + keywords;
    e->several = count > 1;
    int result = 0;
    if (roots->head) {
        uint64_t head[] = {(uint64_t)roots->positional, (uint64_t)keywords};
        result = isles_buffer_append(e->bytes, head, sizeof(head)) < 0 ? no_memory() : 0;
        if (result == 0 && keywords > 0) {
            struct step names = {.index = -1};
            result = put(e, roots->names, &names);
        }
    }
    for (Py_ssize_t i = 0; i < count && result == 0; i++) {
        Py_ssize_t keyword = i - roots->positional;
        result = put_root(e, roots->args[i], roots->head && keyword < 0 ? i : -1,
                          keyword < 0 ? NULL : PyTuple_GET_ITEM(roots->names, keyword));
    }
    return result == 0 ? put_pickles(e) : result;
}

/* Once more if code of others comes into it, if what that can't name has to go by value, or an
 * immutable ring by pickle. */
static int
encode(struct encoder *e, const struct roots *roots)
{
    int result;
    do {
        e->careful = e->memo.holds = e->careful || e->retry == CAREFUL;
        e->by_value = e->by_value || e->retry == BY_VALUE;
        e->whole = e->whole || e->retry == WHOLE;
        e->retry = NO_RETRY;
        e->careless = false;
        e->shapes_defined = -1;
        isles_message_reset(e->message);
        result = put_roots(e, roots);
        PyObject *error = PyErr_GetRaisedException();
        encoder_fini(e);
        PyErr_SetRaisedException(error);
    } while (result < 0 && e->retry != NO_RETRY);
    if (result < 0) {
        isles_message_reset(e->message);
    }
    return result;
}

static int
encode_roots(const struct isles_state *state, struct isles_local *local,
             struct isles_message *message, const struct roots *roots, const char *name)
{
    struct isles_thread *thread = isles_thread_self();
    if (thread == NULL) {
        return no_memory();
    }
    struct encoder e; /* the memo's room, which is most of it, stays as it is */
    e.state = state;
    e.local = local;
    e.message = message;
    e.bytes = &message->bytes;
    e.name = name;
    e.careful = e.by_value = e.whole = e.too_deep = false;
    e.retry = NO_RETRY;
    e.hooks = e.dump = e.written = NULL;
    e.pickling = NULL;
    e.depth = 0;
    e.root = NULL;
    e.memo.entries = NULL;
    e.memo.size = e.memo.used = e.memo.defined = 0;
    isles_buffer_init(&e.spans);
    struct isles_message *before = thread->writing;
    thread->writing = message;
    int result = encode(&e, roots);
    thread->writing = before;
    return result;
}

int
isles__encode(const struct isles_state *state, struct isles_local *local,
              struct isles_message *message, PyObject *object, const char *name)
{
    struct roots roots = {.args = &object, .positional = 1};
    return encode_roots(state, local, message, &roots, name);
}

int
isles__encode_args(const struct isles_state *state, struct isles_local *local,
                   struct isles_message *message, PyObject *const *args, Py_ssize_t count,
                   PyObject *kwnames)
{
    struct roots roots = {.args = args, .positional = count, .names = kwnames, .head = true};
    return encode_roots(state, local, message, &roots, "names");
}
