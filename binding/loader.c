#include "loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../core/copies.h"
#include "../core/status.h"
#include "hooks.h"
#include "local.h"

/* One import of an extension module.  Python objects are the interpreter's; borrowed if not said
 * otherwise. */
struct import {
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

/* What a file on disk holds. */
enum style { SINGLE_PHASE, MULTI_PHASE };

static PyObject *
import_plainly(const struct import *import)
{
    return PyObject_CallObject(import->plain, import->args);
}

static PyObject *
import_error(const struct import *import, PyObject *message)
{
    if (message != NULL) {
        PyErr_SetImportError(message, import->name, import->file);
        Py_DECREF(message);
    }
    return NULL;
}

/* ---- errors ---- */

static const char *
remedy_for(int status)
{
    switch (status) {
    case ISLES_NO_SPACE:
        return "free some space, set ISLES_CACHE_DIR to another folder, or ISLES_CACHE=memory";
    case ISLES_READ_ONLY:
    case ISLES_UNSAFE:
    case ISLES_NO_EXEC:
        return "set ISLES_CACHE_DIR to a folder of yours, or ISLES_CACHE=memory";
    case ISLES_UNSUPPORTED:
        return "the main interpreter can import it, and those with isolated=False";
    case ISLES_TOO_MANY_FILES:
        return "close some files, or raise the limit (ulimit -n)";
    default:
        return "set ISLES_CACHE_DIR or ISLES_CACHE=memory if it is about the cache folder";
    }
}

static PyObject *
raise_fault(const struct import *import, int status, const struct isles_fault *fault)
{
    if (status == ISLES_NO_MEMORY) {
        return PyErr_NoMemory();
    }
    const char *why = fault->why          ? fault->why
                      : fault->error != 0 ? strerror(fault->error)
                                          : isles_status_text(status);
    return import_error(import,
                        PyUnicode_FromFormat("isles can't make a private copy of %R: %s: %s (%s)",
                                             import->name, fault->path, why, remedy_for(status)));
}

/* Replaces what dlerror() said by what to do. */
static PyObject *
raise_load_error(const struct import *import, const char *text)
{
    if (strstr(text, "static TLS") != NULL) {
        return import_error(
            import,
            PyUnicode_FromFormat(
                "no room for the thread-local data of one more private copy of %R: start the "
                "process with GLIBC_TUNABLES=glibc.rtld.optional_static_tls=65536 in its "
                "environment, or use fewer interpreters that import it (%s)",
                import->name, text));
    }
    return import_error(import, PyUnicode_DecodeFSDefault(text));
}

/* An init function that failed may have failed for a thing that it does not tell. */
static void
note_no_keys(void)
{
    pthread_key_t key;
    if (pthread_key_create(&key, NULL) == 0) {
        pthread_key_delete(key);
        return;
    }
    PyObject *error = PyErr_GetRaisedException();
    PyObject *done = PyObject_CallMethod(
        error, "add_note", "s",
        "The process has no thread-specific key left (there are 1024), and each private copy of an "
        "extension module may take some: use fewer interpreters that import it.");
    Py_XDECREF(done);
    PyErr_Clear();
    PyErr_SetRaisedException(error);
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
refuse(const struct import *import, PyObject *rule)
{
    const char *text = PyUnicode_AsUTF8(rule), *reason = text ? strchr(text, ':') : NULL;
    return text == NULL
               ? NULL
               : import_error(import,
                              PyUnicode_FromFormat(
                                  "%U is not to be imported in this interpreter: %s", import->name,
                                  reason ? reason + 1 : "its `extensions` deny it"));
}

/* ---- the copy ---- */

/* The interpreter's slot, taken at its first copy; -1 with an exception. */
static long
slot_of(struct isles_local *local)
{
    if (local->slot < 0) {
        unsigned slot = isles_copies_slot();
        if (isles__hooks_own(slot, local->interp) < 0) {
            return -1;
        }
        local->slot = (long)slot;
    }
    return local->slot;
}

static int
load_flags(void)
{
    PyObject *get = PySys_GetObject("getdlopenflags"); /* borrowed */
    PyObject *flags = get ? PyObject_CallNoArgs(get) : NULL;
    long value = flags ? PyLong_AsLong(flags) : -1;
    Py_XDECREF(flags);
    if (value < 0) {
        PyErr_Clear();
        value = RTLD_NOW;
    }
    /* What is loaded for all would be found by the next interpreter's copy, in the place of its
     * own. */
    return (int)value & ~RTLD_GLOBAL;
}

/* Makes the copy and loads it: a handle for good, *file the copy's path; NULL with an exception. */
static void *
load_copy(const struct import *import, const struct isles_original *original, PyObject **file)
{
    long slot = slot_of(import->local);
    if (slot < 0) {
        return NULL;
    }
    struct isles_fault fault = {0};
    char *path = NULL;
    int status;
    Py_BEGIN_ALLOW_THREADS
        status = isles_copies_make(original, (unsigned)slot, &path, &fault);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        return raise_fault(import, status, &fault);
    }
    void *handle = dlopen(path, load_flags());
    if (handle == NULL) {
        (void)raise_load_error(import, dlerror());
    } else {
        isles_copies_loaded((unsigned)slot);
        *file = PyUnicode_DecodeFSDefault(path);
        handle = *file ? handle : NULL;
    }
    free(path);
    return handle;
}

static void *
find_function(const struct import *import, void *handle, const char *prefix)
{
    char name[300];
    int size = snprintf(name, sizeof(name), "%s%s", prefix, PyBytes_AS_STRING(import->init));
    return size < (int)sizeof(name) ? dlsym(handle, name) : NULL;
}

/* ---- multi-phase ---- */

/* Py_mod_multiple_interpreters: its number, and the one that it got in 3.15. */
static bool
is_support_slot(int id)
{
    return id == 3 || id == 86;
}

static bool
supports_own_gil(const PyModuleDef *def)
{
    const PyModuleDef_Slot *slot = def->m_slots;
    for (; slot != NULL && slot->slot != 0; slot++) {
        if (is_support_slot(slot->slot)) {
            return slot->value == Py_MOD_PER_INTERPRETER_GIL_SUPPORTED;
        }
    }
    return false;
}

#if PY_VERSION_HEX >= 0x030F0000
static bool
slots_support_own_gil(const PySlot *slot)
{
    for (; slot->sl_id != 0; slot++) {
        if (is_support_slot(slot->sl_id)) {
            return slot->sl_ptr == Py_MOD_PER_INTERPRETER_GIL_SUPPORTED;
        }
    }
    return false;
}
#endif

/* ---- single-phase ---- */

static PyObject *
key_of(const struct import *import)
{
    return PyTuple_Pack(2, import->name, import->file);
}

/* As CPython: one that keeps its state in statics (m_size -1) can't be initialized twice, so the
 * second import gets what the first one had put into its dict. */
static int
remember(const struct import *import, PyObject *module, PyModuleDef *def)
{
    if (def->m_size != -1) {
        return 0;
    }
    PyObject *dict = PyDict_Copy(PyModule_GetDict(module));
    PyObject *key = key_of(import), *address = PyLong_FromVoidPtr(def);
    PyObject *both = dict && address ? PyTuple_Pack(2, dict, address) : NULL;
    int result = key && both ? PyDict_SetItem(import->local->singles, key, both) : -1;
    Py_XDECREF(dict);
    Py_XDECREF(key);
    Py_XDECREF(address);
    Py_XDECREF(both);
    return result;
}

static PyObject *
restore(const struct import *import, PyObject *both)
{
    PyModuleDef *def = PyLong_AsVoidPtr(PyTuple_GET_ITEM(both, 1));
    const char *name = PyUnicode_AsUTF8(import->name);
    PyObject *module = name ? PyImport_AddModuleRef(name) : NULL;
    if (module != NULL
        && (PyDict_Update(PyModule_GetDict(module), PyTuple_GET_ITEM(both, 0)) < 0
            || (PyState_FindModule(def) != module && PyState_AddModule(module, def) < 0))) {
        Py_CLEAR(module);
    }
    return module;
}

/* As CPython's, which knows the last part of the name only. */
static void
system_error(const struct import *import, const char *format)
{
    PyErr_Format(PyExc_SystemError, format, PyBytes_AS_STRING(import->init) + 1);
}

/* What CPython's importer does with the result of such an init function. */
static PyObject *
finish_single(const struct import *import, PyObject *module, PyObject *(*init)(void))
{
    PyModuleDef *def = PyModule_Check(module) ? PyModule_GetDef(module) : NULL;
    if (def == NULL) {
        system_error(import, "initialization of %s did not return an extension module");
        Py_DECREF(module);
        return NULL;
    }
    def->m_base.m_init = init;
    if (PyModule_AddObjectRef(module, "__file__", import->file) < 0) {
        PyErr_Clear();
    }
    if ((PyState_FindModule(def) != module && PyState_AddModule(module, def) < 0)
        || remember(import, module, def) < 0
        || PyObject_SetItem(PyImport_GetModuleDict(), import->name, module) < 0) {
        Py_CLEAR(module);
    }
    return module;
}

/* ---- running the init function ---- */

static PyObject *
checked(const struct import *import, PyObject *result)
{
    bool failed = PyErr_Occurred() != NULL;
    if (result != NULL && failed) {
        Py_CLEAR(result);
        PyObject *cause = PyErr_GetRaisedException();
        system_error(import, "initialization of %s raised unreported exception");
        PyObject *error = PyErr_GetRaisedException();
        PyException_SetCause(error, cause);
        PyErr_SetRaisedException(error);
    } else if (result == NULL && !failed) {
        system_error(import, "initialization of %s failed without raising an exception");
    } else if (result != NULL && Py_TYPE(result) == NULL) {
        result = NULL; /* a def that nobody prepared */
        system_error(import, "init function of %s returned uninitialized object");
    }
    return result;
}

/* The module of a loaded copy; *shareable instead of one if it supports own GILs and that counts.
 * NULL with an exception. */
static PyObject *
initialize(const struct import *import, void *handle, bool *shareable)
{
#if PY_VERSION_HEX >= 0x030F0000
    PySlot *(*export)(void) = find_function(import, handle, "PyModExport");
    if (export != NULL) {
        const PySlot *slots = export();
        if (slots == NULL) {
            return checked(import, NULL);
        }
        *shareable = *shareable && slots_support_own_gil(slots);
        return *shareable ? NULL : isles_module_from_slots_and_spec(slots, import->spec);
    }
#endif
    PyObject *(*init)(void) = find_function(import, handle, "PyInit");
    if (init == NULL) {
        return import_error(
            import,
            PyUnicode_FromFormat("dynamic module does not define module export function (PyInit%s)",
                                 PyBytes_AS_STRING(import->init)));
    }
    const char *name =
        PyUnicode_AsUTF8(import->name); /* lives as long as the name, which is kept */
    PyObject *result = name ? checked(import, isles__hooks_call_init(init, name)) : NULL;
    if (result == NULL || !PyObject_TypeCheck(result, &PyModuleDef_Type)) {
        *shareable = false;
        return result ? finish_single(import, result, init) : NULL;
    }
    PyModuleDef *def = (PyModuleDef *)result; /* static: nobody counts it */
    *shareable = *shareable && supports_own_gil(def);
    return *shareable ? NULL
                      : isles_module_from_def_and_spec2(def, import->spec, PYTHON_API_VERSION);
}

/* ---- one import ---- */

static enum style
style_of(const struct import *import, const struct isles_elf *elf)
{
    char name[300];
    (void)snprintf(name, sizeof(name), "PyModExport%s", PyBytes_AS_STRING(import->init));
    return isles_elf_imports(elf, "PyModuleDef_Init") || isles_elf_exports(elf, name)
               ? MULTI_PHASE
               : SINGLE_PHASE;
}

/* Names by which code gets at another module's pointers to keep them in static data, whatever it
 * declares: the headers of NumPy and what Cython generates do so.  The other module is a copy, so
 * this one has to be. */
static bool
keeps_pointers(const struct isles_original *original)
{
    return isles_original_contains(original, "_ARRAY_API")
           || isles_original_contains(original, "_UFUNC_API")
           || isles_original_contains(original, "__pyx_capi__");
}

static int
note(const struct import *import, PyObject *copy)
{
    return PyDict_SetItem(import->local->copies, import->name, copy);
}

/* CPython's own modules nearly all support own GILs: they need no copy to tell, and no cache. */
static bool
is_builtin_library(const struct import *import, const struct isles_original *original)
{
    return PyUnicode_Tailmatch(import->file, import->library, 0, PY_SSIZE_T_MAX, -1) == 1
           && style_of(import, &original->elf) == MULTI_PHASE;
}

/* `forced`: a copy, whatever the module declares. */
static PyObject *
import_copy(const struct import *import, const struct isles_original *original, bool forced)
{
    bool shareable = !forced && style_of(import, &original->elf) == MULTI_PHASE;
    if (shareable && isles_copies_is_shareable(original, PY_VERSION_HEX)) {
        return import_plainly(import);
    }
    shareable = shareable && !keeps_pointers(original);
    PyObject *file = NULL, *module = NULL;
    void *handle = load_copy(import, original, &file);
    if (handle != NULL) {
        module = initialize(import, handle, &shareable);
        if (module != NULL && note(import, file) < 0) {
            Py_CLEAR(module);
        }
        if (module == NULL && PyErr_Occurred()) {
            note_no_keys();
            shareable = false;
        }
    }
    Py_XDECREF(file);
    if (handle != NULL && shareable) {
        isles_copies_note_shareable(original, PY_VERSION_HEX);
        return import_plainly(import);
    }
    return module;
}

static PyObject *
import_privately(const struct import *import, bool forced)
{
    const char *path = PyBytes_AS_STRING(import->path);
    if (!forced && isles_copies_is_known_shareable(path)) {
        return import_plainly(import);
    }
    PyObject *key = key_of(import);
    PyObject *before = key ? PyDict_GetItemWithError(import->local->singles, key) : NULL;
    Py_XDECREF(key);
    if (before != NULL || PyErr_Occurred()) {
        return before ? restore(import, before) : NULL;
    }
    struct isles_original original;
    struct isles_fault fault = {0};
    int status = isles_original_open(&original, path, &fault);
    if (status == ISLES_NO_MEMORY || status == ISLES_TOO_MANY_FILES) {
        return raise_fault(import, status, &fault);
    }
    if (status < 0) {
        return import_plainly(import); /* which says what is wrong with the file */
    }
    PyObject *module = NULL;
    bool plainly = !forced && is_builtin_library(import, &original);
    if (plainly) {
        module = import_plainly(import);
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
import_by_rule(const struct import *import, PyObject *rules)
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

/* The interpreter's own, or NULL: it is being ended, or isles doesn't know it. */
static struct isles_local *
local_here(void)
{
    int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
    struct isles_interp *interp = isles_registry_find(id);
    struct isles_local *local = interp != NULL && !interp->over ? isles__local(interp) : NULL;
    if (interp != NULL) {
        isles_interp_unref(interp);
    }
    return local;
}

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
    struct import import = {.local = local, .name = name, .file = name};
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
    long slot = slot_of(local);
    if (slot >= 0) {
        int status;
        Py_BEGIN_ALLOW_THREADS
            status = isles_copies_make(&original, (unsigned)slot, &path, &fault);
        Py_END_ALLOW_THREADS
        copy = status < 0 ? raise_fault(&import, status, &fault) : PyUnicode_DecodeFSDefault(path);
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
    struct isles_local *local = local_here();
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

/* If it is the module _ctypes, has it open libraries so.  0 or -1. */
static int
adapt_ctypes(PyObject *name, PyObject *module, PyObject *rules)
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

/* ---- create_dynamic ---- */

/* _imp.create_dynamic(spec, file=None).  self: CPython's own, the rules, the folder of CPython's
 * own extension modules. */
static PyObject *
create_dynamic(PyObject *self, PyObject *args)
{
    struct import import = {
        .plain = PyTuple_GET_ITEM(self, 0),
        .library = PyTuple_GET_ITEM(self, 2),
        .args = args,
        .local = local_here(),
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
    if (module != NULL && adapt_ctypes(import.name, module, PyTuple_GET_ITEM(self, 1)) < 0) {
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

/* ---- modules built into Python ---- */

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
static PyObject *
create_faulthandler(PyObject *plain, PyObject *args)
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

/* _imp.create_builtin(spec).  self: as above. */
static PyObject *
create_builtin(PyObject *self, PyObject *args)
{
    struct import import = {.plain = PyTuple_GET_ITEM(self, 0), .args = args, .file = Py_None};
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
            module = create_faulthandler(import.plain, args);
        } else {
            module = import_plainly(&import);
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
    struct isles_local *local = local_here();
    if (local == NULL) {
        return PyErr_Occurred() ? NULL : PyDict_New();
    }
    return PyDict_Copy(local->copies);
}
