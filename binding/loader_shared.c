/* Modules that all interpreters share: made by CPython the first time, then from their definitions.
 *
 * CPython calls the init function of every module, built-in ones too, in the main interpreter: with
 * a new thread state of main's, for which 3.14 and newer read the list of all mappings on the main
 * thread, and with main's GIL, for which the import waits while main is at work.  If a module
 * supports interpreters with a GIL of their own, all that the function does is to return the
 * module's definition, the same one each time.  The standard library's are known to do no more:
 * those are called here even the first time. */
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

/* ---- the standard library's ---- */

typedef PyObject *(*init_function)(void);

/* Those that may be built in and don't support a GIL of their own, in some version: their init
 * functions may do more. */
static const char *const unready[] = {"_curses",      "_curses_panel", "_suggestions", "_tkinter",
                                      "_tracemalloc", "faulthandler",  "readline"};

static init_function
find_builtin(PyObject *name)
{
    PyObject *names = PySys_GetObject("stdlib_module_names"); /* borrowed */
    if (names == NULL || !PyAnySet_Check(names) || PySet_Contains(names, name) != 1) {
        PyErr_Clear();
        return NULL;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(unready); i++) {
        if (PyUnicode_EqualToUTF8(name, unready[i])) {
            return NULL;
        }
    }
    const struct _inittab *entry = PyImport_Inittab;
    while (entry->name != NULL && !PyUnicode_EqualToUTF8(name, entry->name)) {
        entry++;
    }
    return entry->name ? entry->initfunc : NULL;
}

/* 3.15's PyModExport is left to CPython, which calls it without main. */
static init_function
find_in_file(const struct isles_import *import)
{
    void *handle = isles__copy_open(path_of(import));
    return handle != NULL && isles__init_find(import, handle, "PyModExport") == NULL
               ? isles__init_find(import, handle, "PyInit")
               : NULL;
}

/* NULL without an exception.  Two threads may write the same to a definition at once, but for a
 * number that counts for other modules only; who sees half of it gets a NULL. */
static PyModuleDef *
ask(init_function init)
{
    PyObject *result = init ? init() : NULL;
    if (result == NULL || Py_TYPE(result) != &PyModuleDef_Type) {
        Py_XDECREF(result);
        PyErr_Clear();
        return NULL;
    }
    PyModuleDef *def = (PyModuleDef *)result;
    return isles__init_supports_own_gil(def) ? def : NULL;
}

/* ---- importing ---- */

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
isles__shared_import(const struct isles_import *import, bool of_library)
{
    const struct known *known = find(import);
    PyModuleDef *def = known ? known->def : NULL;
    if (known == NULL) {
        def = ask(import->path == NULL ? find_builtin(import->name)
                  : of_library         ? find_in_file(import)
                                       : NULL);
        if (def == NULL) {
            return import_first(import);
        }
        add(import, def);
    }
    return def ? PyModule_FromDefAndSpec(def, import->spec)
               : PyObject_CallObject(import->plain, import->args);
}
