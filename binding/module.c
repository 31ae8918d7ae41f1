/* isles._interpreters: the low-level module. */
#include "../core/os.h"
#include "../core/status.h"
#include "calls.h"
#include "codec.h"
#include "errors.h"
#include "exit.h"
#include "gate.h"
#include "ids.h"
#include "interrupts.h"
#include "interp.h"
#include "lines.h"
#include "loader.h"
#include "views.h"
#include "private.h"
#include "queues.h"
#include "stock.h"
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

/* ---- arguments ---- */

/* The registry's entry for an id argument, as a new reference; NULL with an exception. */
static struct isles_interp *
interp_argument(PyObject *module, PyObject *object)
{
    struct isles_state *state = isles__state_of_module(module);
    int64_t id;
    return isles__id_parse(state, object, &id) < 0 ? NULL : isles__id_resolve(state, id);
}

/* ---- functions ---- */

PyDoc_STRVAR(
    create_doc,
    "create(*, isolated=True, extensions={})\n--\n\n"
    "Make an interpreter and return its InterpreterID.\n\n"
    "extensions: rules for extension modules in an isolated interpreter, a dict; None: as the\n"
    "standard library.  See isles.create().\n"
    "isolated: its own GIL and allocator, no fork or exec, no daemon threads; otherwise it\n"
    "shares the main interpreter's GIL and loads every extension module.  Either has its\n"
    "own sys.modules and codec registry, and starts with a copy of this sys.path.\n"
    "Raises InterpreterError.  Any thread.");

static PyObject *
create(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"isolated", "extensions", NULL};
    int isolated = 1;
    PyObject *given = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pO:create", names, &isolated, &given)) {
        return NULL;
    }
    PyObject *rules = given ? Py_NewRef(given) : PyDict_New();
    if (rules != NULL && rules != Py_None && !PyDict_CheckExact(rules)) {
        PyErr_Format(PyExc_TypeError, "extensions must be a dict or None, not %T", rules);
        Py_CLEAR(rules);
    }
    struct isles_state *state = isles__state_of_module(module);
    struct isles_interp *interp = rules ? isles__create(state, isolated, rules, false) : NULL;
    Py_XDECREF(rules);
    PyObject *id = interp ? isles__id_new(state, interp->id) : NULL;
    if (interp != NULL) {
        isles_interp_unref(interp);
    }
    return id;
}

PyDoc_STRVAR(destroy_doc, "destroy(id, /)\n--\n\n"
                          "End an interpreter; see isles.Interpreter.close().");

static PyObject *
destroy(PyObject *module, PyObject *object)
{
    struct isles_interp *interp = interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    int status = isles__gate_close(interp);
    PyObject *result = status < 0
                           ? isles__raise_status(isles__state_of_module(module), status, interp->id)
                           : Py_NewRef(Py_None);
    isles_interp_unref(interp);
    return result;
}

/* Whether an id of the runtime's list is to be shown: not those that are just made or just end. */
static bool
is_listed(const struct isles_state *state, int64_t id)
{
    bool may_be_new = isles_registry_creating() > 0; /* asked before the registry: its header */
    struct isles_interp *interp = isles_registry_find(id);
    if (interp == NULL) {
        return !(may_be_new && isles__private_whence(id) == WHENCE_CAPI);
    }
    bool listed = isles_interp_is_shown(interp, state->here);
    isles_interp_unref(interp);
    return listed;
}

PyDoc_STRVAR(list_all_doc,
             "list_all()\n--\n\n"
             "The InterpreterIDs of all interpreters of the process, oldest first: main, those of\n"
             "isles and those that others made.");

static PyObject *
list_all(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    int64_t *ids;
    size_t count;
    if (isles__private_ids(&ids, &count) < 0) {
        return PyErr_NoMemory();
    }
    const struct isles_state *state = isles__state_of_module(module);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < count; i++) {
        if (!is_listed(state, ids[i])) {
            continue;
        }
        PyObject *id = isles__id_new(state, ids[i]);
        if (id == NULL || PyList_Append(list, id) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(id);
    }
    free(ids);
    return list;
}

PyDoc_STRVAR(get_current_doc, "get_current()\n--\n\nThe InterpreterID of the calling interpreter.");

static PyObject *
get_current(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct isles_state *state = isles__state_of_module(module);
    return isles__id_new(state, state->here->id);
}

PyDoc_STRVAR(get_main_doc, "get_main()\n--\n\nThe InterpreterID of the main interpreter.");

static PyObject *
get_main(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return isles__id_new(isles__state_of_module(module),
                         PyInterpreterState_GetID(PyInterpreterState_Main()));
}

