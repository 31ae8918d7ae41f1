/* What the files of the loader share: one import, and the steps that it takes. */
#ifndef ISLES_BINDING_LOADER_PARTS_H
#define ISLES_BINDING_LOADER_PARTS_H

#include <stdbool.h>

#include "../core/copies.h"
#include "local.h"

/* One import of an extension module.  Python objects are the interpreter's; borrowed if not said
 * otherwise. */
struct isles_import {
    PyObject *plain;   /* CPython's own create_dynamic */
    PyObject *library; /* the folder of CPython's own extension modules, with a slash */
    PyObject *args;    /* of create_dynamic */
    PyObject *spec;
    PyObject *name; /* a reference: spec.name */
    PyObject *file; /* a reference: spec.origin */
    PyObject *path; /* a reference: bytes of it */
    PyObject *init; /* a reference: bytes, what follows PyInit or PyModExport */
    struct isles_local *local;
};

/* ---- loader_copy.c ---- */

/* Sets an ImportError about it, and takes over the message, which may be NULL: then what is set
 * stays. Always gives NULL. */
PyObject *isles__import_error(const struct isles_import *import, PyObject *message);

/* Sets the exception for a status of core/copies.h.  Always gives NULL. */
PyObject *isles__import_fault(const struct isles_import *import, int status,
                              const struct isles_fault *fault);

/* The interpreter's slot, taken at its first copy; -1 with an exception. */
long isles__copy_slot(struct isles_local *local);

/* Makes the copy and loads it: a handle for good, *file the copy's path, a reference; NULL with an
 * exception. */
void *isles__copy_load(const struct isles_import *import, const struct isles_original *original,
                       PyObject **file);

/* Has the linker load a file, as CPython would, but never for all: a handle or NULL. */
void *isles__copy_open(const char *path);

/* ---- loader_init.c ---- */

/* A function of a loaded file, "PyInit" or "PyModExport" and the module's name; NULL. */
void *isles__init_find(const struct isles_import *import, void *handle, const char *prefix);

/* The module of a loaded copy; *shareable instead of one, and NULL, if it supports own GILs and
 * that counts (*shareable was true).  NULL with an exception. */
PyObject *isles__init_run(const struct isles_import *import, const struct isles_original *original,
                          void *handle, bool *shareable);

/* A single-phase module that the interpreter had before, again; NULL, perhaps with an exception. */
PyObject *isles__init_again(const struct isles_import *import);

/* Whether such a module, which has slots, supports interpreters with a GIL of their own. */
bool isles__init_supports_own_gil(const PyModuleDef *def);

/* ---- loader_shared.c ---- */

/* A module that needs no copy; made by CPython, in main, at most once in the process. `of_library`:
 * it is a file of the standard library's that has a multi-phase module.  NULL with an exception. */
PyObject *isles__shared_import(const struct isles_import *import, bool of_library);

/* Whether it was made so before: then nothing about it has to be asked. */
bool isles__shared_is_known(const struct isles_import *import);

/* ---- loader_adapt.c ---- */

/* If it is the module _ctypes, has it open copies of some libraries.  0 or -1. */
int isles__adapt_ctypes(PyObject *name, PyObject *module, PyObject *rules);

/* The module faulthandler, without what works in main only.  `plain` creates it. */
PyObject *isles__adapt_faulthandler(PyObject *plain, PyObject *args);

/* ---- loader.c ---- */

/* What isles keeps in the interpreter, or NULL: it is being ended, or isles doesn't know it; or
 * with an exception. */
struct isles_local *isles__local_here(void);

#endif
