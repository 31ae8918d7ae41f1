/* The floors that isles is measured against.
 *
 * measure(): one thread state that is kept in a fresh interpreter with its own GIL,
 * PyThreadState_Swap to it, call a Python function there, swap back. No registry, no checks, no
 * arguments, no result.
 *
 * ping_pong(): two threads without any Python wake each other by futexes.
 *
 * bench/run.py builds this file by itself; it is no part of isles.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <linux/futex.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 1000, FEW = 10 };

static double
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* In the current interpreter: a Python function that does nothing, or NULL. */
static PyObject *
make_function(void)
{
    PyObject *names = PyDict_New();
    if (names == NULL)
        return NULL;
    PyObject *f = NULL;
    PyObject *done = PyRun_String("def f(): pass", Py_file_input, names, names);
    if (done != NULL)
        f = Py_XNewRef(PyDict_GetItemString(names, "f"));
    Py_XDECREF(done);
    Py_DECREF(names);
    return f;
}

static double
time_switch(PyThreadState *home, PyThreadState *there, long n)
{
    double start = now_ns();
    for (long i = 0; i < n; i++) {
        PyThreadState_Swap(there);
        PyThreadState_Swap(home);
    }
    return (now_ns() - start) / (double)n;
}

/* Negative if a call failed. */
static double
time_call(PyThreadState *home, PyThreadState *there, PyObject *f, long n)
{
    int failed = 0;
    double start = now_ns();
    for (long i = 0; i < n; i++) {
        PyThreadState_Swap(there);
        PyObject *result = PyObject_CallNoArgs(f);
        failed |= result == NULL;
        Py_XDECREF(result);
        PyThreadState_Swap(home);
    }
    return failed ? -1 : (now_ns() - start) / (double)n;
}

static PyObject *
measure(PyObject *Py_UNUSED(module), PyObject *arg)
{
    long n = PyLong_AsLong(arg);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    if (n < 1)
        return PyErr_Format(PyExc_ValueError, "n must be at least 1, not %ld", n);

    const PyInterpreterConfig config = {
        .check_multi_interp_extensions = 1,
        .allow_threads = 1,
        .gil = PyInterpreterConfig_OWN_GIL,
    };
    PyThreadState *home = PyThreadState_Get();
    PyThreadState *there = NULL;
    PyStatus status = Py_NewInterpreterFromConfig(&there, &config);
    if (PyStatus_Exception(status)) {
        PyThreadState_Swap(home);
        return PyErr_Format(PyExc_RuntimeError, "no new interpreter: %s", status.err_msg);
    }

    double switch_ns = -1, call_ns = -1;
    PyObject *f = make_function();
    PyThreadState_Swap(home);
    if (f != NULL) {
        time_switch(home, there, WARM_UP);
        time_call(home, there, f, WARM_UP);
        switch_ns = time_switch(home, there, n);
        call_ns = time_call(home, there, f, n);
    }

    PyThreadState_Swap(there);
    Py_XDECREF(f);
    PyErr_Clear();
    Py_EndInterpreter(there);
    PyThreadState_Swap(home);
    if (call_ns < 0)
        return PyErr_Format(PyExc_RuntimeError, "the bare call failed");
    return Py_BuildValue("dd", switch_ns, call_ns);
}

struct words {
    alignas(64) atomic_uint ping;
    alignas(64) atomic_uint pong;
    unsigned rounds;
};

static void
say(atomic_uint *word, unsigned value)
{
    atomic_store(word, value);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void
await(atomic_uint *word, unsigned value)
{
    while (atomic_load(word) != value)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value - 1, NULL, NULL, 0);
}

static void *
answer(void *arg)
{
    struct words *words = arg;
    for (unsigned i = 1; i <= words->rounds; i++) {
        await(&words->ping, i);
        say(&words->pong, i);
    }
    return NULL;
}

static void
play(struct words *words, unsigned from, unsigned to)
{
    for (unsigned i = from; i <= to; i++) {
        say(&words->ping, i);
        await(&words->pong, i);
    }
}

static PyObject *
ping_pong(PyObject *Py_UNUSED(module), PyObject *arg)
{
    long n = PyLong_AsLong(arg);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    if (n < 1 || n > 1000000)
        return PyErr_Format(PyExc_ValueError, "n must be from 1 to 1,000,000, not %ld", n);

    struct words words = {.rounds = FEW + (unsigned)n};
    pthread_t thread;
    if (pthread_create(&thread, NULL, answer, &words) != 0)
        return PyErr_NoMemory();
    double ns;
    Py_BEGIN_ALLOW_THREADS
        play(&words, 1, FEW);
        ns = now_ns();
        play(&words, FEW + 1, words.rounds);
        ns = now_ns() - ns;
        pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS
    return PyFloat_FromDouble(ns / (double)n);
}

static PyMethodDef methods[] = {
    {"measure", measure, METH_O,
     "measure(n) -> (ns of switch and back, ns of switch, call and back)"},
    {"ping_pong", ping_pong, METH_O, "ping_pong(n) -> ns of a futex there and back, of n"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "bare",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_bare(void)
{
    return PyModuleDef_Init(&definition);
}
