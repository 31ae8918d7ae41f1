/* Py_AddPendingCall from a thread that Python doesn't know, as greenlet does when a thread ends. */
#include "traps.h"
#include <pthread.h>

static int
call(void *callable)
{
    PyObject *result = PyObject_CallNoArgs(callable);
    Py_DECREF(callable);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static void *
run(void *callable)
{
    return Py_AddPendingCall(call, callable) < 0 ? callable : NULL;
}

/* later(callable): has it called soon, by whichever thread. */
static PyObject *
later(PyObject *module, PyObject *callable)
{
    pthread_t thread;
    void *failed = NULL;
    if (pthread_create(&thread, NULL, run, Py_NewRef(callable))) {
        return PyErr_Format(PyExc_RuntimeError, "no thread");
    }
    Py_BEGIN_ALLOW_THREADS
        pthread_join(thread, &failed);
    Py_END_ALLOW_THREADS
    if (failed) {
        return PyErr_Format(PyExc_RuntimeError, "too many");
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"later", later, METH_O, NULL},
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
