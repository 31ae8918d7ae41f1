#include "loader.h"

#include <stdio.h>
#include <string.h>

#include "../core/copies.h"
#include "../core/registry.h"
#include "../core/status.h"
#include "hooks.h"
#include "loader_parts.h"

/* What a file on disk holds. */
enum style { SINGLE_PHASE, MULTI_PHASE };

static PyObject *
import_plainly(const struct isles_import *import)
{
    return PyObject_CallObject(import->plain, import->args);
}

/* ---- rules ---- */

/* The rule for a module or the innermost of its packages that has one, borrowed; NULL, perhaps with
 * an exception. */
static PyObject *
rule_of(PyObject *rules, PyObject *name)
{
    PyObject *part = Py_NewRef(name), *rule = NULL;
    for (;;) {
        rule = PyDict_GetItemWithError(rules, part);
        Py_ssize_t dot = -1;
        if (rule == NULL && !PyErr_Occurred()) {
            dot = PyUnicode_FindChar(part, '.', 0, PyUnicode_GET_LENGTH(part), -1);
        }
        if (dot < 0) {
            break;
        }
        Py_SETREF(part, PyUnicode_Substring(part, 0, dot));
        if (part == NULL) {
            return NULL;
        }
    }
    Py_DECREF(part);
    return rule;
}

static PyObject *
refuse(const struct isles_import *import, PyObject *rule)
{
    const char *text = PyUnicode_AsUTF8(rule), *reason = text ? strchr(text, ':') : NULL;
    return text == NULL
               ? NULL
               : isles__import_error(import, PyUnicode_FromFormat(
                                                 "%U is not to be imported in this interpreter: %s",
                                                 import->name,
                                                 reason ? reason + 1 : "its `extensions` deny it"));
}

/* ---- one import ---- */

static enum style
style_of(const struct isles_import *import, const struct isles_elf *elf)
{
    char name[300];
    (void)snprintf(name, sizeof(name), "PyModExport%s", PyBytes_AS_STRING(import->init));
    return isles_elf_imports(elf, "PyModuleDef_Init") || isles_elf_exports(elf, name)
               ? MULTI_PHASE
               : SINGLE_PHASE;
}

static int
note(const struct isles_import *import, PyObject *copy)
{
    return PyDict_SetItem(import->local->copies, import->name, copy);
}

/* CPython's own modules nearly all support own GILs: they need no copy to tell, and no cache. */
static bool
is_builtin_library(const struct isles_import *import, const struct isles_original *original)
{
    return PyUnicode_Tailmatch(import->file, import->library, 0, PY_SSIZE_T_MAX, -1) == 1
           && style_of(import, &original->elf) == MULTI_PHASE;
}

/* `forced`: a copy, whatever the module declares. */
static PyObject *
import_copy(const struct isles_import *import, const struct isles_original *original, bool forced)
{
    bool shareable = !forced && style_of(import, &original->elf) == MULTI_PHASE;
    if (shareable && isles_copies_is_shareable(original, PY_VERSION_HEX)) {
        return isles__shared_import(import, false);
    }
    PyObject *file = NULL, *module = NULL;
    void *handle = isles__copy_load(import, original, &file);
    if (handle != NULL) {
        module = isles__init_run(import, original, handle, &shareable);
        if (module != NULL && note(import, file) < 0) {
            Py_CLEAR(module);
        }
        shareable = shareable && !PyErr_Occurred();
    }
    Py_XDECREF(file);
    if (handle != NULL && shareable) {
        isles_copies_note_shareable(original, PY_VERSION_HEX);
        return isles__shared_import(import, false);
    }
    return module;
}

