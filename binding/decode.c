#include "../core/status.h"
#include "../core/wire.h"
#include "codec.h"
#include "ids.h"
#include "interp.h"
#include "interrupts.h"
#include "private.h"
#include "queues.h"
#include "views.h"

#define MEMO_ROOM 32

/* A tuple that is being filled, and those around it with no list, dict or set in between: inside of
 * itself only by way of one of these does a tuple have a hash. */
struct unfinished {
    const struct unfinished *around;
    PyObject *tuple;
};

struct decoder {
    struct isles_local *local; /* NULL: then only builtin values are read */
    const struct isles_contents *contents;
    struct isles_reader reader;
    PyObject **memo; /* by index: references */
    size_t defined, memo_size;
    const struct unfinished *unfinished;
    PyObject *hooks; /* a capsule of this decoder, while it lives */
    PyObject *load;  /* the unpickler's, NULL without one */
    bool as_views;   /* ARRAY as a view, for its module can't be imported here */
    bool no_module;  /* why it failed */
    int depth;       /* of containers */
    unsigned shapes_defined;
    PyObject *shapes[ISLES_SHAPES_MAX]; /* tuples of keys */
    PyObject *room[MEMO_ROOM];
};

static PyObject *get(struct decoder *d);

/* Inlined into get(), these would make every number save the registers that they need. */
#define RARE __attribute__((noinline))

static PyObject *
malformed(void)
{
    PyErr_SetString(PyExc_ValueError, isles_status_text(ISLES_MALFORMED));
    return NULL;
}

/* Gives `object` the next index.  0; or -1 with MemoryError, the object dropped. */
static int
define(struct decoder *d, PyObject *object)
{
    if (d->defined == d->memo_size) {
        size_t size = d->memo_size * 4;
        bool inside = d->memo == d->room;
        PyObject **memo = PyMem_RawRealloc(inside ? NULL : d->memo, size * sizeof(*memo));
        if (memo == NULL) {
            PyErr_NoMemory();
            Py_DECREF(object);
            return -1;
        }
        if (inside) {
            memcpy(memo, d->room, sizeof(d->room));
        }
        d->memo = memo;
        d->memo_size = size;
    }
    d->memo[d->defined++] = Py_NewRef(object);
    return 0;
}

/* The size that a value of at least `least` bytes a part has. */
static int
get_size(struct decoder *d, size_t least, Py_ssize_t *size)
{
    uint64_t count;
    /* A count beyond what is left is a lie; nothing is allocated for it. */
    if (isles_wire_size(&d->reader, &count) < 0
        || count > (uint64_t)(d->reader.end - d->reader.at) / least || count > PY_SSIZE_T_MAX) {
        malformed();
        return -1;
    }
    *size = (Py_ssize_t)count;
    return 0;
}

/* Of the interpreter's own copy of isles; NULL with an exception. */
static struct isles_state *
state_of(const struct decoder *d)
{
    if (d->local == NULL) {
        malformed();
        return NULL;
    }
    return isles__local_state(d->local);
}

/* ---- leaves ---- */

#define GET_NUMBER(d, type, make)                                                                  \
    do {                                                                                           \
        type value;                                                                                \
        return isles_reader_copy(&(d)->reader, &value, sizeof(value)) < 0 ? malformed() : make;    \
    } while (0)

static PyObject *
get_number(struct decoder *d, unsigned tag)
{
    switch (tag) {
    case ISLES_TAG_INT8:
        GET_NUMBER(d, int8_t, PyLong_FromLong(value));
    case ISLES_TAG_INT32:
        GET_NUMBER(d, int32_t, PyLong_FromLong(value));
    case ISLES_TAG_INT64:
        GET_NUMBER(d, int64_t, PyLong_FromLongLong(value));
    case ISLES_TAG_FLOAT:
        GET_NUMBER(d, double, PyFloat_FromDouble(value));
    default:
        GET_NUMBER(d, Py_complex, PyComplex_FromCComplex(value));
    }
}

static inline uint64_t
copy_eight(unsigned char *to, const unsigned char *from)
{
    uint64_t eight;
    memcpy(&eight, from, sizeof(eight));
    memcpy(to, &eight, sizeof(eight));
    return eight;
}

static inline uint32_t
copy_four(unsigned char *to, const unsigned char *from)
{
    uint32_t four;
    memcpy(&four, from, sizeof(four));
    memcpy(to, &four, sizeof(four));
    return four;
}

