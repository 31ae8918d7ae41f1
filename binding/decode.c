#include "decode_parts.h"

#include "../core/status.h"

PyObject *
isles__malformed(void)
{
    PyErr_SetString(PyExc_ValueError, isles_status_text(ISLES_MALFORMED));
    return NULL;
}

struct isles_state *
isles__decoder_state(const struct isles_decoder *d)
{
    if (d->local == NULL) {
        isles__malformed();
        return NULL;
    }
    return isles__local_state(d->local);
}

static void
decoder_init(struct isles_decoder *d, struct isles_local *local,
             const struct isles_contents *contents)
{
    size_t end = contents->stream_at ? contents->stream_at : contents->size;
    d->local = local;
    d->contents = contents;
    d->reader = (struct isles_reader){contents->data, contents->data + end};
    d->memo = d->room;
    d->memo_size = ISLES_DECODER_ROOM;
    d->defined = 0;
    d->unfinished = NULL;
    d->shapes_defined = 0;
    d->depth = 0;
    d->hooks = d->load = NULL;
    d->as_views = d->no_module = false;
}

static void
decoder_fini(struct isles_decoder *d)
{
    if (d->hooks != NULL) {
        isles__unpickler_close(d);
    }
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
wants_views(const struct isles_decoder *d)
{
    if (d->no_module) {
        PyErr_Clear();
    }
    return d->no_module;
}

PyObject *
isles__decode(struct isles_local *local, const struct isles_contents *contents)
{
    struct isles_decoder d;
    decoder_init(&d, local, contents);
    PyObject *object = isles__get(&d);
    decoder_fini(&d);
    if (object == NULL && wants_views(&d)) {
        decoder_init(&d, local, contents);
        d.as_views = true;
        object = isles__get(&d);
        decoder_fini(&d);
    }
    return object;
}

static int
get_names(struct isles_decoder *d, struct isles_args *args, size_t count)
{
    args->names = isles__get(d);
    if (args->names == NULL) {
        return -1;
    }
    bool good = PyTuple_CheckExact(args->names) && (size_t)PyTuple_GET_SIZE(args->names) == count;
    for (size_t i = 0; i < count && good; i++) {
        good = PyUnicode_Check(PyTuple_GET_ITEM(args->names, i));
    }
    if (!good) {
        isles__malformed();
    }
    return good ? 0 : -1;
}

static int
get_args(struct isles_decoder *d, struct isles_args *args)
{
    uint64_t head[2];
    if (isles_reader_copy(&d->reader, head, sizeof(head)) < 0) {
        isles__malformed();
        return -1;
    }
    size_t count = head[0] + head[1], left = (size_t)(d->reader.end - d->reader.at);
    if (head[0] > left || head[1] > left) {
        isles__malformed();
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
        if ((value = isles__get(d)) == NULL) {
            return -1;
        }
        args->values[i] = value;
        args->positional += i < head[0];
        args->keywords += i >= head[0];
    }
    return 0;
}

static int
decode_args(struct isles_decoder *d, struct isles_args *args)
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
    struct isles_decoder d;
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
