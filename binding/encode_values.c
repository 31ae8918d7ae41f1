#include "encode_parts.h"

/* Inlined into isles__put(), these would make every number save the registers that they need. */
#define RARE __attribute__((noinline))

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
put_sized(struct isles_encoder *e, unsigned tag, size_t size, const void *bytes, size_t count)
{
    unsigned char *at = isles_wire_sized(e->bytes, tag, size, count);
    if (at == NULL) {
        return isles__no_memory();
    }
    copy(at, bytes, count);
    return 0;
}

/* ---- what has identity ---- */

bool
isles__has_identity(PyObject *object)
{
    return PyDict_CheckExact(object) || PyList_CheckExact(object) || PyTuple_CheckExact(object)
           || PyAnySet_CheckExact(object) || PySlice_Check(object) || PyRange_Check(object)
           || PyMemoryView_Check(object) || PyByteArray_CheckExact(object);
}

int
isles__met_before(struct isles_encoder *e, PyObject *object, const struct isles_step *step,
                  bool early, unsigned *flag)
{
    *flag = 0;
    /* A frame may lend its argument without counting: then one root may be another one. */
    if (Py_REFCNT(object) == 1 && !(step->up == NULL && e->several)
        && !(e->careful && isles__has_identity(object))) {
        return 0;
    }
    e->careless = !e->careful;
    struct isles_memo_entry *entry = isles__memo_find(&e->memo, object);
    if (entry == NULL) {
        return -1;
    }
    if (entry->object == NULL) {
        *flag = ISLES_TAG_DEFINES;
        if (early) {
            isles__memo_enter(&e->memo, entry, object, e->memo.defined++);
        }
        return 0;
    }
    int result = entry->index == ISLES_MEMO_PICKLED
                     ? isles__put_pickle(e, object, step)
                     : isles__put_size(e, ISLES_TAG_REF, entry->index);
    return result < 0 ? -1 : 1;
}

int
isles__met_late(struct isles_encoder *e, PyObject *object, unsigned flag)
{
    if (flag == 0) {
        return 0;
    }
    struct isles_memo_entry *entry = isles__memo_find(&e->memo, object);
    if (entry == NULL) {
        return -1;
    }
    if (entry->object != NULL) {
        e->retry = ISLES_RETRY_WHOLE; /* it was inside of itself */
        return -1;
    }
    isles__memo_enter(&e->memo, entry, object, e->memo.defined++);
    return 0;
}

/* ---- leaves ---- */

static RARE int
put_big_int(struct isles_encoder *e, PyObject *object)
{
    Py_ssize_t size = PyLong_AsNativeBytes(object, NULL, 0, Py_ASNATIVEBYTES_NATIVE_ENDIAN);
    if (size < 0) {
        return -1;
    }
    unsigned char *at = isles_wire_sized(e->bytes, ISLES_TAG_INT, (size_t)size, (size_t)size);
    if (at == NULL) {
        return isles__no_memory();
    }
    return PyLong_AsNativeBytes(object, at, size, Py_ASNATIVEBYTES_NATIVE_ENDIAN) < 0 ? -1 : 0;
}

static int
put_int(struct isles_encoder *e, PyObject *object)
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
        return isles__put_fixed(e, ISLES_TAG_INT8, &tiny, sizeof(tiny));
    }
    int32_t small = (int32_t)value;
    if (small == value) {
        return isles__put_fixed(e, ISLES_TAG_INT32, &small, sizeof(small));
    }
    return isles__put_fixed(e, ISLES_TAG_INT64, &value, sizeof(value));
}

/* By its own characters, not UTF-8: lone surrogates travel too, and nothing is cached in it. */
static int
put_str(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    static const unsigned char tags[] = {0, ISLES_TAG_STR1, ISLES_TAG_STR2, 0, ISLES_TAG_STR4};
    unsigned tag = PyUnicode_IS_ASCII(object) ? ISLES_TAG_ASCII : tags[PyUnicode_KIND(object)];
    size_t length = (size_t)PyUnicode_GET_LENGTH(object);
    unsigned kind = (unsigned)PyUnicode_KIND(object), flag = 0;
    if (length > 1) { /* the shorter ones are mostly the same object everywhere */
        int met = isles__met_before(e, object, step, true, &flag);
        if (met != 0) {
            return met < 0 ? -1 : 0;
        }
    }
    return put_sized(e, tag | flag, length, PyUnicode_DATA(object), length * kind);
}

