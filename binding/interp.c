#include "interp.h"

#include <stdlib.h>

#include "../core/status.h"
#include "calls.h"
#include "create.h"
#include "errors.h"
#include "gate.h"
#include "ids.h"
#include "private.h"

typedef struct {
    PyObject_HEAD PyObject *weakrefs;
    int64_t id;
    struct isles_interp *interp; /* a reference; NULL for one that isles doesn't know */
    bool holds;                  /* keeps an owned interpreter from ending */
} Interpreter;

/* ---- one object for each id ---- */

/* The object of an id, a new reference; NULL without an exception if there is none of that type. */
static PyObject *
known_object(const struct isles_state *state, PyObject *key, PyTypeObject *type)
{
    PyObject *reference = PyDict_GetItemWithError(state->known, key); /* borrowed */
    PyObject *object = NULL;
    if (reference != NULL && PyWeakref_GetRef(reference, &object) < 0) {
        return NULL;
    }
    if (object != NULL && !Py_IS_TYPE(object, type)) {
        Py_CLEAR(object);
    }
    return object;
}

/* Makes `self` the object of its id, unless there is one: a new reference to that, or to `self`.
 * Between look-up and entry no Python code runs, so two threads can't both be first. */
static PyObject *
make_known(const struct isles_state *state, Interpreter *self)
{
    PyObject *key = PyLong_FromLongLong(self->id);
    PyObject *reference = key ? PyWeakref_NewRef((PyObject *)self, NULL) : NULL;
    PyObject *object = reference ? known_object(state, key, Py_TYPE(self)) : NULL;
    if (reference != NULL && object == NULL && !PyErr_Occurred()
        && PyDict_SetItem(state->known, key, reference) == 0) {
        object = Py_NewRef(self);
    }
    Py_XDECREF(key);
    Py_XDECREF(reference);
    return object;
}

/* Takes what is left of a dead object out of `known`.  At an interpreter's end the collector may
 * have taken the module from the type, and what it kept from the module, before. */
static void
forget(PyTypeObject *type, int64_t id)
{
    PyObject *error = PyErr_GetRaisedException();
    const struct isles_state *state = isles__state_of_subclass(type);
    PyObject *key = state && state->known ? PyLong_FromLongLong(id) : NULL;
    PyObject *reference = key ? PyDict_GetItemWithError(state->known, key) : NULL;
    PyObject *object = NULL;
    if (reference != NULL && PyWeakref_GetRef(reference, &object) == 0) {
        (void)PyDict_DelItem(state->known, key);
    }
    Py_XDECREF(object);
    Py_XDECREF(key);
    PyErr_Clear();
    PyErr_SetRaisedException(error);
}

/* Counts as a holder only from outside: an interpreter that holds itself would never end. */
static void
hold(Interpreter *self, const struct isles_state *state)
{
    struct isles_interp *interp = self->interp;
    if (interp != NULL && interp->owned && interp != state->here) {
        isles__gate_hold(interp);
        self->holds = true;
    }
}

/* The object of an id, found or made; takes over the reference to the interpreter. */
static PyObject *
interp_object(PyTypeObject *type, const struct isles_state *state, int64_t id,
              struct isles_interp *interp)
{
    Interpreter *self = (Interpreter *)type->tp_alloc(type, 0);
    if (self == NULL) {
        if (interp != NULL) {
            isles_interp_unref(interp);
        }
        return NULL;
    }
    self->id = id;
    self->interp = interp;
    hold(self, state);
    PyObject *object = make_known(state, self);
    Py_DECREF(self);
    return object;
}

static PyObject *
interp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    struct isles_state *state = isles__state_of_subclass(type);
    struct isles_interp *interp;
    PyObject *object;
    int64_t id;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O:Interpreter", names, &object)
        || isles__id_parse(state, object, &id) < 0 || isles__id_existing(state, id, &interp) < 0) {
        return NULL;
    }
    return interp_object(type, state, id, interp);
}

/* ---- create ---- */

PyDoc_STRVAR(create_doc, "_create($type, /, *, isolated, extensions)\n--\n\n"
                         "Make an interpreter that ends with the last object for it: this one.");

static PyObject *
interp_create(PyObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"isolated", "extensions", NULL};
    int isolated;
    PyObject *rules;
    struct isles_state *state = isles__state_of_subclass((PyTypeObject *)type);
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "$pO:_create", names, &isolated, &rules)) {
        return NULL;
    }
    struct isles_interp *interp = isles__create(state, isolated, rules, true);
    if (interp == NULL) {
        return NULL;
    }
    isles_interp_ref(interp); /* the object's */
    PyObject *object = interp_object((PyTypeObject *)type, state, interp->id, interp);
    isles__gate_drop(interp); /* the hold that it was born with */
    isles_interp_unref(interp);
    return object;
}

/* ---- isles.Interpreter, which derives from the type in Python ---- */

static PyObject *
interp_class(struct isles_state *state)
{
    if (state->interp_class == NULL) {
        PyObject *package = PyImport_ImportModule("isles");
        PyObject *class = package ? PyObject_GetAttrString(package, "Interpreter") : NULL;
        Py_XDECREF(package);
        Py_XSETREF(state->interp_class, class);
    }
    return state->interp_class;
}

