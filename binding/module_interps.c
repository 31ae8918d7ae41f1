#include "../core/registry.h"
#include "../core/status.h"
#include "errors.h"
#include "gate.h"
#include "ids.h"
#include "create.h"
#include "interrupts.h"
#include "module_parts.h"
#include "private.h"

struct isles_interp *
isles__interp_argument(PyObject *module, PyObject *object)
{
    struct isles_state *state = isles__state_of_module(module);
    int64_t id;
    return isles__id_parse(state, object, &id) < 0 ? NULL : isles__id_resolve(state, id);
}

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
    struct isles_interp *interp = isles__interp_argument(module, object);
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

PyDoc_STRVAR(interrupt_doc, "interrupt(id, /, exc=None, ident=0)\n--\n\n"
                            "Raise exc (None: KeyboardInterrupt) in what runs in the interpreter:\n"
                            "isles.Interpreter.interrupt().  With an ident other than 0, only if "
                            "it is the thread of that threading.get_ident() that is\n"
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
    if (exception == Py_None) {
        exception = PyExc_KeyboardInterrupt;
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

PyMethodDef isles__interp_functions[] = {
    {"create", (PyCFunction)(void (*)(void))create, METH_VARARGS | METH_KEYWORDS, create_doc},
    {"destroy", destroy, METH_O, destroy_doc},
    {"list_all", list_all, METH_NOARGS, list_all_doc},
    {"get_current", get_current, METH_NOARGS, get_current_doc},
    {"get_main", get_main, METH_NOARGS, get_main_doc},
    {"is_running", is_running, METH_O, is_running_doc},
    {"interrupt", (PyCFunction)(void (*)(void))interrupt, METH_VARARGS | METH_KEYWORDS,
     interrupt_doc},
    {"whence", whence, METH_O, whence_doc},
    {"_memory", memory, METH_O, memory_doc},
    {"_has_ended", has_ended, METH_O, has_ended_doc},
    {NULL, NULL, 0, NULL},
};
