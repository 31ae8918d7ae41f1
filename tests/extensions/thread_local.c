/* Thread-local data, of which each copy has its own; TRAP_ROOM bytes more, for static TLS to run
 * out. */
#include "traps.h"

static _Thread_local struct {
    long count;
    char room[TRAP_ROOM];
} mine;

static PyObject *
bump_thread(PyObject *module, PyObject *unused)
{
    mine.room[0] = 1;
    return PyLong_FromLong(++mine.count);
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"bump_thread", bump_thread, METH_NOARGS, NULL},
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
