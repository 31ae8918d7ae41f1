#include "ids.h"

#include "../core/registry.h"
#include "../core/status.h"
#include "errors.h"
#include "private.h"

typedef struct {
    PyObject_HEAD int64_t id;
} InterpreterID;

static int
as_int64(PyObject *object, int64_t *id)
{
    PyObject *number = PyNumber_Index(object);
    if (number == NULL) {
        return -1;
    }
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow != 0 || value < 0) {
        PyErr_Format(PyExc_ValueError, "an interpreter id is between 0 and 2**63 - 1, not %S",
                     number);
        Py_DECREF(number);
        return -1;
    }
    Py_DECREF(number);
    *id = value;
    return 0;
}

int
isles__id_parse(const struct isles_state *state, PyObject *object, int64_t *id)
{
    if (Py_IS_TYPE(object, state->id_type)) {
        *id = ((InterpreterID *)object)->id;
        return 0;
    }
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "an interpreter id is an InterpreterID or an int, not %T",
                     object);
        return -1;
    }
    return as_int64(object, id);
}

int
isles__id_existing(const struct isles_state *state, int64_t id, struct isles_interp **interp)
{
    /* In this order: isles_registry_creating() says why. */
    long whence = isles__private_whence(id);
    bool may_be_new = whence == WHENCE_CAPI && isles_registry_creating() > 0;
    struct isles_interp *found = isles_registry_find(id);
    int status = ISLES_OK;
    if (found != NULL && !isles_interp_is_shown(found, state->here)) {
        status = found->forked ? ISLES_FORKED : ISLES_NOT_FOUND;
        isles_interp_unref(found);
    } else if (found == NULL && (whence < 0 || may_be_new)) {
        status = ISLES_NOT_FOUND;
    }
    if (status < 0) {
        isles__raise_status(state, status, id);
        return -1;
    }
    *interp = found;
    return 0;
}

struct isles_interp *
isles__id_resolve(const struct isles_state *state, int64_t id)
{
    struct isles_interp *interp;
    if (isles__id_existing(state, id, &interp) < 0) {
        return NULL;
    }
    if (interp == NULL) {
        isles__raise_status(state, ISLES_UNRECOGNIZED, id);
    }
    return interp;
}

static PyObject *
id_alloc(PyTypeObject *type, int64_t id)
{
    InterpreterID *self = (InterpreterID *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->id = id;
    }
    return (PyObject *)self;
}

PyObject *
isles__id_new(const struct isles_state *state, int64_t id)
{
    return id_alloc(state->id_type, id);
}

static PyObject *
id_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    PyObject *object;
    int64_t id;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:InterpreterID", names, &object)) {
        return NULL;
    }
    if (!PyLong_Check(object) && !Py_IS_TYPE(object, type)) {
        return PyErr_Format(PyExc_TypeError,
                            "an interpreter id is an InterpreterID or an int, not %T", object);
    }
    return as_int64(object, &id) < 0 ? NULL : id_alloc(type, id);
}

static void
id_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
id_int(PyObject *self)
{
    return PyLong_FromLongLong(((InterpreterID *)self)->id);
}

static PyObject *
id_repr(PyObject *self)
{
    return PyUnicode_FromFormat("InterpreterID(%lld)", (long long)((InterpreterID *)self)->id);
}

/* As the int's, because the two are equal. */
static Py_hash_t
id_hash(PyObject *self)
{
    PyObject *number = id_int(self);
    Py_hash_t hash = number ? PyObject_Hash(number) : -1;
    Py_XDECREF(number);
    return hash;
}

static PyObject *
id_richcompare(PyObject *self, PyObject *other, int op)
{
    if ((op != Py_EQ && op != Py_NE)
        || !(PyLong_Check(other) || Py_IS_TYPE(other, Py_TYPE(self)))) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *left = id_int(self);
    PyObject *right = left ? PyNumber_Index(other) : NULL;
    PyObject *result = right ? PyObject_RichCompare(left, right, op) : NULL;
    Py_XDECREF(left);
    Py_XDECREF(right);
    return result;
}

static PyObject *
id_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("O(L)", Py_TYPE(self), (long long)((InterpreterID *)self)->id);
}

PyDoc_STRVAR(id_doc,
             "InterpreterID(id, /)\n--\n\n"
             "The id of an interpreter: an opaque handle, never used twice in a process.\n\n"
             "Equal to the int of its value and hashed like it; int() and\n"
             "operator.index() give that int; it has no order.  Pickles.");

static PyMethodDef id_methods[] = {
    {"__reduce__", id_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot id_slots[] = {
    {Py_tp_doc, (void *)id_doc}, {Py_tp_new, id_tp_new},
    {Py_tp_dealloc, id_dealloc}, {Py_tp_repr, id_repr},
    {Py_tp_hash, id_hash},       {Py_tp_richcompare, id_richcompare},
    {Py_tp_methods, id_methods}, {Py_nb_int, id_int},
    {Py_nb_index, id_int},       {0, NULL},
};

static PyType_Spec id_spec = {
    .name = "isles._interpreters.InterpreterID",
    .basicsize = sizeof(InterpreterID),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = id_slots,
};

int
isles__ids_init(PyObject *module, struct isles_state *state)
{
    state->id_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &id_spec, NULL);
    return state->id_type == NULL ? -1 : PyModule_AddType(module, state->id_type);
}
