/* libFuzzer feeds the decoder arbitrary bytes, as a value and as the arguments of a call: an
 * exception or a value, no crash, and nothing stays behind.  What decodes is encoded again: the
 * same bytes must come of it once more.
 *
 * Without what belongs to an interpreter (`local` is NULL): pickles and isles' own are malformed.
 *
 * With SEEDS=<folder> it writes there, instead, a message for each line of seeds.txt: an
 * expression, or a call for its arguments. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>

#include "../../binding/codec.h"
#include "../../core/wire.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            PyErr_Print();                                                                         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- Python's allocations, counted ---- */

static long living;

static void *
counted_malloc(void *Py_UNUSED(context), size_t size)
{
    living++;
    return malloc(size ? size : 1);
}

static void *
counted_calloc(void *Py_UNUSED(context), size_t count, size_t size)
{
    living++;
    return count && size ? calloc(count, size) : calloc(1, 1);
}

static void *
counted_realloc(void *Py_UNUSED(context), void *memory, size_t size)
{
    living += memory == NULL;
    return realloc(memory, size ? size : 1);
}

static void
counted_free(void *Py_UNUSED(context), void *memory)
{
    living -= memory != NULL;
    free(memory);
}

static void
count_allocations(void)
{
    PyMemAllocatorEx counted = {NULL, counted_malloc, counted_calloc, counted_realloc,
                                counted_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &counted);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &counted);
}

/* ---- one message ---- */

static struct isles_contents
contents_of(const uint8_t *data, size_t size)
{
    return (struct isles_contents){.data = data, .size = size};
}

/* Sets may change their order on each way. */
static bool
has_sets(const struct isles_buffer *bytes)
{
    bool found = false;
    for (size_t i = 0; i < bytes->size; i++) {
        unsigned tag = bytes->data[i] & ~(unsigned)ISLES_TAG_DEFINES;
        found = found || tag == ISLES_TAG_SET || tag == ISLES_TAG_FROZENSET;
    }
    return found;
}

static void
check_again(const struct isles_message *before, PyObject *object)
{
    struct isles_message message;
    isles_message_init(&message);
    CHECK(isles__encode(NULL, NULL, &message, object, "value") == 0);
    CHECK(has_sets(&before->bytes)
          || (message.bytes.size == before->bytes.size
              && memcmp(message.bytes.data, before->bytes.data, message.bytes.size) == 0));
    isles_message_fini(&message);
}

/* Takes over `object`. */
static void
check_round_trip(PyObject *object)
{
    struct isles_message message;
    isles_message_init(&message);
    CHECK(isles__encode(NULL, NULL, &message, object, "value") == 0);
    Py_DECREF(object);
    struct isles_contents contents = isles_message_contents(&message);
    PyObject *again = isles__decode(NULL, &contents);
    CHECK(again != NULL);
    check_again(&message, again);
    Py_DECREF(again);
    isles_message_fini(&message);
}

static void
try_value(const uint8_t *data, size_t size)
{
    struct isles_contents contents = contents_of(data, size);
    PyObject *object = isles__decode(NULL, &contents);
    CHECK((object == NULL) == (PyErr_Occurred() != NULL));
    if (object != NULL) {
        check_round_trip(object);
    }
    PyErr_Clear();
}

static PyObject *
as_tuple(const struct isles_args *args)
{
    size_t count = args->positional + args->keywords;
    PyObject *tuple = PyTuple_New((Py_ssize_t)count + 1);
    CHECK(tuple != NULL);
    PyTuple_SET_ITEM(tuple, 0, Py_NewRef(args->names ? args->names : Py_None));
    for (size_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i + 1, Py_NewRef(args->values[i]));
    }
    return tuple;
}

static void
try_args(const uint8_t *data, size_t size)
{
    struct isles_contents contents = contents_of(data, size);
    struct isles_args args;
    if (isles__decode_args(NULL, &contents, &args) == 0) {
        size_t names = args.names ? (size_t)PyTuple_GET_SIZE(args.names) : 0;
        CHECK(!PyErr_Occurred() && names == args.keywords);
        PyObject *tuple = as_tuple(&args);
        isles__args_fini(&args);
        check_round_trip(tuple);
    } else {
        CHECK(PyErr_Occurred());
    }
    PyErr_Clear();
}

/* ---- what libFuzzer calls ---- */

#define REFS_MAX 24
#define TRIES 300

/* Tuples of tuples that are shared have a hash that takes time exponential in their number. */
static bool
takes_ages(const uint8_t *data, size_t size)
{
    size_t refs = 0;
    for (size_t i = 0; i < size; i++) {
        refs += (data[i] & ~(unsigned)ISLES_TAG_DEFINES) == ISLES_TAG_REF;
    }
    return refs > REFS_MAX;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || takes_ages(data, size)) {
        return -1;
    }
    /* What CPython keeps for later it gives back after a while, and never a leak. */
    for (int i = 1; i <= TRIES; i++) {
        long before = living;
        try_value(data, size);
        try_args(data, size);
        if (i % 8 == 0) {
            PyGC_Collect();
        }
        if (living <= before) {
            return 0;
        }
    }
    fprintf(stderr, "leak\n");
    abort();
}

/* ---- seeds ---- */

#define CALL "lambda *args, **kwargs: ((*args, *kwargs.values()), tuple(kwargs))"

static void
write_file(const char *folder, int number, const struct isles_buffer *bytes)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/seed-%02d", folder, number);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK(fwrite(bytes->data, 1, bytes->size, file) == bytes->size);
    CHECK(fclose(file) == 0);
}

static void
write_seed(const char *folder, int number, PyObject *value, bool is_call)
{
    struct isles_message message;
    isles_message_init(&message);
    if (is_call) {
        PyObject *args = PyTuple_GET_ITEM(value, 0), *names = PyTuple_GET_ITEM(value, 1);
        Py_ssize_t count = PyTuple_GET_SIZE(args) - PyTuple_GET_SIZE(names);
        CHECK(isles__encode_args(NULL, NULL, &message, &PyTuple_GET_ITEM(args, 0), count, names)
              == 0);
    } else {
        CHECK(isles__encode(NULL, NULL, &message, value, "value") == 0);
    }
    write_file(folder, number, &message.bytes);
    isles_message_fini(&message);
}

static void
write_seeds(const char *folder)
{
    char line[4096];
    FILE *file = fopen("seeds.txt", "r");
    PyObject *globals = PyDict_Copy(PyEval_GetBuiltins());
    CHECK(file != NULL && globals != NULL);
    PyObject *call = PyRun_String(CALL, Py_eval_input, globals, globals);
    CHECK(call != NULL && PyDict_SetItemString(globals, "call", call) == 0);
    for (int number = 1; fgets(line, sizeof(line), file) != NULL; number++) {
        PyObject *value = PyRun_String(line, Py_eval_input, globals, globals);
        CHECK(value != NULL);
        write_seed(folder, number, value, strncmp(line, "call(", 5) == 0);
    }
    fclose(file);
}

int
LLVMFuzzerInitialize(int *Py_UNUSED(argc), char ***Py_UNUSED(argv))
{
    count_allocations();
    Py_InitializeEx(0);
    if (getenv("SEEDS") != NULL) {
        write_seeds(getenv("SEEDS"));
        exit(0);
    }
    return 0;
}
