/* Modules that all interpreters share: made by CPython the first time, then from their definitions.
 *
 * CPython calls the init function of every module, built-in ones too, in the main interpreter: with
 * a new thread state of main's, for which 3.14 and newer read the list of all mappings on the main
 * thread, and with main's GIL, for which the import waits while main is at work.  If a module
 * supports interpreters with a GIL of their own, all that the function does is to return the
 * module's definition, the same one each time. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "loader_parts.h"

struct known {
    char *name;
    char *path;       /* of its file; empty: built in */
    PyModuleDef *def; /* static data; NULL: it has none, and main isn't asked for such a module */
    struct known *next;
};

static _Atomic(struct known *) all; /* for good; others are added in front of it */

static const char *
path_of(const struct isles_import *import)
{
    return import->path ? PyBytes_AS_STRING(import->path) : "";
}

static const struct known *
find(const struct isles_import *import)
{
    const char *name = PyUnicode_AsUTF8(import->name);
    const struct known *one = atomic_load_explicit(&all, memory_order_acquire);
    if (name == NULL) {
        PyErr_Clear(); /* what UTF-8 can't hold is never known */
        return NULL;
    }
    while (one != NULL
           && !(strcmp(one->name, name) == 0 && strcmp(one->path, path_of(import)) == 0)) {
        one = one->next;
    }
    return one;
}

/* Without memory it stays unknown. */
static void
add(const struct isles_import *import, PyModuleDef *def)
{
    const char *name = PyUnicode_AsUTF8(import->name);
    struct known *one = name ? calloc(1, sizeof(*one)) : NULL;
    if (one == NULL || (one->name = strdup(name)) == NULL
        || (one->path = strdup(path_of(import))) == NULL) {
        PyErr_Clear();
        if (one != NULL) {
            free(one->name);
            free(one);
        }
        return;
    }
    one->def = def;
    one->next = atomic_load_explicit(&all, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&all, &one->next, one, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

bool
isles__shared_is_known(const struct isles_import *import)
{
    return find(import) != NULL;
}

static PyObject *
import_first(const struct isles_import *import)
{
    PyObject *module = PyObject_CallObject(import->plain, import->args);
    if (module != NULL && PyModule_Check(module)) {
        PyModuleDef *def = PyModule_GetDef(module);
        PyErr_Clear(); /* of one that has none */
        if (def == NULL || isles__init_supports_own_gil(def)) {
            add(import, def);
        }
    }
    return module;
}

PyObject *
isles__shared_import(const struct isles_import *import)
{
    const struct known *known = find(import);
    if (known == NULL) {
        return import_first(import);
    }
    return known->def ? PyModule_FromDefAndSpec(known->def, import->spec)
                      : PyObject_CallObject(import->plain, import->args);
}