static RARE int
put_bytes(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    unsigned flag;
    int met = isles__met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(object);
    if (size >= ISLES_LENT_BYTES_LEAST && e->local != NULL) {
        return isles__put_lent_bytes(e, object, flag);
    }
    return put_sized(e, ISLES_TAG_BYTES | flag, size, PyBytes_AS_STRING(object), size);
}

static int
put_float(struct isles_encoder *e, PyObject *object)
{
    double value = PyFloat_AS_DOUBLE(object);
    return isles__put_fixed(e, ISLES_TAG_FLOAT, &value, sizeof(value));
}

static RARE int
put_complex(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    unsigned flag;
    int met = isles__met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met < 0 ? -1 : 0;
    }
    Py_complex value = PyComplex_AsCComplex(object);
    return isles__put_fixed(e, ISLES_TAG_COMPLEX | flag, &value, sizeof(value));
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
put_ints(struct isles_encoder *e, PyObject *const *items, Py_ssize_t count)
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
        return isles__no_memory();
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
put_sequence(struct isles_encoder *e, PyObject *object, unsigned tag, const struct isles_step *step)
{
    Py_ssize_t size = Py_SIZE(object), looked = 0; /* for rows of ints */
    struct isles_step here = {.up = step, .in = object};
    int result = isles__put_size(e, tag, (size_t)size);
    for (; result == 0 && here.index < size; here.index++) {
        if (Py_SIZE(object) != size) {
            return isles__refuse_changed(e, object, step);
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
        result = isles__put(e, *items, &here);
    }
    return result == 0 && Py_SIZE(object) != size ? isles__refuse_changed(e, object, step) : result;
}

static int
put_pairs(struct isles_encoder *e, PyObject *object, unsigned tag, const struct isles_step *step)
{
    Py_ssize_t size = PyDict_GET_SIZE(object), at = 0, count = 0;
    struct isles_step here = {.up = step, .in = object, .index = -1};
    PyObject *key, *value;
    int result = isles__put_size(e, tag, (size_t)size);
    while (result == 0 && PyDict_Next(object, &at, &key, &value)) {
        if (++count > size) {
            return isles__refuse_changed(e, object, step);
        }
        PyObject *held[] = {e->careful ? Py_NewRef(key) : NULL,
                            e->careful ? Py_NewRef(value) : NULL};
        here.key = NULL;
        result = isles__put(e, key, &here);
        if (result == 0) {
            here.key = key;
            result = isles__put(e, value, &here);
        }
        Py_XDECREF(held[0]);
        Py_XDECREF(held[1]);
        if (result == 0 && PyDict_GET_SIZE(object) != size) {
            return isles__refuse_changed(e, object, step);
        }
    }
    return result == 0 && count != size ? isles__refuse_changed(e, object, step) : result;
}

#define SHAPE_LEAST 3 /* keys; below that a number saves nothing */

static struct isles_shape *
shape_slot(struct isles_encoder *e, const PyObject *key, Py_ssize_t size)
{
    if (e->shapes_defined < 0) {
        e->shapes_defined = 0;
        for (size_t i = 0; i < ISLES_SHAPES_KEPT; i++) {
            e->shapes[i].size = 0;
        }
    }
    return &e->shapes[((uintptr_t)key / 32 + (size_t)size) % ISLES_SHAPES_KEPT];
}

/* Writes the tag of a dict, and what it says of the keys: all of them, or a number.  1 if the keys
 * are to be written with the values; 0; or -1. */
static int
put_keys(struct isles_encoder *e, PyObject *const *keys, Py_ssize_t size,
         const struct isles_step *here)
{
    struct isles_shape *shape = shape_slot(e, keys[0], size);
    size_t bytes = (size_t)size * sizeof(*keys);
    if (shape->size != size || memcmp(shape->keys, keys, bytes) != 0) {
        shape->size = size;
        shape->number = -1;
        memcpy(shape->keys, keys, bytes);
        return isles__put_size(e, ISLES_TAG_DICT, (size_t)size) < 0 ? -1 : 1;
    }
    if (shape->number >= 0) {
        return isles__put_size(e, ISLES_TAG_RECORD, (size_t)shape->number);
    }
    if (e->shapes_defined == ISLES_SHAPES_MAX) {
        return isles__put_size(e, ISLES_TAG_DICT, (size_t)size) < 0 ? -1 : 1;
    }
    shape->number = e->shapes_defined++;
    int result = isles__put_size(e, ISLES_TAG_SHAPE, (size_t)size);
    for (Py_ssize_t i = 0; i < size && result == 0; i++) {
        result = isles__put(e, keys[i], here);
    }
    return result;
}

/* A small dict, careless; many have the keys of one before.  1: done; 0: it isn't one with keys of
 * str; -1. */
static int
put_record(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    PyObject *keys[ISLES_SHAPE_KEYS], *values[ISLES_SHAPE_KEYS];
    Py_ssize_t size = 0;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &keys[size], &values[size]); size++) {
        if (!PyUnicode_CheckExact(keys[size])) {
            return 0;
        }
    }
    struct isles_step here = {.up = step, .in = object, .index = -1};
    int paired = put_keys(e, keys, size, &here), result = paired < 0 ? -1 : 0;
    for (Py_ssize_t i = 0; i < size && result == 0; i++) {
        result = paired ? isles__put(e, keys[i], &here) : 0;
        if (result == 0) {
            result = isles__put(e, values[i], &here);
        }
    }
    return result < 0 ? -1 : 1;
}

