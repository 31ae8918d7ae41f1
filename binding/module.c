/* isles._interpreters: the low-level module. */
#include "../core/queue.h"
#include "../core/registry.h"
#include "errors.h"
#include "functions.h"
#include "ids.h"
#include "interp.h"
#include "local.h"
#include "module_parts.h"
#include "private.h"
#include "queues.h"
#include "views.h"
#include "waiters.h"

struct isles_state *
isles__state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

struct isles_state *
isles__state_of(PyTypeObject *defining_class)
{
    return PyType_GetModuleState(defining_class);
}

struct isles_state *
isles__state_of_subclass(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &isles__module_def); /* borrowed */
    return module ? isles__state_of_module(module) : NULL;
}

static int
refuse_unsupported(void)
{
#ifdef Py_GIL_DISABLED
    PyErr_SetString(PyExc_ImportError,
                    "isles does not support free-threaded builds of CPython yet: "
                    "use a build with the GIL");
    return -1;
#else
    if (!isles__private_check()) {
        PyErr_SetString(PyExc_ImportError, "isles was built for another version of CPython: "
                                           "reinstall it with this one");
        return -1;
    }
    return 0;
#endif
}

/* Finds or makes the entries of main and of the interpreter that loads the module. */
static int
register_here(struct isles_state *state)
{
    PyInterpreterState *mine = PyInterpreterState_Get(), *main = PyInterpreterState_Main();
    struct isles_interp *main_interp;
    if (isles_registry_init(isles__private_unlink_others) < 0
        || isles_registry_add(PyInterpreterState_GetID(main), main, false, &main_interp) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    isles_interp_unref(main_interp); /* the table keeps it */
    if (isles_registry_add(PyInterpreterState_GetID(mine), mine, false, &state->here) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Whether main has imported isles, and so ends interpreters when the process exits. */
static atomic_bool main_has_isles;

#if PY_VERSION_HEX < 0x030E0000
/* 3.13 frees the types of _datetime with the last interpreter that has them, and does it wrongly:
 * the next one that ends crashes.  Main has them until the process ends, so no other is the last.
 */
static void
keep_datetime(void)
{
    PyObject *module = PyImport_ImportModule("_datetime");
    Py_XDECREF(module);
    PyErr_Clear(); /* a Python that has none has nothing to crash */
}
#else
static void
keep_datetime(void)
{
}
#endif

/* A pending call: on the main thread, in the main interpreter. */
static int
import_in_main(void *Py_UNUSED(arg))
{
    PyObject *isles = atomic_load(&main_has_isles) ? NULL : PyImport_ImportModule("isles");
    Py_XDECREF(isles);
    PyErr_Clear(); /* not installed for main: then nobody sees to the end */
    return 0;
}

static void
see_to_the_end(const struct isles_state *state)
{
    if (state->here->id == 0) {
        atomic_store(&main_has_isles, true);
        keep_datetime();
    } else if (!atomic_load(&main_has_isles)) {
        (void)Py_AddPendingCall(import_in_main, NULL);
    }
}

static int
add_constants(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } constants[] = {
        {"WHENCE_UNKNOWN", WHENCE_UNKNOWN},
        {"WHENCE_RUNTIME", WHENCE_RUNTIME},
        {"WHENCE_LEGACY_CAPI", WHENCE_LEGACY_CAPI},
        {"WHENCE_CAPI", WHENCE_CAPI},
        {"WHENCE_XI", WHENCE_XI},
        {"WHENCE_STDLIB", WHENCE_STDLIB},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(constants); i++) {
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
add_functions(PyObject *module)
{
    PyMethodDef *const all[] = {isles__interp_functions, isles__call_functions,
                                isles__shareable_functions, isles__own_functions};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(all); i++) {
        if (PyModule_AddFunctions(module, all[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
module_exec(PyObject *module)
{
    struct isles_state *state = isles__state_of_module(module);
    if (refuse_unsupported() < 0 || register_here(state) < 0
        || isles__errors_init(module, state) < 0 || isles__ids_init(module, state) < 0
        || isles__interp_init(module, state) < 0 || isles__views_init(module, state) < 0
        || isles__queues_init(module, state) < 0 || isles__waiters_init(module, state) < 0) {
        return -1;
    }
    see_to_the_end(state);
    state->shipments = PyDict_New();
    state->known = PyDict_New();
    return state->shipments && state->known && add_functions(module) == 0 ? add_constants(module)
                                                                          : -1;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct isles_state *state = isles__state_of_module(module);
    Py_VISIT(state->id_type);
    Py_VISIT(state->interp_type);
    Py_VISIT(state->view_type);
    Py_VISIT(state->shared_type);
    Py_VISIT(state->interp_class);
    Py_VISIT(state->error);
    Py_VISIT(state->not_found);
    Py_VISIT(state->busy);
    Py_VISIT(state->run_failed);
    Py_VISIT(state->not_shareable);
    Py_VISIT(state->shipments);
    Py_VISIT(state->known);
    Py_VISIT(state->queue_type);
    Py_VISIT(state->notifier_type);
    Py_VISIT(state->waiter_type);
    Py_VISIT(state->known_queues);
    Py_VISIT(state->queues_module);
    Py_VISIT(state->last_shipment);
    return 0;
}

static int
module_clear(PyObject *module)
{
    struct isles_state *state = isles__state_of_module(module);
    Py_CLEAR(state->id_type);
    Py_CLEAR(state->interp_type);
    Py_CLEAR(state->view_type);
    Py_CLEAR(state->shared_type);
    Py_CLEAR(state->interp_class);
    Py_CLEAR(state->error);
    Py_CLEAR(state->not_found);
    Py_CLEAR(state->busy);
    Py_CLEAR(state->run_failed);
    Py_CLEAR(state->not_shareable);
    Py_CLEAR(state->known);
    Py_CLEAR(state->queue_type);
    Py_CLEAR(state->notifier_type);
    Py_CLEAR(state->waiter_type);
    Py_CLEAR(state->known_queues);
    Py_CLEAR(state->queues_module);
    isles__functions_clear(state);
    return 0;
}

/* What isles keeps in an interpreter that it made goes with that interpreter's end, in the gate; in
 * main and in others' it goes here. */
static void
module_free(void *module)
{
    struct isles_state *state = isles__state_of_module(module);
    module_clear(module);
    struct isles_interp *here = state->here;
    if (here == NULL) {
        return;
    }
    state->here = NULL;
    if (!here->ours) {
        isles__local_free(here);
        if (here->id != 0) {
            isles_interp_abandon(here);
            isles_queues_sweep(here->id);
        }
    }
    isles_interp_unref(here);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

PyDoc_STRVAR(
    module_doc,
    "The low-level access to interpreters that isles' classes are made of: the C backing of\n"
    "PEP 734, for CPython 3.13 to 3.15.\n\n"
    "Every function takes an InterpreterID or an int for `id` (TypeError, ValueError), and\n"
    "raises InterpreterNotFoundError for one that is unknown or has ended.");

PyModuleDef isles__module_def = {
    PyModuleDef_HEAD_INIT,   .m_name = "isles._interpreters",
    .m_doc = module_doc,     .m_size = sizeof(struct isles_state),
    .m_slots = slots,        .m_traverse = module_traverse,
    .m_clear = module_clear, .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__interpreters(void)
{
    return PyModuleDef_Init(&isles__module_def);
}
