/* Modules of CPython's own that are not as they should be for isolated interpreters. */
#include <string.h>

#include "hooks.h"
#include "loader_parts.h"

/* ---- libraries that are opened by ctypes ---- */

/* Those that keep what they are told about an interpreter in static data, each with its package. */
static const struct {
    const char *package;
    const char *file;
} private_libraries[] = {
    {"llvmlite", "/libllvmlite.so"}, /* addresses of Numba's functions and objects */
};

/* 1, 0 or -1 with an exception. */
static int
is_private_library(PyObject *rules, PyObject *name)
{
    for (size_t i = 0; i < sizeof(private_libraries) / sizeof(private_libraries[0]); i++) {
        PyObject *file = PyUnicode_FromString(private_libraries[i].file);
        Py_ssize_t ends = file ? PyUnicode_Tailmatch(name, file, 0, PY_SSIZE_T_MAX, 1) : -1;
        Py_XDECREF(file);
        if (ends != 0) {
            PyObject *rule =
                ends > 0 ? PyDict_GetItemString(rules, private_libraries[i].package) : NULL;
            return ends < 0 ? -1 : rule != NULL && PyUnicode_EqualToUTF8(rule, "shared") ? 0 : 1;
        }
    }
    return 0;
}

/* The path of this interpreter's copy, a new reference; `name` itself for what can't be read. */
static PyObject *
library_copy(struct isles_local *local, PyObject *name)
{
    struct isles_import import = {.local = local, .name = name, .file = name};
    struct isles_original original;
    struct isles_fault fault = {0};
    PyObject *bytes, *copy = NULL;
    if (!PyUnicode_FSConverter(name, &bytes)) {
        return NULL;
    }
    if (isles_original_open(&original, PyBytes_AS_STRING(bytes), &fault) < 0) {
        Py_DECREF(bytes);
        return Py_NewRef(name);
    }
    char *path = NULL;
    long slot = isles__copy_slot(local);
    if (slot >= 0) {
        int status;
        Py_BEGIN_ALLOW_THREADS
            status = isles_copies_make(&original, (unsigned)slot, &path, &fault);
        Py_END_ALLOW_THREADS
        copy = status < 0 ? isles__import_fault(&import, status, &fault)
                          : PyUnicode_DecodeFSDefault(path);
    }
    free(path);
    isles_original_close(&original);
    Py_DECREF(bytes);
    return copy;
}

/* _ctypes.dlopen(name, flags).  self: CPython's own, the rules. */
static PyObject *
open_library(PyObject *self, PyObject *args)
{
    PyObject *plain = PyTuple_GET_ITEM(self, 0), *rules = PyTuple_GET_ITEM(self, 1);
    PyObject *name = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : Py_None;
    struct isles_local *local = isles__local_here();
    int private = local && PyUnicode_Check(name) ? is_private_library(rules, name) : 0;
    if (private < 0 || PyErr_Occurred()) {
        return NULL;
    }
    if (!private) {
        return PyObject_CallObject(plain, args);
    }
    PyObject *path = library_copy(local, name);
    PyObject *rest = path ? PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args)) : NULL;
    PyObject *first = rest ? PyTuple_Pack(1, path) : NULL;
    PyObject *both = first ? PySequence_Concat(first, rest) : NULL;
    PyObject *handle = both ? PyObject_CallObject(plain, both) : NULL;
    if (handle != NULL && local->slot >= 0) {
        isles_copies_loaded((unsigned)local->slot);
    }
    Py_XDECREF(path);
    Py_XDECREF(rest);
    Py_XDECREF(first);
    Py_XDECREF(both);
    return handle;
}

static PyMethodDef open_library_method = {"dlopen", open_library, METH_VARARGS,
                                          "Open a shared library; a private copy of some (isles)."};

int
isles__adapt_ctypes(PyObject *name, PyObject *module, PyObject *rules)
{
    if (!PyUnicode_EqualToUTF8(name, "_ctypes")) {
        return 0;
    }
    PyObject *plain = PyObject_GetAttrString(module, "dlopen");
    PyObject *self = plain ? PyTuple_Pack(2, plain, rules) : NULL;
    PyObject *own = self ? PyCFunction_New(&open_library_method, self) : NULL;
    int result = own ? PyObject_SetAttrString(module, "dlopen", own) : -1;
    Py_XDECREF(plain);
    Py_XDECREF(self);
    Py_XDECREF(own);
    return result;
}

/* ---- faulthandler ---- */

static PyObject *
refuse_call(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyErr_SetString(PyExc_RuntimeError,
                    "faulthandler is the process's: this works in the main interpreter only");
    return NULL;
}

static PyMethodDef refused_method = {"refused", (PyCFunction)(void (*)(void))refuse_call,
                                     METH_VARARGS | METH_KEYWORDS, NULL};

/* CPython refuses it, and packages (joblib) import it without using it.  What of it has the process
 * keep objects would crash when the interpreter ends. */
PyObject *
isles__adapt_faulthandler(PyObject *plain, PyObject *args)
{
    static const char *const names[] = {"enable",
                                        "disable",
                                        "register",
                                        "unregister",
                                        "dump_traceback_later",
                                        "cancel_dump_traceback_later"};
    isles__hooks_override_check(-1);
    PyObject *module = PyObject_CallObject(plain, args);
    isles__hooks_override_check(0);
    PyObject *refused = module ? PyCFunction_New(&refused_method, NULL) : NULL;
    for (size_t i = 0; refused != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (PyObject_SetAttrString(module, names[i], refused) < 0) {
            Py_CLEAR(refused);
        }
    }
    if (refused == NULL) {
        Py_CLEAR(module);
    }
    Py_XDECREF(refused);
    return module;
}