/* At least one.  Most strings are short, so there is no loop over what is left of eights: the last
 * piece ends where the string does, and may have bytes in common with the one before. */
static bool
copy_ascii(unsigned char *to, const unsigned char *from, size_t size)
{
    uint64_t seen = 0;
    if (size >= 8) {
        for (size_t i = 0; i + 8 < size; i += 8) {
            seen |= copy_eight(to + i, from + i);
        }
        seen |= copy_eight(to + size - 8, from + size - 8);
    } else if (size >= 4) {
        seen = copy_four(to, from) | copy_four(to + size - 4, from + size - 4);
    } else {
        unsigned char first = from[0], middle = from[size / 2], last = from[size - 1];
        to[0] = first;
        to[size / 2] = middle;
        to[size - 1] = last;
        seen = first | middle | last;
    }
    return (seen & UINT64_C(0x8080808080808080)) == 0;
}

static PyObject *
get_ascii(struct decoder *d)
{
    Py_ssize_t length;
    if (get_size(d, 1, &length) < 0) {
        return NULL;
    }
    const unsigned char *at = isles_reader_take(&d->reader, (size_t)length);
    if (length <= 1) {
        return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, at, length);
    }
    PyObject *str = PyUnicode_New(length, 127);
    if (str != NULL && !copy_ascii(PyUnicode_1BYTE_DATA(str), at, (size_t)length)) {
        Py_DECREF(str);
        return malformed();
    }
    return str;
}

/* CPython takes our word for it. */
static bool
are_characters(const unsigned char *at, Py_ssize_t length)
{
    bool good = true;
    for (Py_ssize_t i = 0; i < length; i++, at += sizeof(Py_UCS4)) {
        Py_UCS4 character;
        memcpy(&character, at, sizeof(character));
        good &= character <= 0x10ffff;
    }
    return good;
}

static RARE PyObject *
get_str(struct decoder *d, unsigned tag)
{
    int kind = tag == ISLES_TAG_STR1   ? PyUnicode_1BYTE_KIND
               : tag == ISLES_TAG_STR2 ? PyUnicode_2BYTE_KIND
                                       : PyUnicode_4BYTE_KIND;
    Py_ssize_t length;
    if (get_size(d, (size_t)kind, &length) < 0) {
        return NULL;
    }
    const unsigned char *at = isles_reader_take(&d->reader, (size_t)length * (size_t)kind);
    return kind < PyUnicode_4BYTE_KIND || are_characters(at, length)
               ? PyUnicode_FromKindAndData(kind, at, length)
               : malformed();
}

static RARE PyObject *
get_bytes(struct decoder *d, unsigned tag)
{
    Py_ssize_t size;
    if (get_size(d, 1, &size) < 0) {
        return NULL;
    }
    const void *at = isles_reader_take(&d->reader, (size_t)size);
    return tag == ISLES_TAG_BYTES
               ? PyBytes_FromStringAndSize(at, size)
               : PyLong_FromNativeBytes(at, (size_t)size, Py_ASNATIVEBYTES_NATIVE_ENDIAN);
}

/* ---- containers ---- */

/* Whoever sees a container while it is being filled, by way of a pickle, sees a whole one: a list
 * or dict that grows, a tuple of None. */

static int
add_item(PyObject *list, PyObject *item)
{
    Py_ssize_t size = PyList_GET_SIZE(list);
    if (size < ((PyListObject *)list)->allocated) {
        PyList_SET_ITEM(list, size, item);
        Py_SET_SIZE(list, size + 1);
        return 0;
    }
    int result = PyList_Append(list, item); /* somebody else added to it */
    Py_DECREF(item);
    return result;
}

/* Takes over the item.  What was in a tuple there is None, which is immortal, or nothing. */
static int
fill_item(PyObject *sequence, bool tuple, Py_ssize_t index, PyObject *item)
{
    if (item == NULL) {
        return -1;
    }
    if (tuple) {
        PyTuple_SET_ITEM(sequence, index, item);
        return 0;
    }
    return add_item(sequence, item);
}