static int
put_dict(struct isles_encoder *e, PyObject *object, unsigned tag, const struct isles_step *step)
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
put_set(struct isles_encoder *e, PyObject *object, unsigned tag, const struct isles_step *step)
{
    Py_ssize_t size = PySet_GET_SIZE(object), count = 0;
    struct isles_step here = {.up = step, .in = object, .index = -1};
    PyObject *iterator = PyObject_GetIter(object), *item;
    int result = iterator ? isles__put_size(e, tag, (size_t)size) : -1;
    while (result == 0 && (item = PyIter_Next(iterator)) != NULL) {
        result =
            ++count > size ? isles__refuse_changed(e, object, step) : isles__put(e, item, &here);
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    if (result == 0 && (PyErr_Occurred() || count != size)) {
        PyErr_Clear();
        return isles__refuse_changed(e, object, step);
    }
    return result;
}

/* The start, stop and step of a range or slice. */
static int
put_three(struct isles_encoder *e, PyObject *object, unsigned tag, const struct isles_step *step)
{
    static const char *const names[] = {"start", "stop", "step"};
    struct isles_step here = {.up = step, .in = object};
    int result = isles__put_tag(e, tag);
    for (; here.index < 3 && result == 0; here.index++) {
        PyObject *part = PyObject_GetAttrString(object, names[here.index]);
        result = part ? isles__put(e, part, &here) : -1;
        Py_XDECREF(part);
    }
    return result;
}

typedef int putter(struct isles_encoder *, PyObject *, unsigned, const struct isles_step *);

/* A value that holds others. */
static int
put_container(struct isles_encoder *e, PyObject *object, unsigned tag,
              const struct isles_step *step, putter *content, bool early)
{
    unsigned flag;
    int met = isles__met_before(e, object, step, early, &flag);
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
        result = isles__met_late(e, object, flag);
    }
    Py_XDECREF(held);
    isles__unnest(&e->depth);
    return result;
}

/* ---- any ---- */

static RARE int
put_odd(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    if (object == Py_Ellipsis) {
        return isles__put_tag(e, ISLES_TAG_ELLIPSIS);
    }
    if (object == Py_NotImplemented) {
        return isles__put_tag(e, ISLES_TAG_NOT_IMPLEMENTED);
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
    int done = isles__become_careful(e) < 0 ? -1 : isles__put_own(e, object, step);
    if (done == 0) {
        done = isles__put_exporter(e, object, step);
    }
    return done == 0 ? isles__put_pickle(e, object, step) : done < 0 ? -1 : 0;
}

int
isles__put(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyUnicode_Type) {
        return put_str(e, object, step);
    }
    if (type == &PyLong_Type) {
        return put_int(e, object);
    }
    if (object == Py_None) {
        return isles__put_tag(e, ISLES_TAG_NONE);
    }
    if (type == &PyBool_Type) {
        return isles__put_tag(e, object == Py_True ? ISLES_TAG_TRUE : ISLES_TAG_FALSE);
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
