/* Making and loading a private copy, and what can go wrong with it. */
#include <dlfcn.h>
#include <string.h>

#include "../core/status.h"
#include "hooks.h"
#include "loader_parts.h"

PyObject *
isles__import_error(const struct isles_import *import, PyObject *message)
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

PyObject *
isles__import_fault(const struct isles_import *import, int status, const struct isles_fault *fault)
{
    if (status == ISLES_NO_MEMORY) {
        return PyErr_NoMemory();
    }
    const char *why = fault->why          ? fault->why
                      : fault->error != 0 ? strerror(fault->error)
                                          : isles_status_text(status);
    return isles__import_error(
        import, PyUnicode_FromFormat("isles can't make a private copy of %R: %s: %s (%s)",
                                     import->name, fault->path, why, remedy_for(status)));
}

/* Replaces what dlerror() said by what to do. */
static PyObject *
raise_load_error(const struct isles_import *import, const char *text)
{
    if (strstr(text, "static TLS") != NULL) {
        return isles__import_error(
            import,
            PyUnicode_FromFormat(
                "no room for the thread-local data of one more private copy of %R: start the "
                "process with GLIBC_TUNABLES=glibc.rtld.optional_static_tls=65536 in its "
                "environment, or use fewer interpreters that import it (%s)",
                import->name, text));
    }
    return isles__import_error(import, PyUnicode_DecodeFSDefault(text));
}

/* ---- the copy ---- */

long
isles__copy_slot(struct isles_local *local)
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

void *
isles__copy_open(const char *path)
{
    return dlopen(path, load_flags());
}

void *
isles__copy_load(const struct isles_import *import, const struct isles_original *original,
                 PyObject **file)
{
    long slot = isles__copy_slot(import->local);
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
        return isles__import_fault(import, status, &fault);
    }
    void *handle = isles__copy_open(path);
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