static PyObject *
import_privately(const struct isles_import *import, bool forced)
{
    const char *path = PyBytes_AS_STRING(import->path);
    if (!forced && isles__shared_is_known(import)) {
        return isles__shared_import(import, false);
    }
    PyObject *again = isles__init_again(import);
    if (again != NULL || PyErr_Occurred()) {
        return again;
    }
    struct isles_original original;
    struct isles_fault fault = {0};
    int status = isles_original_open(&original, path, &fault);
    if (status == ISLES_NO_MEMORY || status == ISLES_TOO_MANY_FILES) {
        return isles__import_fault(import, status, &fault);
    }
    if (status < 0) {
        return import_plainly(import); /* which says what is wrong with the file */
    }
    PyObject *module = NULL;
    bool plainly = !forced && is_builtin_library(import, &original);
    if (plainly) {
        module = isles__shared_import(import, true);
        if (module == NULL && PyErr_ExceptionMatches(PyExc_ImportError)) {
            PyErr_Clear();
            plainly = false;
        }
    }
    if (!plainly) {
        module = import_copy(import, &original, forced);
    }
    isles_original_close(&original);
    return module;
}

static PyObject *
import_by_rule(const struct isles_import *import, PyObject *rules)
{
    if (PyUnicode_EqualToUTF8(import->name, "isles._interpreters")) {
        return import_plainly(import); /* what isles keeps in statics is the process's */
    }
    PyObject *rule = rule_of(rules, import->name);
    if (rule == NULL) {
        return PyErr_Occurred() ? NULL : import_privately(import, false);
    }
    if (PyUnicode_EqualToUTF8(rule, "shared")) {
        return import_plainly(import);
    }
    return PyUnicode_EqualToUTF8(rule, "private") ? import_privately(import, true)
                                                  : refuse(import, rule);
}

/* What follows PyInit in the name of the init function: "_name", or "U_" and punycode. */
static PyObject *
init_suffix(PyObject *name)
{
    Py_ssize_t size = PyUnicode_GET_LENGTH(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, size, -1);
    PyObject *last = PyUnicode_Substring(name, dot + 1, size);
    bool plain = last != NULL && PyUnicode_IS_ASCII(last);
    PyObject *bytes =
        last ? PyUnicode_AsEncodedString(last, plain ? "ascii" : "punycode", NULL) : NULL;
    PyObject *suffix =
        bytes ? PyBytes_FromFormat("%s%s", plain ? "_" : "U_", PyBytes_AS_STRING(bytes)) : NULL;
    for (char *c = suffix ? PyBytes_AS_STRING(suffix) : ""; *c != 0; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    Py_XDECREF(last);
    Py_XDECREF(bytes);
    return suffix;
}

struct isles_local *
isles__local_here(void)
{
    int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
    struct isles_interp *interp = isles_registry_find(id);
    struct isles_local *local = interp != NULL && !interp->over ? isles__local(interp) : NULL;
    if (interp != NULL) {
        isles_interp_unref(interp);
    }
    return local;
}

/* ---- create_dynamic ---- */

/* _imp.create_dynamic(spec, file=None).  self: CPython's own, the rules, the folder of CPython's
 * own extension modules. */
static PyObject *
create_dynamic(PyObject *self, PyObject *args)
{
    struct isles_import import = {
        .plain = PyTuple_GET_ITEM(self, 0),
        .library = PyTuple_GET_ITEM(self, 2),
        .args = args,
        .local = isles__local_here(),
    };
    PyObject *file = NULL, *module = NULL;
    if (import.local == NULL) {
        return PyErr_Occurred() ? NULL : import_plainly(&import);
    }
    if (!PyArg_ParseTuple(args, "O|O:create_dynamic", &import.spec, &file)) {
        return NULL;
    }
    import.name = PyObject_GetAttrString(import.spec, "name");
    import.file = import.name ? PyObject_GetAttrString(import.spec, "origin") : NULL;
    if (import.file != NULL && PyUnicode_Check(import.name)
        && PyUnicode_FSConverter(import.file, &import.path)) {
        import.init = init_suffix(import.name);
    } else if (import.file != NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "the name of a module's spec must be a str");
    }
    if (import.init != NULL) {
        module = import_by_rule(&import, PyTuple_GET_ITEM(self, 1));
    }
    if (module != NULL && isles__adapt_ctypes(import.name, module, PyTuple_GET_ITEM(self, 1)) < 0) {
        Py_CLEAR(module);
    }
    Py_XDECREF(import.name);
    Py_XDECREF(import.file);
    Py_XDECREF(import.path);
    Py_XDECREF(import.init);
    return module;
}

