/* The code of sources that ran in an interpreter, so that it is compiled once. */
#ifndef ISLES_BINDING_SOURCES_H
#define ISLES_BINDING_SOURCES_H

#include "local.h"

/* The code object of a source of `size` bytes of UTF-8, which a NUL follows: a new reference, or
 * NULL with an exception.  In the interpreter. */
PyObject *isles__sources_code(struct isles_local *local, const char *text, Py_ssize_t size);

#endif
