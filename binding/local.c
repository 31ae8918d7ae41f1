#include "local.h"

#include "interrupts.h"

static void
local_free(struct isles_local *local)
{
    Py_XDECREF(local->loads);
    Py_XDECREF(local->module);
    Py_XDECREF(local->main_module);
    Py_XDECREF(local->callables);
    Py_XDECREF(local->last_callable);
    Py_XDECREF(local->codes);
    Py_XDECREF(local->sources);
    Py_XDECREF(local->last_source);
    Py_XDECREF(local->last_code);
    Py_XDECREF(local->last_long_source);
    Py_XDECREF(local->copies);
    Py_XDECREF(local->singles);
    PyMem_RawFree(local);
}

/* The accelerator alone: `pickle` itself would import half of the standard library. */
PyObject *
isles__local_loads(struct isles_local *local)
{
    if (local->loads == NULL) {
        PyObject *pickle = isles__import("_pickle");
        PyObject *loads = pickle ? PyObject_GetAttrString(pickle, "loads") : NULL;
        Py_XDECREF(pickle);
        Py_XSETREF(local->loads, loads);
    }
    return local->loads;
}

struct isles_state *
isles__local_state(struct isles_local *local)
{
    if (local->module == NULL) {
        PyObject *module = PyImport_ImportModule("isles._interpreters");
        Py_XSETREF(local->module, module);
    }
    return local->module ? isles__state_of_module(local->module) : NULL;
}

static struct isles_local *
local_new(struct isles_interp *interp)
{
    struct isles_local *local = PyMem_RawCalloc(1, sizeof(*local));
    if (local == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    local->interp = interp;
    local->main_module = PyImport_AddModuleRef("__main__");
    local->callables = PyDict_New();
    local->codes = PyDict_New();
    local->sources = PyDict_New();
    local->slot = -1;
    local->copies = PyDict_New();
    local->singles = PyDict_New();
    if (!local->main_module || !local->callables || !local->codes || !local->sources
        || !local->copies || !local->singles) {
        local_free(local);
        return NULL;
    }
    return local;
}

struct isles_local *
isles__local(struct isles_interp *interp)
{
    if (interp->local == NULL) {
        struct isles_local *local = local_new(interp);
        if (interp->local == NULL) {
            interp->local = local;
        } else if (local != NULL) { /* the imports let another thread make one first */
            local_free(local);
        }
    }
    return interp->local;
}

void
isles__local_free(struct isles_interp *interp)
{
    struct isles_local *local = interp->local;
    interp->local = NULL;
    if (local != NULL) {
        local_free(local);
    }
}
