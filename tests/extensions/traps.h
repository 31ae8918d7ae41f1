/* What the modules here share.  The build defines TRAP_NAME (a string) and TRAP_INIT. */
#ifndef TRAPS_H
#define TRAPS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Static memory that every module has: how far it counted shows who shares it. */
static long trap_count;

static PyObject *
trap_bump(PyObject *module, PyObject *unused)
{
    return PyLong_FromLong(__atomic_add_fetch(&trap_count, 1, __ATOMIC_RELAXED));
}

#define TRAP_BUMP {"bump", trap_bump, METH_NOARGS, NULL}

#endif