static PyMethodDef create_dynamic_method = {
    "create_dynamic", create_dynamic, METH_VARARGS,
    "Create an extension module; a private copy where it needs one (isles)."};

/* ---- create_builtin ---- */

/* _imp.create_builtin(spec).  self: as above. */
static PyObject *
create_builtin(PyObject *self, PyObject *args)
{
    struct isles_import import = {
        .plain = PyTuple_GET_ITEM(self, 0), .args = args, .file = Py_None};
    if (!PyArg_ParseTuple(args, "O:create_builtin", &import.spec)) {
        return NULL;
    }
    import.name = PyObject_GetAttrString(import.spec, "name");
    PyObject *rule = NULL, *module = NULL;
    if (import.name != NULL && PyUnicode_Check(import.name)) {
        rule = rule_of(PyTuple_GET_ITEM(self, 1), import.name);
    }
    const char *text = rule ? PyUnicode_AsUTF8(rule) : "";
    if (!PyErr_Occurred()) {
        if (strncmp(text, "deny", 4) == 0) {
            module = refuse(&import, rule);
        } else if (PyUnicode_Check(import.name)
                   && PyUnicode_EqualToUTF8(import.name, "faulthandler")
                   && strcmp(text, "shared") != 0) {
            module = isles__adapt_faulthandler(import.plain, args);
        } else {
            module = rule ? import_plainly(&import) : isles__shared_import(&import, true);
        }
    }
    Py_XDECREF(import.name);
    return module;
}

static PyMethodDef create_builtin_method = {"create_builtin", create_builtin, METH_VARARGS,
                                            "Create a module that is built into Python (isles)."};

/* ---- in place of _imp's functions ---- */

static PyObject *
own_library(void)
{
    PyObject *prefix = PySys_GetObject("base_exec_prefix"), *lib = PySys_GetObject("platlibdir");
    if (prefix == NULL || lib == NULL) {  /* borrowed */
        return PyUnicode_FromString("?"); /* no path begins so */
    }
    return PyUnicode_FromFormat("%S/%S/python%d.%d/lib-dynload/", prefix, lib, PY_MAJOR_VERSION,
                                PY_MINOR_VERSION);
}

/* Puts a function in the place of one of _imp's, which importlib looks up each time; its self
 * begins with that one. */
static int
replace(PyMethodDef *method, PyObject *rules, PyObject *library)
{
    PyObject *imp = PyImport_ImportModule("_imp");
    PyObject *plain = imp ? PyObject_GetAttrString(imp, method->ml_name) : NULL;
    PyObject *self = plain ? PyTuple_Pack(3, plain, rules, library) : NULL;
    PyObject *own = self ? PyCFunction_New(method, self) : NULL;
    int result = own ? PyObject_SetAttrString(imp, method->ml_name, own) : -1;
    Py_XDECREF(imp);
    Py_XDECREF(plain);
    Py_XDECREF(self);
    Py_XDECREF(own);
    return result;
}

int
isles__loader_install(PyObject *rules)
{
    PyObject *library = isles__hooks_init() == 0 ? own_library() : NULL;
    int result = library && replace(&create_dynamic_method, rules, library) == 0
                         && replace(&create_builtin_method, rules, library) == 0
                     ? 0
                     : -1;
    Py_XDECREF(library);
    return result;
}

PyObject *
isles__loader_copies(void)
{
    struct isles_local *local = isles__local_here();
    if (local == NULL) {
        return PyErr_Occurred() ? NULL : PyDict_New();
    }
    return PyDict_Copy(local->copies);
}