/* Fills in a row of ints; how many, or -1. */
static Py_ssize_t
get_ints(struct decoder *d, PyObject *sequence, bool tuple, Py_ssize_t index, Py_ssize_t room)
{
    uint64_t row;
    d->reader.at++; /* the tag */
    if (isles_reader_copy(&d->reader, &row, sizeof(row)) < 0 || row == 0 || row > (uint64_t)room
        || row > (uint64_t)(d->reader.end - d->reader.at) / sizeof(int32_t)) {
        malformed();
        return -1;
    }
    for (uint64_t i = 0; i < row; i++) {
        int32_t value;
        memcpy(&value, d->reader.at, sizeof(value));
        d->reader.at += sizeof(value);
        if (fill_item(sequence, tuple, index + (Py_ssize_t)i, PyLong_FromLong(value)) < 0) {
            return -1;
        }
    }
    return (Py_ssize_t)row;
}

/* Fills a tuple or list; drops it on failure. */
static PyObject *
fill(struct decoder *d, PyObject *sequence, Py_ssize_t size)
{
    bool tuple = PyTuple_CheckExact(sequence);
    for (Py_ssize_t i = 0, done; i < size; i += done) {
        if (d->reader.at < d->reader.end && *d->reader.at == ISLES_TAG_INTS) {
            done = get_ints(d, sequence, tuple, i, size - i);
        } else {
            done = fill_item(sequence, tuple, i, get(d)) < 0 ? -1 : 1;
        }
        if (done < 0) {
            Py_DECREF(sequence);
            return NULL;
        }
    }
    return sequence;
}

static PyObject *
get_tuple(struct decoder *d, unsigned flag)
{
    Py_ssize_t size;
    PyObject *tuple = get_size(d, 1, &size) < 0 ? NULL : PyTuple_New(size);
    if (tuple == NULL) {
        return NULL;
    }
    if (flag != 0) {
        for (Py_ssize_t i = 0; i < size; i++) {
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(Py_None));
        }
        if (define(d, tuple) < 0) {
            return NULL;
        }
    }
    struct unfinished here = {d->unfinished, tuple};
    d->unfinished = flag ? &here : d->unfinished;
    return fill(d, tuple, size);
}

static PyObject *
get_list(struct decoder *d, unsigned flag)
{
    Py_ssize_t size;
    PyObject *list = get_size(d, 1, &size) < 0 ? NULL : PyList_New(size);
    if (list == NULL) {
        return NULL;
    }
    Py_SET_SIZE(list, 0); /* its room stays */
    if (flag != 0 && define(d, list) < 0) {
        return NULL;
    }
    d->unfinished = NULL;
    return fill(d, list, size);
}

static PyObject *
get_dict(struct decoder *d, unsigned flag)
{
    Py_ssize_t size;
    if (get_size(d, 2, &size) < 0) {
        return NULL;
    }
    PyObject *dict = PyDict_New();
    if (dict == NULL || (flag != 0 && define(d, dict) < 0)) {
        return NULL;
    }
    d->unfinished = NULL;
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *key = get(d);
        PyObject *value = key ? get(d) : NULL;
        int result = value ? PyDict_SetItem(dict, key, value) : -1;
        Py_XDECREF(key);
        Py_XDECREF(value);
        if (result < 0) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

/* A dict of the shape's keys. */
static PyObject *
get_values(struct decoder *d, PyObject *keys)
{
    Py_ssize_t size = PyTuple_GET_SIZE(keys), got = 0;
    PyObject *values[ISLES_SHAPE_KEYS], *dict = NULL;
    assert(size > 0); /* get_shape() has seen to it */
    d->unfinished = NULL;
    while (got < size && (values[got] = get(d)) != NULL) {
        got++;
    }
    if (got == size) {
        dict = isles__private_dict(&PyTuple_GET_ITEM(keys, 0), values, size);
    }
    while (got > 0) {
        Py_DECREF(values[--got]);
    }
    return dict;
}

static PyObject *
get_shape(struct decoder *d)
{
    Py_ssize_t size;
    if (get_size(d, 2, &size) < 0) {
        return NULL;
    }
    if (size == 0 || size > ISLES_SHAPE_KEYS || d->shapes_defined == ISLES_SHAPES_MAX) {
        return malformed();
    }
    PyObject *keys = PyTuple_New(size);
    d->unfinished = NULL;
    for (Py_ssize_t i = 0; i < size && keys != NULL; i++) {
        PyObject *key = get(d);
        if (key == NULL) {
            Py_CLEAR(keys);
        } else {
            PyTuple_SET_ITEM(keys, i, key);
        }
    }
    if (keys == NULL || d->shapes_defined == ISLES_SHAPES_MAX) { /* a key may have shapes in it */
        Py_XDECREF(keys);
        return PyErr_Occurred() ? NULL : malformed();
    }
    d->shapes[d->shapes_defined++] = keys;
    return get_values(d, keys);
}

static PyObject *
get_record(struct decoder *d)
{
    uint64_t number;
    if (isles_wire_size(&d->reader, &number) < 0 || number >= d->shapes_defined) {
        return malformed();
    }
    return get_values(d, d->shapes[number]);
}

static PyObject *
get_set(struct decoder *d, unsigned tag, unsigned flag)
{
    bool frozen = tag == ISLES_TAG_FROZENSET;
    Py_ssize_t size;
    if (get_size(d, 1, &size) < 0) {
        return NULL;
    }
    PyObject *set = frozen ? PyFrozenSet_New(NULL) : PySet_New(NULL);
    if (set == NULL || (flag != 0 && !frozen && define(d, set) < 0)) {
        return NULL;
    }
    d->unfinished = frozen ? d->unfinished : NULL;
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item = get(d);
        int result = item ? PySet_Add(set, item) : -1;
        Py_XDECREF(item);
        if (result < 0) {
            Py_DECREF(set);
            return NULL;
        }
    }
    return set;
}