PyDoc_STRVAR(run_string_doc,
             "run_string(id, script, /)\n--\n\n"
             "Run a str in the interpreter's __main__.  Raises RunFailedError, with the type, the\n"
             "message and the formatted traceback in its excinfo.");

static PyObject *
run_string(PyObject *module, PyObject *args)
{
    PyObject *object, *script;
    if (!PyArg_ParseTuple(args, "OU:run_string", &object, &script)) {
        return NULL;
    }
    struct isles_interp *interp = interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *result = isles__exec(isles__state_of_module(module), interp, script);
    isles_interp_unref(interp);
    return result;
}

PyDoc_STRVAR(exec_doc, "exec(id, code, /)\n--\n\n"
                       "Run a str, a code object or a function without arguments; see\n"
                       "isles.Interpreter.exec().");

static PyObject *
exec_code(PyObject *module, PyObject *args)
{
    PyObject *object, *code;
    if (!PyArg_ParseTuple(args, "OO:exec", &object, &code)) {
        return NULL;
    }
    struct isles_interp *interp = interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *result = isles__exec(isles__state_of_module(module), interp, code);
    isles_interp_unref(interp);
    return result;
}

PyDoc_STRVAR(run_func_doc,
             "run_func(id, callable, /)\n--\n\n"
             "Call a callable without arguments in the interpreter; its result is dropped.  It\n"
             "travels pickled, or marshalled if it is a code object.  Raises RunFailedError.");

static PyObject *
run_func(PyObject *module, PyObject *args)
{
    PyObject *object, *callable;
    if (!PyArg_ParseTuple(args, "OO:run_func", &object, &callable)) {
        return NULL;
    }
    if (!PyCallable_Check(callable) && !PyCode_Check(callable)) {
        return PyErr_Format(PyExc_TypeError, "run_func() needs a callable, not %T", callable);
    }
    struct isles_interp *interp = interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    struct isles_state *state = isles__state_of_module(module);
    PyObject *result = PyCode_Check(callable) ? isles__exec(state, interp, callable)
                                              : isles__call(state, interp, callable, NULL, 0, NULL,
                                                            ISLES_CALL_DISCARD);
    isles_interp_unref(interp);
    return result;
}

/* A tuple of the positional values followed by those of `keywords`, and their names. */
static PyObject *
flatten(PyObject *positional, PyObject *keywords, PyObject **names)
{
    PyObject *keys = keywords ? PyDict_Keys(keywords) : PyList_New(0);
    PyObject *values = keywords ? PyDict_Values(keywords) : PyList_New(0);
    PyObject *list = PySequence_List(positional);
    PyObject *all = NULL;
    if (keys && values && list && (*names = PyList_AsTuple(keys)) != NULL) {
        PyObject *joined = PySequence_InPlaceConcat(list, values);
        all = joined ? PySequence_Tuple(joined) : NULL;
        Py_XDECREF(joined);
    }
    Py_XDECREF(keys);
    Py_XDECREF(values);
    Py_XDECREF(list);
    return all;
}

PyDoc_STRVAR(call_doc,
             "call(id, callable, args=(), kwargs={}, /)\n--\n\n"
             "Call the object and return a copy of its result; see isles.Interpreter.call().");

static PyObject *
call(PyObject *module, PyObject *args)
{
    PyObject *object, *callable, *positional = NULL, *keywords = NULL, *names = NULL;
    if (!PyArg_ParseTuple(args, "OO|OO!:call", &object, &callable, &positional, &PyDict_Type,
                          &keywords)) {
        return NULL;
    }
    struct isles_interp *interp = interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *none = PyTuple_New(0), *result = NULL;
    PyObject *values = none ? flatten(positional ? positional : none, keywords, &names) : NULL;
    if (values != NULL) {
        Py_ssize_t count = PyTuple_GET_SIZE(values) - PyTuple_GET_SIZE(names);
        PyObject *const *items = &PyTuple_GET_ITEM(values, 0);
        result = isles__call(isles__state_of_module(module), interp, callable, items, count, names,
                             ISLES_CALL);
    }
    Py_XDECREF(none);
    Py_XDECREF(names);
    Py_XDECREF(values);
    isles_interp_unref(interp);
    return result;
}

PyDoc_STRVAR(set_main_doc, "set___main___attrs(id, mapping, /)\n--\n\n"
                           "Bind the items of a mapping from str in the interpreter's __main__.");

