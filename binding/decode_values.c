#include "decode_parts.h"

#include "private.h"

/* Inlined into isles__get(), these would make every number save the registers that they need. */
#define RARE __attribute__((noinline))

/* Gives `object` the next index.  0; or -1 with MemoryError, the object dropped. */
static int
define(struct isles_decoder *d, PyObject *object)
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
get_size(struct isles_decoder *d, size_t least, Py_ssize_t *size)
{
    uint64_t count;
    /* A count beyond what is left is a lie; nothing is allocated for it. */
    if (isles_wire_size(&d->reader, &count) < 0
        || count > (uint64_t)(d->reader.end - d->reader.at) / least || count > PY_SSIZE_T_MAX) {
        isles__malformed();
        return -1;
    }
    *size = (Py_ssize_t)count;
    return 0;
}

/* ---- leaves ---- */

#define GET_NUMBER(d, type, make)                                                                  \
    do {                                                                                           \
        type value;                                                                                \
        return isles_reader_copy(&(d)->reader, &value, sizeof(value)) < 0 ? isles__malformed()     \
                                                                          : make;                  \
    } while (0)

static PyObject *
get_number(struct isles_decoder *d, unsigned tag)
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
get_ascii(struct isles_decoder *d)
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
        return isles__malformed();
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
get_str(struct isles_decoder *d, unsigned tag)
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
               : isles__malformed();
}

static RARE PyObject *
get_bytes(struct isles_decoder *d, unsigned tag)
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
get_ints(struct isles_decoder *d, PyObject *sequence, bool tuple, Py_ssize_t index, Py_ssize_t room)
{
    uint64_t row;
    d->reader.at++; /* the tag */
    if (isles_reader_copy(&d->reader, &row, sizeof(row)) < 0 || row == 0 || row > (uint64_t)room
        || row > (uint64_t)(d->reader.end - d->reader.at) / sizeof(int32_t)) {
        isles__malformed();
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
fill(struct isles_decoder *d, PyObject *sequence, Py_ssize_t size)
{
    bool tuple = PyTuple_CheckExact(sequence);
    for (Py_ssize_t i = 0, done; i < size; i += done) {
        if (d->reader.at < d->reader.end && *d->reader.at == ISLES_TAG_INTS) {
            done = get_ints(d, sequence, tuple, i, size - i);
        } else {
            done = fill_item(sequence, tuple, i, isles__get(d)) < 0 ? -1 : 1;
        }
        if (done < 0) {
            Py_DECREF(sequence);
            return NULL;
        }
    }
    return sequence;
}

static PyObject *
get_tuple(struct isles_decoder *d, unsigned flag)
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
    struct isles_unfinished here = {d->unfinished, tuple};
    d->unfinished = flag ? &here : d->unfinished;
    return fill(d, tuple, size);
}

static PyObject *
get_list(struct isles_decoder *d, unsigned flag)
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
get_dict(struct isles_decoder *d, unsigned flag)
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
        PyObject *key = isles__get(d);
        PyObject *value = key ? isles__get(d) : NULL;
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
get_values(struct isles_decoder *d, PyObject *keys)
{
    Py_ssize_t size = PyTuple_GET_SIZE(keys), got = 0;
    PyObject *values[ISLES_SHAPE_KEYS], *dict = NULL;
    assert(size > 0); /* get_shape() has seen to it */
    d->unfinished = NULL;
    while (got < size && (values[got] = isles__get(d)) != NULL) {
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
get_shape(struct isles_decoder *d)
{
    Py_ssize_t size;
    if (get_size(d, 2, &size) < 0) {
        return NULL;
    }
    if (size == 0 || size > ISLES_SHAPE_KEYS || d->shapes_defined == ISLES_SHAPES_MAX) {
        return isles__malformed();
    }
    PyObject *keys = PyTuple_New(size);
    d->unfinished = NULL;
    for (Py_ssize_t i = 0; i < size && keys != NULL; i++) {
        PyObject *key = isles__get(d);
        if (key == NULL) {
            Py_CLEAR(keys);
        } else {
            PyTuple_SET_ITEM(keys, i, key);
        }
    }
    if (keys == NULL || d->shapes_defined == ISLES_SHAPES_MAX) { /* a key may have shapes in it */
        Py_XDECREF(keys);
        return PyErr_Occurred() ? NULL : isles__malformed();
    }
    d->shapes[d->shapes_defined++] = keys;
    return get_values(d, keys);
}

static PyObject *
get_record(struct isles_decoder *d)
{
    uint64_t number;
    if (isles_wire_size(&d->reader, &number) < 0 || number >= d->shapes_defined) {
        return isles__malformed();
    }
    return get_values(d, d->shapes[number]);
}

static PyObject *
get_set(struct isles_decoder *d, unsigned tag, unsigned flag)
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
        PyObject *item = isles__get(d);
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
get_three(struct isles_decoder *d, unsigned tag)
{
    PyObject *parts[3] = {NULL}, *result = NULL;
    for (int i = 0; i < 3; i++) {
        parts[i] = isles__get(d);
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

/* ---- any ---- */

PyObject *
isles__get_defined(const struct isles_decoder *d, uint64_t index)
{
    return index < d->defined ? Py_NewRef(d->memo[index]) : isles__malformed();
}

static PyObject *
get_ref(struct isles_decoder *d)
{
    uint64_t index;
    PyObject *object =
        isles_wire_size(&d->reader, &index) < 0 ? isles__malformed() : isles__get_defined(d, index);
    for (const struct isles_unfinished *at = d->unfinished; at != NULL && object != NULL;
         at = at->around) {
        if (at->tuple == object) {
            Py_DECREF(object);
            return isles__malformed();
        }
    }
    return object;
}

static PyObject *
get_leaf(struct isles_decoder *d, unsigned tag)
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
        return isles__get_pickle(d);
    case ISLES_TAG_ARRAY:
        return isles__get_array(d);
    case ISLES_TAG_VIEW:
        return isles__get_view(d, true);
    case ISLES_TAG_LENT_BYTES:
        return isles__get_lent_bytes(d);
    case ISLES_TAG_QUEUE:
    case ISLES_TAG_SHARED:
        return isles__get_shared(d, tag);
    case ISLES_TAG_ID:
    case ISLES_TAG_INTERPRETER:
        return isles__get_id(d, tag);
    default:
        return isles__malformed();
    }
}

/* Those that take their index before their items; they see to it themselves. */
static bool
is_early(unsigned tag)
{
    return tag >= ISLES_TAG_TUPLE && tag <= ISLES_TAG_DICT;
}

static PyObject *
get_container(struct isles_decoder *d, unsigned tag, unsigned flag)
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

PyObject *
isles__get(struct isles_decoder *d)
{
    const unsigned char *at = isles_reader_take(&d->reader, 1);
    if (at == NULL) {
        return isles__malformed();
    }
    unsigned flag = *at & ISLES_TAG_DEFINES, tag = *at & ~(unsigned)ISLES_TAG_DEFINES;
    PyObject *object;
    if (tag < ISLES_TAG_TUPLE || tag > ISLES_TAG_SLICE) {
        object = get_leaf(d, tag);
    } else {
        if (isles__nest(&d->depth, " while a value arrives") < 0) {
            return NULL;
        }
        const struct isles_unfinished *around = d->unfinished;
        object = get_container(d, tag, flag);
        d->unfinished = around;
        isles__unnest(&d->depth);
    }
    return object != NULL && flag != 0 && !is_early(tag) && define(d, object) < 0 ? NULL : object;
}