struct isles_interp *
isles__interp_of(struct isles_state *state, PyObject *object)
{
    PyObject *type = (PyObject *)Py_TYPE(object);
    bool ours = PyObject_TypeCheck(object, state->interp_type) && type == interp_class(state);
    return ours ? ((Interpreter *)object)->interp : NULL;
}

PyObject *
isles__interp_new(struct isles_state *state, int64_t id)
{
    PyObject *class = interp_class(state);
    return class ? PyObject_CallFunction(class, "L", (long long)id) : NULL;
}

/* ---- the type ---- */

static void
interp_dealloc(PyObject *object)
{
    Interpreter *self = (Interpreter *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
        forget(type, self->id);
    }
    if (self->holds) {
        isles__gate_drop(self->interp);
    }
    if (self->interp != NULL) {
        isles_interp_unref(self->interp);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

/* The registry's entry, or NULL with an exception. */
static struct isles_interp *
known(const Interpreter *self, const struct isles_state *state)
{
    if (self->interp == NULL) {
        bool ended = isles__private_whence(self->id) < 0;
        isles__raise_status(state, ended ? ISLES_NOT_FOUND : ISLES_UNRECOGNIZED, self->id);
    } else if (isles_interp_has_ended(self->interp)) { /* before anything is packed for it */
        int status = self->interp->forked ? ISLES_FORKED : ISLES_NOT_FOUND;
        isles__raise_status(state, status, self->id);
        return NULL;
    }
    return self->interp;
}

PyDoc_STRVAR(
    call_doc,
    "call($self, callable, /, *args, **kwargs)\n--\n\n"
    "Call the object in the interpreter, on this thread, and return a copy of the result.\n\n"
    "Functions that can be imported travel by reference, others (of __main__, lambdas,\n"
    "closures) by value with what they capture; arguments and results are copied.  The\n"
    "calling interpreter can run other threads meanwhile.  From any thread; one thread at\n"
    "a time is inside an interpreter.\n\n"
    "Raises ExecutionFailed if the callable raises, NotShareableError for what can't be\n"
    "pickled, InterpreterBusyError if another thread is inside, InterpreterNotFoundError\n"
    "if the interpreter has ended.  Follows PEP 734.");

static PyObject *
call(PyObject *object, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
     PyObject *kwnames, enum isles_call_kind kind)
{
    struct isles_state *state = isles__state_of(defining_class);
    struct isles_interp *interp = known((Interpreter *)object, state);
    if (interp == NULL) {
        return NULL;
    }
    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "call() needs a callable as its first argument");
        return NULL;
    }
    if (!PyCallable_Check(args[0])) {
        return PyErr_Format(PyExc_TypeError, "call() needs a callable, not %T", args[0]);
    }
    return isles__call(state, interp, args[0], args + 1, count - 1, kwnames, kind);
}

static PyObject *
interp_call(PyObject *object, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
            PyObject *kwnames)
{
    return call(object, defining_class, args, count, kwnames, ISLES_CALL);
}

PyDoc_STRVAR(task_doc, "_task($self, callable, /, *args, **kwargs)\n--\n\n"
                       "As call(), and an ExecutionFailed has what isles._tasks.revive() needs.");

static PyObject *
interp_task(PyObject *object, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
            PyObject *kwnames)
{
    return call(object, defining_class, args, count, kwnames, ISLES_CALL_TASK);
}

PyDoc_STRVAR(chunk_doc, "_chunk($self, callable, /, *args, **kwargs)\n--\n\n"
                        "As _task(isles._tasks.run_chunk, callable, *args, **kwargs), but the\n"
                        "callable travels as that of call() does: once.");

static PyObject *
interp_chunk(PyObject *object, PyTypeObject *defining_class, PyObject *const *args,
             Py_ssize_t count, PyObject *kwnames)
{
    return call(object, defining_class, args, count, kwnames, ISLES_CALL_CHUNK);
}

PyDoc_STRVAR(
    exec_doc,
    "exec($self, code, /)\n--\n\n"
    "Run code in the interpreter's __main__, on this thread; returns None.\n\n"
    "code is a str, a code object, or a function without arguments.  Repeated sources are\n"
    "compiled once.  Raises as call() does.  Follows PEP 734.");