static PyObject *
set_main_attrs(PyObject *module, PyObject *args)
{
    PyObject *object, *mapping;
    if (!PyArg_ParseTuple(args, "OO:set___main___attrs", &object, &mapping)) {
        return NULL;
    }
    struct isles_interp *interp = interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *result = isles__bind(isles__state_of_module(module), interp, mapping);
    isles_interp_unref(interp);
    return result;
}

/* As isles__id_existing, for an id argument. */
static int
existing(PyObject *module, PyObject *object, int64_t *id, struct isles_interp **interp)
{
    struct isles_state *state = isles__state_of_module(module);
    return isles__id_parse(state, object, id) < 0 ? -1 : isles__id_existing(state, *id, interp);
}

PyDoc_STRVAR(has_ended_doc,
             "_has_ended(id, /)\n--\n\n"
             "Whether nothing of an interpreter of isles' runs any more: one that was\n"
             "closed may still have to end behind.");

static PyObject *
has_ended(PyObject *module, PyObject *object)
{
    int64_t id;
    if (isles__id_parse(isles__state_of_module(module), object, &id) < 0) {
        return NULL;
    }
    struct isles_interp *interp = isles_registry_find(id);
    if (interp != NULL) {
        isles_interp_unref(interp);
    }
    return PyBool_FromLong(interp == NULL);
}

PyDoc_STRVAR(is_running_doc,
             "is_running(id, /)\n--\n\n"
             "Whether a thread is inside the interpreter (exec, call …).  The main interpreter is\n"
             "always running.");

static PyObject *
is_running(PyObject *module, PyObject *object)
{
    int64_t id;
    struct isles_interp *interp;
    if (existing(module, object, &id, &interp) < 0) {
        return NULL;
    }
    bool running = interp != NULL && interp->ours ? isles_interp_is_running(interp)
                                                  : isles__private_is_running(id);
    if (interp != NULL) {
        isles_interp_unref(interp);
    }
    return PyBool_FromLong(running);
}

PyDoc_STRVAR(memory_doc, "_memory(id, /)\n--\n\n"
                         "Bytes that the interpreter's allocator holds for objects of up to 512\n"
                         "bytes; None if it has none of its own, or has ended.");

static PyObject *
memory(PyObject *Py_UNUSED(module), PyObject *id)
{
    int64_t number = PyLong_AsLongLong(id);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int64_t bytes = isles__private_memory(number);
    if (bytes < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(bytes);
}

PyDoc_STRVAR(interrupt_doc,
             "interrupt(id, /, exc=KeyboardInterrupt, ident=0)\n--\n\n"
             "Raise exc in what runs in the interpreter: isles.Interpreter.interrupt().  With an\n"
             "ident other than 0, only if it is the thread of that threading.get_ident() that is\n"
             "inside.");

static PyObject *
interrupt(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "exc", "ident", NULL};
    PyObject *object, *exception = PyExc_KeyboardInterrupt;
    unsigned long ident = 0;
    int64_t id;
    struct isles_interp *interp;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|Ok:interrupt", names, &object, &exception,
                                     &ident)
        || existing(module, object, &id, &interp) < 0) {
        return NULL;
    }
    struct isles_state *state = isles__state_of_module(module);
    if (interp == NULL || !interp->ours) {
        if (interp != NULL) {
            isles_interp_unref(interp);
        }
        return isles__raise_status(state, id == 0 ? ISLES_IS_MAIN : ISLES_UNRECOGNIZED, id);
    }
    int result = isles__interrupt(state, interp, exception, ident);
    isles_interp_unref(interp);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyDoc_STRVAR(whence_doc, "whence(id, /)\n--\n\n"
                         "Where the interpreter comes from: one of the WHENCE_ constants.");

static PyObject *
whence(PyObject *module, PyObject *object)
{
    int64_t id;
    struct isles_interp *interp;
    if (existing(module, object, &id, &interp) < 0) {
        return NULL;
    }
    long value = interp != NULL && interp->ours ? WHENCE_STDLIB : isles__private_whence(id);
    if (interp != NULL) {
        isles_interp_unref(interp);
    }
    return PyLong_FromLong(value < 0 ? WHENCE_UNKNOWN : value);
}

PyDoc_STRVAR(
    is_shareable_doc,
    "is_shareable(obj, /)\n--\n\n"
    "Whether PEP 734 calls an object shareable: None, bool, int, float, str, bytes,\n"
    "memoryview, Queue, SharedBuffer, and tuples of these.  All but the views, queues and\n"
    "buffers arrive as copies.  Most other objects travel as well, as copies.");

