/* Running the init function of a private copy: what CPython's importer does, by public functions.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "hooks.h"
#include "loader_parts.h"

void *
isles__init_find(const struct isles_import *import, void *handle, const char *prefix)
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

bool
isles__init_supports_own_gil(const PyModuleDef *def)
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

/* ---- single-phase ---- */

static PyObject *
key_of(const struct isles_import *import)
{
    return PyTuple_Pack(2, import->name, import->file);
}

/* As CPython: one that keeps its state in statics (m_size -1) can't be initialized twice, so the
 * second import gets what the first one had put into its dict. */
static int
remember(const struct isles_import *import, PyObject *module, PyModuleDef *def)
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

PyObject *
isles__init_again(const struct isles_import *import)
{
    PyObject *key = key_of(import);
    PyObject *both =
        key ? PyDict_GetItemWithError(import->local->singles, key) : NULL; /* borrowed */
    Py_XDECREF(key);
    if (both == NULL) {
        return NULL;
    }
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
system_error(const struct isles_import *import, const char *format)
{
    PyErr_Format(PyExc_SystemError, format, PyBytes_AS_STRING(import->init) + 1);
}

/* What CPython's importer does with the result of such an init function. */
static PyObject *
finish_single(const struct isles_import *import, PyObject *module, PyObject *(*init)(void))
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
checked(const struct isles_import *import, PyObject *result)
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

static PyObject *
initialize(const struct isles_import *import, const struct isles_original *original, void *handle,
           bool *shareable)
{
#if PY_VERSION_HEX >= 0x030F0000
    PySlot *(*export)(void) = isles__init_find(import, handle, "PyModExport");
    if (export != NULL) {
        const PySlot *slots = export();
        if (slots == NULL) {
            return checked(import, NULL);
        }
        *shareable = *shareable && slots_support_own_gil(slots) && !keeps_pointers(original);
        return *shareable ? NULL : isles_module_from_slots_and_spec(slots, import->spec);
    }
#endif
    PyObject *(*init)(void) = isles__init_find(import, handle, "PyInit");
    if (init == NULL) {
        return isles__import_error(
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
    *shareable = *shareable && isles__init_supports_own_gil(def) && !keeps_pointers(original);
    return *shareable ? NULL
                      : isles_module_from_def_and_spec2(def, import->spec, PYTHON_API_VERSION);
}

/* An init function that failed may have failed for a thing that it does not tell. */
static void
note_no_keys_left(void)
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

PyObject *
isles__init_run(const struct isles_import *import, const struct isles_original *original,
                void *handle, bool *shareable)
{
    PyObject *module = initialize(import, original, handle, shareable);
    if (module == NULL && PyErr_Occurred()) {
        note_no_keys_left();
    }
    return module;
}