static PyObject *
interp_exec(PyObject *object, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
            PyObject *kwnames)
{
    struct isles_state *state = isles__state_of(defining_class);
    struct isles_interp *interp = known((Interpreter *)object, state);
    if (interp == NULL) {
        return NULL;
    }
    if (count != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_SetString(PyExc_TypeError, "exec() takes exactly one positional argument");
        return NULL;
    }
    return isles__exec(state, interp, args[0]);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nSee isles.Interpreter.close().");

static PyObject *
interp_close(PyObject *object, PyTypeObject *defining_class, PyObject *const *Py_UNUSED(args),
             Py_ssize_t count, PyObject *kwnames)
{
    struct isles_state *state = isles__state_of(defining_class);
    struct isles_interp *interp = known((Interpreter *)object, state);
    if (interp == NULL) {
        return NULL;
    }
    if (count > 0 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_SetString(PyExc_TypeError, "close() takes no arguments");
        return NULL;
    }
    int status = isles__gate_close(interp);
    if (status < 0) {
        return isles__raise_status(state, status, interp->id);
    }
    Py_RETURN_NONE;
}

static PyObject *
interp_id(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(((Interpreter *)self)->id);
}

/* threading's and multiprocessing's way: who has no name is called by what it is. */
static PyObject *
interp_name(PyObject *object, void *Py_UNUSED(closure))
{
    const Interpreter *self = (Interpreter *)object;
    char *name = NULL;
    if (self->interp != NULL && isles_interp_name(self->interp, &name) < 0) {
        return PyErr_NoMemory();
    }
    if (name == NULL) {
        return self->id == 0 ? PyUnicode_FromString("MainInterpreter")
                             : PyUnicode_FromFormat("Interpreter-%lld", (long long)self->id);
    }
    PyObject *text = PyUnicode_FromString(name);
    free(name);
    return text;
}

static int
interp_set_name(PyObject *object, PyObject *value, void *Py_UNUSED(closure))
{
    const Interpreter *self = (Interpreter *)object;
    if (value == NULL || !PyUnicode_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "the name of an interpreter must be a str");
        return -1;
    }
    Py_ssize_t size;
    const char *name = PyUnicode_AsUTF8AndSize(value, &size);
    if (name == NULL) {
        return -1;
    }
    if (size == 0 || strlen(name) != (size_t)size) {
        PyErr_SetString(PyExc_ValueError,
                        "the name of an interpreter may not be empty or contain null characters");
        return -1;
    }
    const struct isles_state *state = isles__state_of_subclass(Py_TYPE(object));
    if (state == NULL || known(self, state) == NULL) {
        return -1;
    }
    if (isles_interp_set_name(self->interp, name) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static PyObject *
interp_is_named(PyObject *object, void *Py_UNUSED(closure))
{
    const Interpreter *self = (Interpreter *)object;
    char *name = NULL;
    if (self->interp != NULL && isles_interp_name(self->interp, &name) < 0) {
        return PyErr_NoMemory();
    }
    free(name);
    return PyBool_FromLong(name != NULL);
}

/* For pickle: (type, (id,)).  On its way to another interpreter it holds this one. */
static PyObject *
interp_reduce(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    const Interpreter *self = (Interpreter *)object;
    struct isles_thread *thread = isles_thread_self();
    struct isles_message *message = thread ? thread->writing : NULL;
    uint32_t index;
    if (self->interp != NULL && message != NULL
        && isles__gate_attach(self->interp, message, &index) < 0) {
        return PyErr_NoMemory();
    }
    return Py_BuildValue("O(L)", Py_TYPE(object), (long long)self->id);
}

static PyMethodDef interp_methods[] = {
    {"_create", (PyCFunction)(void (*)(void))interp_create,
     METH_VARARGS | METH_KEYWORDS | METH_CLASS, create_doc},
    {"__reduce__", interp_reduce, METH_NOARGS, NULL},
    {"call", (PyCFunction)(void (*)(void))interp_call, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     call_doc},
    {"_task", (PyCFunction)(void (*)(void))interp_task, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     task_doc},
    {"_chunk", (PyCFunction)(void (*)(void))interp_chunk,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, chunk_doc},
    {"exec", (PyCFunction)(void (*)(void))interp_exec, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     exec_doc},
    {"close", (PyCFunction)(void (*)(void))interp_close,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef interp_getset[] = {
    {"id", interp_id, NULL, "The id, an int: unique in the process, never used twice.", NULL},
    {"name", interp_name, interp_set_name,
     "The name, a str, for people: in the repr, in tracebacks and log records; the same from "
     "every\n"
     "interpreter, and not unique.  By default 'Interpreter-3', after the id, or\n"
     "'MainInterpreter'.  Can be set from any interpreter and thread; raises TypeError for what "
     "is\n"
     "no str, ValueError for an empty one, for null characters and surrogates,\n"
     "InterpreterNotFoundError if it has ended, InterpreterError if isles has no part in it.",
     NULL},
    {"_is_named", interp_is_named, NULL, "Whether it was given a name.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef interp_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Interpreter, weakrefs), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot interp_slots[] = {
    {Py_tp_doc, "Interpreter(id, /)\n--\n\nThe base of isles.Interpreter."},
    {Py_tp_new, interp_new},
    {Py_tp_dealloc, interp_dealloc},
    {Py_tp_methods, interp_methods},
    {Py_tp_getset, interp_getset},
    {Py_tp_members, interp_members},
    {0, NULL},
};

static PyType_Spec interp_spec = {
    .name = "isles._interpreters.Interpreter",
    .basicsize = sizeof(Interpreter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = interp_slots,
};

int
isles__interp_init(PyObject *module, struct isles_state *state)
{
    state->interp_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &interp_spec, NULL);
    return state->interp_type == NULL ? -1 : PyModule_AddType(module, state->interp_type);
}
