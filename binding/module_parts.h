/* What the files of the module share: its functions, by what they are about. */
#ifndef ISLES_BINDING_MODULE_PARTS_H
#define ISLES_BINDING_MODULE_PARTS_H

#include "state.h"

/* Each ends with an empty one. */
extern PyMethodDef isles__interp_functions[];    /* module_interps.c: interpreters, by id */
extern PyMethodDef isles__call_functions[];      /* module_calls.c: code in one, by id */
extern PyMethodDef isles__own_functions[];       /* module_own.c: what only isles/ itself calls */
extern PyMethodDef isles__shareable_functions[]; /* shareable.c */

/* The registry's entry for an id argument, as a new reference; NULL with an exception. */
struct isles_interp *isles__interp_argument(PyObject *module, PyObject *object);

#endif
