/* Two modules in one file, one multi-phase and one single-phase: both use the same static memory.
 */
#include "traps.h"

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef first = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pair",
    .m_methods = methods,
    .m_slots = slots,
};

static struct PyModuleDef second = {
    PyModuleDef_HEAD_INIT,
    .m_name = "second",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_pair(void)
{
    return PyModuleDef_Init(&first);
}

PyMODINIT_FUNC
PyInit_second(void)
{
    return PyModule_Create(&second);
}
