/* A thread that wants to enter when its interpreter is gone, and that the end of the process waits
 * for, as with a pool of threads in a library. */
#include "traps.h"
#include <pthread.h>
#include <unistd.h>

static pthread_t thread;
static int started;

static void *
run(void *unused)
{
    usleep(200000);
    PyGILState_Release(PyGILState_Ensure());
    return NULL;
}

static PyObject *
start(PyObject *module, PyObject *unused)
{
    if (pthread_create(&thread, NULL, run, NULL)) {
        return PyErr_Format(PyExc_RuntimeError, "no thread");
    }
    started = 1;
    Py_RETURN_NONE;
}

__attribute__((destructor)) static void
join(void)
{
    if (started) {
        pthread_join(thread, NULL);
    }
}

static PyMethodDef methods[] = {
    {"start", start, METH_NOARGS, NULL},
    TRAP_BUMP,
    {NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

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
