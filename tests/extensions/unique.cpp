// C++ data that the dynamic linker makes one of in the process (STB_GNU_UNIQUE), copies or not.
#include "traps.h"

inline long inline_count;

template <class T> struct Holder {
    static long count;
};

template <class T> long Holder<T>::count;

inline long &
local_count()
{
    static long count;
    return count;
}

static PyObject *
bump_inline(PyObject *, PyObject *)
{
    return PyLong_FromLong(++inline_count);
}

static PyObject *
bump_template(PyObject *, PyObject *)
{
    return PyLong_FromLong(++Holder<int>::count);
}

static PyObject *
bump_local(PyObject *, PyObject *)
{
    return PyLong_FromLong(++local_count());
}

static PyMethodDef methods[] = {
    TRAP_BUMP,
    {"bump_inline", bump_inline, METH_NOARGS, nullptr},
    {"bump_template", bump_template, METH_NOARGS, nullptr},
    {"bump_local", bump_local, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

static PyModuleDef_Slot slots[] = {
    {0, nullptr},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, TRAP_NAME, nullptr, 0, methods, slots, nullptr, nullptr, nullptr,
};

PyMODINIT_FUNC
TRAP_INIT(void)
{
    return PyModuleDef_Init(&definition);
}
