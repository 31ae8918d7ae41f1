/* Extension modules in isolated interpreters: a private copy for each where it is needed.
 * docs/design/extensions.md tells why and how. */
#ifndef ISLES_BINDING_LOADER_H
#define ISLES_BINDING_LOADER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Has the current interpreter, which is new and isolated, import extension modules this way from
 * now on.  `rules` is a dict from names of packages and modules to "private" (a copy, whatever it
 * declares), "shared" (as CPython does it) or "deny" with a reason after a colon; what it doesn't
 * name gets a copy if it doesn't support interpreters with a GIL of their own.  0 or -1. */
int isles__loader_install(PyObject *rules);

/* A new dict of the modules that are copies in the current interpreter: names to paths. */
PyObject *isles__loader_copies(void);

#endif
