/* What an interpreter prints: a raw file that writes whole lines at once.
 *
 * docs/design/output.md tells why. */
#ifndef ISLES_BINDING_LINES_H
#define ISLES_BINDING_LINES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Has sys.stdout and sys.stderr of the current interpreter write to the process's descriptors in
 * whole lines.  0, or -1 with an exception. */
int isles__lines_install(void);

/* _stream(target, name, encoding, errors): such a stream for another descriptor (an int), which it
 * takes over if it is none of the standard ones; or for a callable, which gets lists of lines. */
PyObject *isles__lines_stream(PyObject *module, PyObject *args);

#endif