static PyObject *
get_three(struct decoder *d, unsigned tag)
{
    PyObject *parts[3] = {NULL}, *result = NULL;
    for (int i = 0; i < 3; i++) {
        parts[i] = get(d);
        if (parts[i] == NULL) {
            goto done;
        }
    }
    if (tag == ISLES_TAG_SLICE) {
        result = PySlice_New(parts[0], parts[1], parts[2]);
    } else {
        result = PyObject_Vectorcall((PyObject *)&PyRange_Type, parts, 3, NULL);
    }
done:
    Py_XDECREF(parts[0]);
    Py_XDECREF(parts[1]);
    Py_XDECREF(parts[2]);
    return result;
}

/* ---- blocks ---- */

static struct isles_shared *
get_attached(const struct decoder *d, uint32_t index, enum isles_kind kind)
{
    struct isles_shared *shared =
        index < d->contents->attached_count ? d->contents->attached[index] : NULL;
    if (shared == NULL || shared->kind != kind) {
        malformed();
        return NULL;
    }
    return shared;
}

/* The block that a span is of, borrowed. */
static struct isles_block *
block_of(const struct decoder *d, const struct isles_span *span)
{
    struct isles_block *block = (struct isles_block *)get_attached(d, span->attached, ISLES_BLOCK);
    if (block != NULL && span->offset > block->size) {
        malformed();
        return NULL;
    }
    return block;
}

static RARE PyObject *
get_lent_bytes(struct decoder *d)
{
    struct isles_span span;
    struct isles_block *block;
    if (isles_reader_copy(&d->reader, &span, sizeof(span)) < 0) {
        return malformed();
    }
    if ((block = block_of(d, &span)) == NULL) {
        return NULL;
    }
    if (!isles_block_holds(block, span.offset, span.size)) {
        return malformed();
    }
    return PyBytes_FromStringAndSize((const char *)block->start + span.offset,
                                     (Py_ssize_t)span.size);
}

/* Reads the span and layout of a view; makes it, or skips it. */
static RARE PyObject *
get_view(struct decoder *d, bool wanted)
{
    struct isles_span span;
    struct isles_wire_layout wire;
    if (isles_reader_copy(&d->reader, &span, sizeof(span)) < 0
        || isles_reader_copy(&d->reader, &wire, sizeof(wire)) < 0 || wire.ndim > PyBUF_MAX_NDIM) {
        return malformed();
    }
    Py_ssize_t shape[PyBUF_MAX_NDIM], strides[PyBUF_MAX_NDIM];
    const unsigned char *format;
    if (isles_reader_copy(&d->reader, shape, wire.ndim * sizeof(*shape)) < 0
        || isles_reader_copy(&d->reader, strides, wire.ndim * sizeof(*strides)) < 0
        || (format = isles_reader_take(&d->reader, wire.format_size)) == NULL
        || wire.format_size == 0 || format[wire.format_size - 1] != 0) {
        return malformed();
    }
    if (!wanted) {
        Py_RETURN_NONE;
    }
    struct isles_layout layout = {
        .offset = span.offset,
        .itemsize = wire.itemsize,
        .readonly = span.readonly != 0,
        .ndim = (int)wire.ndim,
        .format = (const char *)format,
        .shape = shape,
        .strides = strides,
    };
    const struct isles_state *state = state_of(d);
    struct isles_block *block = state ? block_of(d, &span) : NULL;
    return block ? isles__view_new(state, block, &layout) : NULL;
}