static PyObject *
is_shareable(PyObject *module, PyObject *object)
{
    int result = isles__is_shareable(isles__state_of_module(module), object);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyDoc_STRVAR(extensions_doc,
             "The extension modules that are private copies in this interpreter, a\n"
             "dict of names and paths: isles/_extensions.py.");

static PyObject *
extensions(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return isles__loader_copies();
}

PyDoc_STRVAR(exit_doc, "_exit(grace, /)\n--\n\n"
                       "End every interpreter, at the exit of the process: isles/_exit.py.\n\n"
                       "grace: seconds (float) for what runs to finish by itself.");

static PyObject *
at_exit(PyObject *Py_UNUSED(module), PyObject *grace)
{
    double seconds = PyFloat_AsDouble(grace);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return isles__exit((int64_t)(seconds * 1e9));
}

PyDoc_STRVAR(stock_set_doc, "_stock_set(count, modules, rules, /)\n--\n\n"
                            "Set the warm stock: isles.warm().");

static PyObject *
stock_set(PyObject *module, PyObject *args)
{
    int count;
    PyObject *modules, *rules;
    if (!PyArg_ParseTuple(args, "iO!O:_stock_set", &count, &PyList_Type, &modules, &rules)) {
        return NULL;
    }
    if (isles__stock_set(isles__state_of_module(module), count, rules, modules) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stock_state_doc, "_stock_state()\n--\n\n"
                              "How many are ready, and whether there is more to do: isles.warm().");

static PyObject *
stock_state(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return isles__stock_state(isles__state_of_module(module));
}

PyDoc_STRVAR(stock_hold_doc, "_stock_hold()\n--\n\n"
                             "Have the thread of the stock pause, for a fork.");

static PyObject *
stock_hold(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    isles__stock_hold();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stock_release_doc, "_stock_release()\n--\n\n"
                                "Have it go on.");

static PyObject *
stock_release(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    isles__stock_release();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(name_thread_doc, "_name_thread(name, /)\n--\n\n"
                              "Name the calling thread for the system's tools (str).");

static PyObject *
name_thread(PyObject *Py_UNUSED(module), PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL) {
        return NULL;
    }
    isles_thread_set_name(text);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    stream_doc,
    "_stream(target, name, encoding, errors, /)\n--\n\n"
    "A text stream of whole lines: to a descriptor (an int), which it takes over if it is\n"
    "none of the standard ones, or to a callable, which is given a list of str.");

static PyMethodDef functions[] = {
    {"create", (PyCFunction)(void (*)(void))create, METH_VARARGS | METH_KEYWORDS, create_doc},
    {"destroy", destroy, METH_O, destroy_doc},
    {"list_all", list_all, METH_NOARGS, list_all_doc},
    {"get_current", get_current, METH_NOARGS, get_current_doc},
    {"get_main", get_main, METH_NOARGS, get_main_doc},
    {"run_string", run_string, METH_VARARGS, run_string_doc},
    {"run_func", run_func, METH_VARARGS, run_func_doc},
    {"exec", exec_code, METH_VARARGS, exec_doc},
    {"call", call, METH_VARARGS, call_doc},
    {"set___main___attrs", set_main_attrs, METH_VARARGS, set_main_doc},
    {"is_running", is_running, METH_O, is_running_doc},
    {"interrupt", (PyCFunction)(void (*)(void))interrupt, METH_VARARGS | METH_KEYWORDS,
     interrupt_doc},
    {"whence", whence, METH_O, whence_doc},
    {"is_shareable", is_shareable, METH_O, is_shareable_doc},
    {"_memory", memory, METH_O, memory_doc},
    {"_has_ended", has_ended, METH_O, has_ended_doc},
    {"_extensions", extensions, METH_NOARGS, extensions_doc},
    {"_name_thread", name_thread, METH_O, name_thread_doc},
    {"_stream", isles__lines_stream, METH_VARARGS, stream_doc},
    {"_exit", at_exit, METH_O, exit_doc},
    {"_stock_set", stock_set, METH_VARARGS, stock_set_doc},
    {"_stock_state", stock_state, METH_NOARGS, stock_state_doc},
    {"_stock_hold", stock_hold, METH_NOARGS, stock_hold_doc},
    {"_stock_release", stock_release, METH_NOARGS, stock_release_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- the module ---- */

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
    return state->shipments && state->known ? add_constants(module) : -1;
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
    PyModuleDef_HEAD_INIT,         .m_name = "isles._interpreters",
    .m_doc = module_doc,           .m_size = sizeof(struct isles_state),
    .m_methods = functions,        .m_slots = slots,
    .m_traverse = module_traverse, .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__interpreters(void)
{
    return PyModuleDef_Init(&isles__module_def);
}
