/* An extension module that is preloaded too: it makes the n-th allocation fail, once, and counts
 * what is alive.
 *
 * With PYTHONMALLOC=malloc those of Python's objects come here too. */
#include <Python.h>

#include <errno.h>
#include <execinfo.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *old);

static atomic_long left; /* 1: the next one fails; 0: none does */
/* Initial-exec: other thread-local data would be allocated when it is first used, here. */
static _Thread_local __attribute__((tls_model("initial-exec"))) int looking;
static uintptr_t code_start, code_end; /* what isles asks for itself fails: this is its code */
static uintptr_t loader_start, loader_end;
static atomic_long alive;

/* Whether isles called, or what it called, `depth` levels deep.  What CPython's interpreter loop
 * asks for is further away, and CPython does not survive all of that. */
enum { MOST_DEPTH = 4, OWN_FRAMES = 2 };

static int depth = MOST_DEPTH;

static int
asked_by_isles(void)
{
    void *frames[OWN_FRAMES + MOST_DEPTH];
    int count = backtrace(frames, OWN_FRAMES + depth);
    if (count > OWN_FRAMES && (uintptr_t)frames[OWN_FRAMES] >= loader_start
        && (uintptr_t)frames[OWN_FRAMES] < loader_end) {
        return 0; /* the process aborts where there is no memory for a thread's first thread-local
                     variable */
    }
    for (int i = OWN_FRAMES; i < count; i++) {
        if ((uintptr_t)frames[i] >= code_start && (uintptr_t)frames[i] < code_end) {
            return 1;
        }
    }
    return 0;
}

static __attribute__((noinline)) int
fails(void)
{
    if (atomic_load(&left) == 0 || looking) {
        return 0;
    }
    looking = 1; /* backtrace() may allocate */
    int ours = asked_by_isles();
    looking = 0;
    if (!ours || atomic_fetch_sub(&left, 1) != 1) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

static void *
made(void *memory)
{
    if (memory) {
        atomic_fetch_add_explicit(&alive, 1, memory_order_relaxed);
    }
    return memory;
}

void *
malloc(size_t size)
{
    return fails() ? NULL : made(__libc_malloc(size));
}

void *
calloc(size_t count, size_t size)
{
    return fails() ? NULL : made(__libc_calloc(count, size));
}

void *
realloc(void *old, size_t size)
{
    if (fails()) {
        return NULL;
    }
    void *memory = __libc_realloc(old, size);
    return old ? memory : made(memory);
}

void *
memalign(size_t alignment, size_t size)
{
    return made(__libc_memalign(alignment, size));
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int
posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *made_here = memalign(alignment, size);
    if (!made_here) {
        return ENOMEM;
    }
    *memory = made_here;
    return 0;
}

void
free(void *old)
{
    if (old) {
        atomic_fetch_sub_explicit(&alive, 1, memory_order_relaxed);
        __libc_free(old);
    }
}

static PyObject *
code(PyObject *module, PyObject *args)
{
    unsigned long long start, end, other_start, other_end;
    int levels;
    if (!PyArg_ParseTuple(args, "(KK)(KK)i", &start, &end, &other_start, &other_end, &levels)) {
        return NULL;
    }
    depth = levels < MOST_DEPTH ? levels : MOST_DEPTH;
    code_start = (uintptr_t)start;
    code_end = (uintptr_t)end;
    loader_start = (uintptr_t)other_start;
    loader_end = (uintptr_t)other_end;
    Py_RETURN_NONE;
}

static PyObject *
arm(PyObject *module, PyObject *n)
{
    long value = PyLong_AsLong(n);
    if (value == -1 && PyErr_Occurred()) {
        return NULL;
    }
    atomic_store(&left, value);
    Py_RETURN_NONE;
}

static PyObject *
disarm(PyObject *module, PyObject *unused)
{
    return PyBool_FromLong(atomic_exchange(&left, 0) <= 0);
}

static PyObject *
alive_now(PyObject *module, PyObject *unused)
{
    return PyLong_FromLong(atomic_load(&alive));
}

static PyMethodDef functions[] = {
    {"code", code, METH_VARARGS,
     "code((start, end), loader, depth): where the code lies whose allocations fail, and those of "
     "what it calls."},
    {"arm", arm, METH_O, "arm(n): let the n-th allocation from now fail."},
    {"disarm", disarm, METH_NOARGS, "Let none fail; whether one did."},
    {"alive", alive_now, METH_NOARGS, "How many allocations are alive in the process."},
    {NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "failing_malloc",
                             .m_methods = functions};

PyMODINIT_FUNC
PyInit_failing_malloc(void)
{
    return PyModuleDef_Init(&module);
}
