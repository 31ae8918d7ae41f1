/* Calls from threads of its own: PyGILState_Ensure has to find the interpreter of this copy. */
#include "traps.h"
#include <pthread.h>

struct job {
    struct job *next;
    pthread_t thread;
    PyObject *callable;
    long times;
};

static struct job *jobs;
static int stopped;

static void
call(PyObject *callable)
{
    PyObject *result = PyObject_CallNoArgs(callable);
    if (!result) {
        PyErr_WriteUnraisable(callable);
    }
    Py_XDECREF(result);
}

static void *
run(void *arg)
{
    struct job *job = arg;
    while (!__atomic_load_n(&stopped, __ATOMIC_RELAXED) && job->times--) {
        PyGILState_STATE outer = PyGILState_Ensure();
        PyGILState_STATE inner = PyGILState_Ensure();
        call(job->callable);
        PyGILState_Release(inner);
        if (!job->times) {
            Py_CLEAR(job->callable);
        }
        PyGILState_Release(outer);
    }
    return NULL;
}

/* start(callable, times=1): in a new thread. */
static PyObject *
start(PyObject *module, PyObject *args)
{
    PyObject *callable;
    long times = 1;
    if (!PyArg_ParseTuple(args, "O|l", &callable, &times)) {
        return NULL;
    }
    struct job *job = PyMem_RawMalloc(sizeof(*job));
    if (!job) {
        return PyErr_NoMemory();
    }
    *job = (struct job){.next = jobs, .callable = Py_NewRef(callable), .times = times};
    if (pthread_create(&job->thread, NULL, run, job)) {
        Py_DECREF(callable);
        PyMem_RawFree(job);
        return PyErr_Format(PyExc_RuntimeError, "no thread");
    }
    jobs = job;
    Py_RETURN_NONE;
}

/* Wait for all threads. */
static PyObject *
join(PyObject *module, PyObject *unused)
{
    struct job *job;
    while ((job = jobs)) {
        jobs = job->next;
        Py_BEGIN_ALLOW_THREADS
            pthread_join(job->thread, NULL);
        Py_END_ALLOW_THREADS
        Py_XDECREF(job->callable);
        PyMem_RawFree(job);
    }
    Py_RETURN_NONE;
}

/* Have all threads end after the call that they are at, and wait for them. */
static PyObject *
stop(PyObject *module, PyObject *unused)
{
    __atomic_store_n(&stopped, 1, __ATOMIC_RELAXED);
    return join(module, unused);
}

/* The same on the calling thread, which already has a thread state. */
static PyObject *
call_here(PyObject *module, PyObject *callable)
{
    PyThreadState *saved = PyEval_SaveThread();
    PyGILState_STATE state = PyGILState_Ensure();
    call(callable);
    PyGILState_Release(state);
    PyEval_RestoreThread(saved);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"start", start, METH_VARARGS, NULL},
    {"join", join, METH_NOARGS, NULL},
    {"stop", stop, METH_NOARGS, NULL},
    {"call_here", call_here, METH_O, NULL},
    {NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = TRAP_NAME,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
TRAP_INIT(void)
{
    return PyModuleDef_Init(&definition);
}
