/* The commonest case: multi-phase, static memory, and not a word about interpreters. */
#include "traps.h"

static PyMethodDef methods[] = {
    TRAP_BUMP,
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
