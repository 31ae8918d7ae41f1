#define _GNU_SOURCE /* dladdr */
#include "hooks.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "../core/copies.h"
#include "../core/os.h"
#include "gate.h"
#include "private.h"

static isles_mutex lock = ISLES_MUTEX_INIT; /* of `owners` */

/* ---- being found ---- */

static void
forked(void)
{
    isles_mutex_reset(&lock); /* the list is whole at any moment: one store adds to it */
}

int
isles__hooks_init(void)
{
    static atomic_bool done;
    if (atomic_load_explicit(&done, memory_order_acquire)) {
        return 0;
    }
    if (isles_copies_init() < 0 || isles_fork_hook(NULL, NULL, forked) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    /* CPython loaded this module for itself alone; copies look among what is loaded for all. */
    Dl_info info;
    if (dladdr((void *)isles_gilstate_ensure, &info) == 0
        || dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) == NULL) {
        PyErr_Format(PyExc_ImportError, "isles can't offer its functions to extension modules: %s",
                     dlerror());
        return -1;
    }
    atomic_store_explicit(&done, true, memory_order_release);
    return 0;
}

/* ---- whose a copy is ---- */

struct owner {
    unsigned slot;
    struct isles_interp *interp; /* a reference */
    struct owner *next;
};

static struct owner *owners; /* for good: a copy's threads may outlive its interpreter */

int
isles__hooks_own(unsigned slot, struct isles_interp *interp)
{
    struct owner *owner = malloc(sizeof(*owner));
    if (owner == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    isles_interp_ref(interp);
    owner->slot = slot;
    owner->interp = interp;
    isles_mutex_lock(&lock);
    owner->next = owners;
    owners = owner;
    isles_mutex_unlock(&lock);
    return 0;
}

/* The interpreter whose copy the code at an address is in, or NULL.  It stays. */
static struct isles_interp *
owner_of_code(const void *address)
{
    Dl_info info;
    unsigned slot;
    if (dladdr(address, &info) == 0 || info.dli_fname == NULL
        || !isles_copies_slot_of(info.dli_fname, &slot)) {
        return NULL;
    }
    isles_mutex_lock(&lock);
    const struct owner *owner = owners;
    while (owner != NULL && owner->slot != slot) {
        owner = owner->next;
    }
    isles_mutex_unlock(&lock);
    return owner ? owner->interp : NULL;
}

/* ---- PyGILState_Ensure ---- */

PyGILState_STATE
isles_gilstate_ensure(void)
{
    if (PyGILState_GetThisThreadState() == NULL) {
        struct isles_interp *interp = owner_of_code(__builtin_return_address(0));
        if (interp != NULL) {
            isles__gate_visit(interp);
            /* The new thread state counts one call of PyGILState_Ensure(): the PyGILState_Release()
             * that belongs to this one frees it. */
            return PyGILState_UNLOCKED;
        }
    }
    return PyGILState_Ensure();
}

/* ---- PyInterpreterState_Main ---- */

PyInterpreterState *
isles_interpreterstate_main(void)
{
    PyThreadState *ts = PyThreadState_GetUnchecked();
    if (ts != NULL) {
        return PyThreadState_GetInterpreter(ts);
    }
    const struct isles_interp *interp = owner_of_code(__builtin_return_address(0));
    return interp ? interp->state : PyInterpreterState_Main();
}

/* ---- PyModule_Create2 ---- */

static _Thread_local const char *init_name; /* of the module whose init function runs */

PyObject *
isles__hooks_call_init(PyObject *(*init)(void), const char *name)
{
    const char *outer = init_name; /* an init function may import another module */
    init_name = name;
    PyObject *module = init();
    init_name = outer;
    return module;
}

PyObject *
isles_module_create2(PyModuleDef *def, int api_version)
{
    const char *short_name = def->m_name, *full_name = init_name;
    const char *dot = full_name ? strrchr(full_name, '.') : NULL;
    if (dot == NULL || strcmp(dot + 1, short_name) != 0) {
        return PyModule_Create2(def, api_version);
    }
    init_name = NULL; /* for the first that it makes */
    def->m_name = full_name;
    PyObject *module = PyModule_Create2(def, api_version);
    def->m_name = short_name;
    return module;
}

/* ---- PyModule_FromDefAndSpec2, PyModule_FromSlotsAndSpec ---- */

/* CPython checks before it runs any code of the module's, and from here to there no other thread
 * gets in; so who comes back from such code sets 0, whatever others do meanwhile. */
void
isles__hooks_override_check(int value)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *imp = PyImport_ImportModule("_imp");
    PyObject *old =
        imp ? PyObject_CallMethod(imp, "_override_multi_interp_extensions_check", "i", value)
            : NULL;
    Py_XDECREF(imp);
    Py_XDECREF(old);
    PyErr_Clear(); /* it exists for CPython's tests; without it CPython refuses the module */
    PyErr_SetRaisedException(error);
}

PyObject *
isles_module_from_def_and_spec2(PyModuleDef *def, PyObject *spec, int api_version)
{
    isles__hooks_override_check(-1);
    PyObject *module = PyModule_FromDefAndSpec2(def, spec, api_version);
    isles__hooks_override_check(0);
    return module;
}

#if PY_VERSION_HEX >= 0x030F0000
PyObject *
isles_module_from_slots_and_spec(const PySlot *slots, PyObject *spec)
{
    isles__hooks_override_check(-1);
    PyObject *module = PyModule_FromSlotsAndSpec(slots, spec);
    isles__hooks_override_check(0);
    return module;
}
#endif

/* ---- Py_AddPendingCall ---- */

int
isles_add_pending_call(int (*func)(void *), void *arg)
{
    /* By its own address: the caller may be compiled to a jump, from a destructor that libc runs.
     */
    struct isles_interp *interp = owner_of_code((void *)func);
    if (interp == NULL) {
        return Py_AddPendingCall(func, arg);
    }
    if (isles_interp_pin(interp) < 0) {
        return 0;
    }
    int result = isles__private_pending_call(interp->state, func, arg);
    isles_interp_unpin(interp);
    return result;
}