/* ---- pickles ---- */

#define HOOKS "isles decoder"

static PyObject *
memo_get(const struct decoder *d, uint64_t index)
{
    return index < d->defined ? Py_NewRef(d->memo[index]) : malformed();
}

static PyObject *
persistent_load(PyObject *capsule, PyObject *id)
{
    size_t index = PyLong_AsSize_t(id);
    if (!PyCapsule_IsValid(capsule, HOOKS) || (index == (size_t)-1 && PyErr_Occurred())) {
        return PyErr_Occurred() ? NULL : malformed();
    }
    return memo_get(PyCapsule_GetPointer(capsule, HOOKS), index);
}

static PyMethodDef persistent_load_def = {"persistent_load", persistent_load, METH_O, NULL};

/* A view of each buffer, in the order in which they are asked for. */
static PyObject *
get_buffers(struct decoder *d, struct isles_reader *reader)
{
    uint64_t count;
    if (isles_reader_copy(reader, &count, sizeof(count)) < 0
        || count > (uint64_t)(reader->end - reader->at) / sizeof(struct isles_span)) {
        return malformed();
    }
    PyObject *buffers = PyList_New(0);
    const struct isles_state *state = count > 0 ? state_of(d) : NULL;
    bool failed = count > 0 && state == NULL;
    for (uint64_t i = 0; i < count && buffers != NULL && !failed; i++) {
        struct isles_span span = {0};
        (void)isles_reader_copy(reader, &span, sizeof(span));
        struct isles_block *block = block_of(d, &span);
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
get_stream(struct decoder *d, PyObject **buffers, PyObject **stream)
{
    if (d->contents->stream_at == 0 || d->contents->stream_at > d->contents->size) {
        malformed();
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
open_unpickler(struct decoder *d)
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
get_place(struct decoder *d, uint64_t *offset, uint32_t *first)
{
    if (isles_wire_size(&d->reader, offset) < 0
        || isles_reader_copy(&d->reader, first, sizeof(*first)) < 0 || d->local == NULL) {
        malformed();
        return -1;
    }
    return 0;
}

static PyObject *
load(struct decoder *d, uint64_t offset, uint32_t first, PyObject *alone)
{
    if (d->load == NULL && open_unpickler(d) < 0) {
        return NULL;
    }
    return PyObject_CallFunction(d->load, "KIO", (unsigned long long)offset, (unsigned int)first,
                                 alone);
}

static RARE PyObject *
get_pickle(struct decoder *d)
{
    uint64_t offset;
    uint32_t first;
    return get_place(d, &offset, &first) < 0 ? NULL : load(d, offset, first, Py_False);
}

static RARE PyObject *
get_array(struct decoder *d)
{
    uint64_t offset;
    uint32_t first;
    if (get_place(d, &offset, &first) < 0) {
        return NULL;
    }
    const unsigned char *tag = isles_reader_take(&d->reader, 1);
    if (tag == NULL || (*tag != ISLES_TAG_VIEW && *tag != ISLES_TAG_NONE)) {
        return malformed();
    }
    PyObject *view = *tag == ISLES_TAG_VIEW ? get_view(d, d->as_views) : Py_NewRef(Py_None);
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

/* ---- isles' own ---- */

static RARE PyObject *
get_id(struct decoder *d, unsigned tag)
{
    struct isles_state *state = state_of(d);
    int64_t id;
    if (state == NULL) {
        return NULL;
    }
    if (isles_reader_copy(&d->reader, &id, sizeof(id)) < 0) {
        return malformed();
    }
    return tag == ISLES_TAG_ID ? isles__id_new(state, id) : isles__interp_new(state, id);
}

static RARE PyObject *
get_shared(struct decoder *d, unsigned tag)
{
    const struct isles_state *state = state_of(d);
    uint32_t index;
    if (state == NULL) {
        return NULL;
    }
    if (isles_reader_copy(&d->reader, &index, sizeof(index)) < 0) {
        return malformed();
    }
    bool queue = tag == ISLES_TAG_QUEUE;
    struct isles_shared *shared = get_attached(d, index, queue ? ISLES_QUEUE : ISLES_BLOCK);
    if (shared == NULL) {
        return NULL;
    }
    if (!queue) {
        return isles__shared_new(state, (struct isles_block *)shared);
    }
    isles_shared_ref(shared);
    return isles__queue_object(state, (struct isles_queue *)shared);
}

/* ---- any ---- */

static PyObject *
get_ref(struct decoder *d)
{
    uint64_t index;
    PyObject *object = isles_wire_size(&d->reader, &index) < 0 ? malformed() : memo_get(d, index);
    for (const struct unfinished *at = d->unfinished; at != NULL && object != NULL;
         at = at->around) {
        if (at->tuple == object) {
            Py_DECREF(object);
            return malformed();
        }
    }
    return object;
}

static PyObject *
get_leaf(struct decoder *d, unsigned tag)
{
    switch (tag) {
    case ISLES_TAG_NONE:
        Py_RETURN_NONE;
    case ISLES_TAG_TRUE:
        Py_RETURN_TRUE;
    case ISLES_TAG_FALSE:
        Py_RETURN_FALSE;
    case ISLES_TAG_INT8:
    case ISLES_TAG_INT32:
    case ISLES_TAG_INT64:
    case ISLES_TAG_FLOAT:
    case ISLES_TAG_COMPLEX:
        return get_number(d, tag);
    case ISLES_TAG_ASCII:
        return get_ascii(d);
    case ISLES_TAG_REF:
        return get_ref(d);
    case ISLES_TAG_STR1:
    case ISLES_TAG_STR2:
    case ISLES_TAG_STR4:
        return get_str(d, tag);
    case ISLES_TAG_INT:
    case ISLES_TAG_BYTES:
        return get_bytes(d, tag);
    case ISLES_TAG_ELLIPSIS:
        return Py_NewRef(Py_Ellipsis);
    case ISLES_TAG_NOT_IMPLEMENTED:
        return Py_NewRef(Py_NotImplemented);
    case ISLES_TAG_PICKLE:
        return get_pickle(d);
    case ISLES_TAG_ARRAY:
        return get_array(d);
    case ISLES_TAG_VIEW:
        return get_view(d, true);
    case ISLES_TAG_LENT_BYTES:
        return get_lent_bytes(d);
    case ISLES_TAG_QUEUE:
    case ISLES_TAG_SHARED:
        return get_shared(d, tag);
    case ISLES_TAG_ID:
    case ISLES_TAG_INTERPRETER:
        return get_id(d, tag);
    default:
        return malformed();
    }
}

/* Those that take their index before their items; they see to it themselves. */
static bool
is_early(unsigned tag)
{
    return tag >= ISLES_TAG_TUPLE && tag <= ISLES_TAG_DICT;
}

static PyObject *
get_container(struct decoder *d, unsigned tag, unsigned flag)
{
    switch (tag) {
    case ISLES_TAG_TUPLE:
        return get_tuple(d, flag);
    case ISLES_TAG_LIST:
        return get_list(d, flag);
    case ISLES_TAG_DICT:
        return get_dict(d, flag);
    case ISLES_TAG_SHAPE:
        return get_shape(d);
    case ISLES_TAG_RECORD:
        return get_record(d);
    case ISLES_TAG_SET:
        return get_set(d, tag, flag);
    case ISLES_TAG_FROZENSET:
        return get_set(d, tag, 0);
    default:
        return get_three(d, tag);
    }
}

static PyObject *
get(struct decoder *d)
{
    const unsigned char *at = isles_reader_take(&d->reader, 1);
    if (at == NULL) {
        return malformed();
    }
    unsigned flag = *at & ISLES_TAG_DEFINES, tag = *at & ~(unsigned)ISLES_TAG_DEFINES;
    PyObject *object;
    if (tag < ISLES_TAG_TUPLE || tag > ISLES_TAG_SLICE) {
        object = get_leaf(d, tag);
    } else {
        if (isles__nest(&d->depth, " while a value arrives") < 0) {
            return NULL;
        }
        const struct unfinished *around = d->unfinished;
        object = get_container(d, tag, flag);
        d->unfinished = around;
        isles__unnest(&d->depth);
    }
    return object != NULL && flag != 0 && !is_early(tag) && define(d, object) < 0 ? NULL : object;
}

/* ---- messages ---- */

static void
decoder_init(struct decoder *d, struct isles_local *local, const struct isles_contents *contents)
{
    size_t end = contents->stream_at ? contents->stream_at : contents->size;
    d->local = local;
    d->contents = contents;
    d->reader = (struct isles_reader){contents->data, contents->data + end};
    d->memo = d->room;
    d->memo_size = MEMO_ROOM;
    d->defined = 0;
    d->unfinished = NULL;
    d->shapes_defined = 0;
    d->depth = 0;
    d->hooks = d->load = NULL;
    d->as_views = d->no_module = false;
}

static void
decoder_fini(struct decoder *d)
{
    if (d->hooks != NULL) {
        (void)PyCapsule_SetName(d->hooks, NULL);
        Py_DECREF(d->hooks);
    }
    Py_XDECREF(d->load);
    for (size_t i = 0; i < d->defined; i++) {
        Py_DECREF(d->memo[i]);
    }
    if (d->memo != d->room) {
        PyMem_RawFree(d->memo);
    }
    for (unsigned i = 0; i < d->shapes_defined; i++) {
        Py_DECREF(d->shapes[i]);
    }
}

/* Whether to read the message once more, with views for arrays. */
static bool
wants_views(const struct decoder *d)
{
    if (d->no_module) {
        PyErr_Clear();
    }
    return d->no_module;
}

PyObject *
isles__decode(struct isles_local *local, const struct isles_contents *contents)
{
    struct decoder d;
    decoder_init(&d, local, contents);
    PyObject *object = get(&d);
    decoder_fini(&d);
    if (object == NULL && wants_views(&d)) {
        decoder_init(&d, local, contents);
        d.as_views = true;
        object = get(&d);
        decoder_fini(&d);
    }
    return object;
}

static int
get_names(struct decoder *d, struct isles_args *args, size_t count)
{
    args->names = get(d);
    if (args->names == NULL) {
        return -1;
    }
    bool good = PyTuple_CheckExact(args->names) && (size_t)PyTuple_GET_SIZE(args->names) == count;
    for (size_t i = 0; i < count && good; i++) {
        good = PyUnicode_Check(PyTuple_GET_ITEM(args->names, i));
    }
    if (!good) {
        malformed();
    }
    return good ? 0 : -1;
}

static int
get_args(struct decoder *d, struct isles_args *args)
{
    uint64_t head[2];
    if (isles_reader_copy(&d->reader, head, sizeof(head)) < 0) {
        malformed();
        return -1;
    }
    size_t count = head[0] + head[1], left = (size_t)(d->reader.end - d->reader.at);
    if (head[0] > left || head[1] > left) {
        malformed();
        return -1;
    }
    if (count > ISLES_ARGS_ON_STACK) {
        args->values = PyMem_Malloc((1 + count) * sizeof(PyObject *));
        if (args->values == NULL) {
            args->values = args->few + 1;
            PyErr_NoMemory();
            return -1;
        }
        args->values++;
    }
    if (head[1] > 0 && get_names(d, args, head[1]) < 0) {
        return -1;
    }
    PyObject *value;
    for (size_t i = 0; i < count; i++) {
        if ((value = get(d)) == NULL) {
            return -1;
        }
        args->values[i] = value;
        args->positional += i < head[0];
        args->keywords += i >= head[0];
    }
    return 0;
}

static int
decode_args(struct decoder *d, struct isles_args *args)
{
    args->values = args->few + 1;
    args->positional = args->keywords = 0;
    args->names = NULL;
    int result = get_args(d, args);
    decoder_fini(d);
    if (result < 0) {
        isles__args_fini(args);
    }
    return result;
}

int
isles__decode_args(struct isles_local *local, const struct isles_contents *contents,
                   struct isles_args *args)
{
    struct decoder d;
    decoder_init(&d, local, contents);
    int result = decode_args(&d, args);
    if (result < 0 && wants_views(&d)) {
        decoder_init(&d, local, contents);
        d.as_views = true;
        result = decode_args(&d, args);
    }
    return result;
}

void
isles__args_fini(struct isles_args *args)
{
    for (size_t i = 0; i < args->positional + args->keywords; i++) {
        Py_DECREF(args->values[i]);
    }
    Py_XDECREF(args->names);
    if (args->values != args->few + 1) {
        PyMem_Free(args->values - 1);
    }
}
