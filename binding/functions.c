#include "functions.h"

#include <marshal.h> /* not in Python.h */
#include <stdatomic.h>

#include "codec.h"
#include "errors.h"
#include "interrupts.h"

/* A shipment is a tuple, so that the collector sees what it holds. */
enum {
    SHIPMENT_KEY,     /* int */
    SHIPMENT_KIND,    /* int: see isles_cargo */
    SHIPMENT_PAYLOAD, /* bytes: likewise */
    SHIPMENT_REF,     /* weak reference to the function; its callback forgets the shipment */
    SHIPMENT_WATCHES, /* tuple of (owner, where, value), see watch_holds() */
    SHIPMENT_FIELDS,
};
#define FIELD(shipment, index) PyTuple_GET_ITEM(shipment, index)

/* Process-wide, so that a key means the same in every interpreter. */
static atomic_llong next_key = 1;

/* ---- is it still what was packed? ---- */

/* The object behind `reference`, if that is a weak one: a new reference, or NULL without error. */
static PyObject *
resolve(PyObject *reference)
{
    if (!PyWeakref_Check(reference)) {
        return Py_NewRef(reference);
    }
    PyObject *object;
    if (PyWeakref_GetRef(reference, &object) < 0) {
        PyErr_Clear();
        return NULL;
    }
    return object;
}

/* What a function captured at `where`: a cell by its index, a global by its name.  A borrowed
 * reference or NULL. */
static PyObject *
captured(PyObject *function, PyObject *where)
{
    if (PyLong_CheckExact(where)) {
        /* A function keeps its cells for life. */
        PyObject *closure = PyFunction_GET_CLOSURE(function);
        return PyCell_GET(PyTuple_GET_ITEM(closure, PyLong_AsSsize_t(where)));
    }
    return PyDict_GetItemWithError(PyFunction_GET_GLOBALS(function), where);
}

/* Whether a function still has the code and the defaults that `value` (a pair) holds, and nothing
 * else that a copy would carry. */
static bool
is_untouched(PyObject *function, PyObject *value)
{
    PyObject *defaults = PyFunction_GET_DEFAULTS(function);
    PyObject *attributes = ((PyFunctionObject *)function)->func_dict;
    return PyFunction_GET_CODE(function) == PyTuple_GET_ITEM(value, 0)
           && (defaults ? defaults : Py_None) == PyTuple_GET_ITEM(value, 1)
           && PyFunction_GET_KW_DEFAULTS(function) == NULL
           && (attributes == NULL || PyDict_GET_SIZE(attributes) == 0);
}

/* A watch is (owner, where, value): what `owner` (None: the function itself; else a weak reference
 * to one that it uses) captured at `where` is `value`, weakly held where that is possible.  Where
 * None: its code and defaults.  A pair (owner, name) watches that a global is absent. */
static bool
watch_holds(PyObject *function, PyObject *watch)
{
    PyObject *owner = PyTuple_GET_ITEM(watch, 0);
    owner = owner == Py_None ? Py_NewRef(function) : resolve(owner);
    if (owner == NULL) {
        return false;
    }
    PyObject *where = PyTuple_GET_ITEM(watch, 1);
    bool same;
    if (where == Py_None) {
        same = is_untouched(owner, PyTuple_GET_ITEM(watch, 2));
    } else if (PyTuple_GET_SIZE(watch) == 2) {
        same = captured(owner, where) == NULL;
    } else {
        PyObject *then = resolve(PyTuple_GET_ITEM(watch, 2));
        same = then != NULL && captured(owner, where) == then;
        Py_XDECREF(then);
    }
    Py_DECREF(owner);
    return same;
}

static bool
is_current(PyObject *function, PyObject *shipment)
{
    PyObject *meant = resolve(FIELD(shipment, SHIPMENT_REF));
    Py_XDECREF(meant);
    if (meant != function) {
        return false;
    }
    PyObject *watches = FIELD(shipment, SHIPMENT_WATCHES);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(watches); i++) {
        if (!watch_holds(function, PyTuple_GET_ITEM(watches, i))) {
            PyErr_Clear();
            return false;
        }
    }
    return true;
}

/* ---- pack ---- */

/* Those of which a second call sees the same object, and that something can refer to weakly.
 * Bound methods are made anew at each access and carry an object that may have changed. */
static bool
is_rememberable(PyObject *callable)
{
    if (PyFunction_Check(callable) || PyType_Check(callable)) {
        return true;
    }
    if (!PyCFunction_CheckExact(callable)) {
        return false;
    }
    PyObject *self = PyCFunction_GET_SELF(callable);
    return self == NULL || PyModule_Check(self);
}

/* The callback of a function's weak reference; `self` is (shipments, address). */
static PyObject *
forget(PyObject *self, PyObject *Py_UNUSED(reference))
{
    PyObject *gone = PyTuple_GET_ITEM(self, 1);
    if (PyDict_DelItem(PyTuple_GET_ITEM(self, 0), gone) < 0) {
        PyErr_Clear();
    }
    Py_RETURN_NONE;
}

static PyMethodDef forget_method = {"forget", forget, METH_O, NULL};

static PyObject *
watched_reference(struct isles_state *state, PyObject *function, PyObject *address)
{
    PyObject *self = PyTuple_Pack(2, state->shipments, address);
    PyObject *callback = self ? PyCFunction_New(&forget_method, self) : NULL;
    PyObject *reference = callback ? PyWeakref_NewRef(function, callback) : NULL;
    Py_XDECREF(self);
    Py_XDECREF(callback);
    return reference;
}

/* `packed` is the answer of isles._pack.pack. */
static PyObject *
shipment_new(struct isles_state *state, PyObject *function, PyObject *address, PyObject *packed)
{
    PyObject *key = PyLong_FromLongLong(atomic_fetch_add(&next_key, 1));
    PyObject *reference = watched_reference(state, function, address);
    PyObject *shipment = NULL;
    if (key != NULL && reference != NULL) {
        shipment =
            PyTuple_Pack(SHIPMENT_FIELDS, key, PyTuple_GET_ITEM(packed, 0),
                         PyTuple_GET_ITEM(packed, 1), reference, PyTuple_GET_ITEM(packed, 2));
    }
    Py_XDECREF(key);
    Py_XDECREF(reference);
    return shipment;
}

static void
remember_last(struct isles_state *state, PyObject *function, PyObject *shipment)
{
    state->last_function = function;
    Py_XSETREF(state->last_shipment, Py_NewRef(shipment));
}

/* The answer of isles._pack.pack is (kind, payload, watches), with None for watches where it may
 * not be remembered. */
static PyObject *
ask_helper(const struct isles_state *state, PyObject *callable)
{
    PyObject *helper = isles__import("isles._pack");
    PyObject *packed = helper ? PyObject_CallMethod(helper, "pack", "(O)", callable) : NULL;
    Py_XDECREF(helper);
    if (packed == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        isles__raise_not_shareable(state, callable, NULL);
    }
    return packed;
}

static void
cargo_set(struct isles_cargo *cargo, PyObject *owner, PyObject *kind, PyObject *payload,
          int64_t key)
{
    cargo->owner = owner;
    cargo->key = key;
    cargo->kind = (enum isles_cargo_kind)PyLong_AsLong(kind);
    cargo->bytes = PyBytes_AS_STRING(payload);
    cargo->size = (size_t)PyBytes_GET_SIZE(payload);
}

static void
cargo_of_shipment(struct isles_cargo *cargo, PyObject *shipment)
{
    cargo_set(cargo, Py_NewRef(shipment), FIELD(shipment, SHIPMENT_KIND),
              FIELD(shipment, SHIPMENT_PAYLOAD), PyLong_AsLongLong(FIELD(shipment, SHIPMENT_KEY)));
}

static int
pack_anew(struct isles_state *state, PyObject *callable, struct isles_cargo *cargo)
{
    PyObject *packed = ask_helper(state, callable);
    if (packed == NULL) {
        return -1;
    }
    if (PyTuple_GET_ITEM(packed, 2) == Py_None || !is_rememberable(callable)) {
        PyObject *payload = PyTuple_GET_ITEM(packed, 1);
        cargo_set(cargo, Py_NewRef(payload), PyTuple_GET_ITEM(packed, 0), payload, 0);
        Py_DECREF(packed);
        return 0;
    }
    PyObject *address = PyLong_FromVoidPtr(callable);
    PyObject *shipment = address ? shipment_new(state, callable, address, packed) : NULL;
    int result = shipment ? PyDict_SetItem(state->shipments, address, shipment) : -1;
    if (result == 0) {
        remember_last(state, callable, shipment);
        cargo_of_shipment(cargo, shipment);
    }
    Py_XDECREF(address);
    Py_XDECREF(shipment);
    Py_DECREF(packed);
    return result;
}

int
isles__function_pack(struct isles_state *state, PyObject *callable, struct isles_cargo *cargo)
{
    if (callable == state->last_function && is_current(callable, state->last_shipment)) {
        cargo_of_shipment(cargo, state->last_shipment);
        return 0;
    }
    if (is_rememberable(callable)) {
        PyObject *address = PyLong_FromVoidPtr(callable);
        if (address == NULL) {
            return -1;
        }
        PyObject *shipment = PyDict_GetItemWithError(state->shipments, address); /* borrowed */
        Py_DECREF(address);
        if (shipment != NULL && is_current(callable, shipment)) {
            remember_last(state, callable, shipment);
            cargo_of_shipment(cargo, shipment);
            return 0;
        }
    }
    return pack_anew(state, callable, cargo);
}

/* ---- unpack ---- */

static PyObject *
import_by_name(const char *module_name, const char *qualname)
{
    PyObject *object = PyImport_ImportModule(module_name);
    PyObject *path = object ? PyUnicode_FromString(qualname) : NULL;
    PyObject *dot = path ? PyUnicode_FromString(".") : NULL;
    PyObject *names = dot ? PyUnicode_Split(path, dot, -1) : NULL;
    for (Py_ssize_t i = 0; names != NULL && object != NULL && i < PyList_GET_SIZE(names); i++) {
        Py_SETREF(object, PyObject_GetAttr(object, PyList_GET_ITEM(names, i)));
    }
    if (names == NULL) {
        Py_CLEAR(object);
    }
    Py_XDECREF(path);
    Py_XDECREF(dot);
    Py_XDECREF(names);
    return object;
}

/* The bytes stay until it returns. */
static PyObject *
unpickle(struct isles_local *local, const char *bytes, size_t size)
{
    PyObject *loads = isles__local_loads(local); /* borrowed */
    PyObject *view =
        loads ? PyMemoryView_FromMemory((char *)bytes, (Py_ssize_t)size, PyBUF_READ) : NULL;
    PyObject *object = view ? PyObject_CallOneArg(loads, view) : NULL;
    Py_XDECREF(view);
    return object;
}

/* A function whose code says all: its globals are those of __main__.  Needs no import, and so the
 * interpreter none of the modules that unpickling comes with. */
static PyObject *
function_of_code(const char *bytes, size_t size)
{
    PyObject *module = PyImport_AddModuleRef("__main__");
    PyObject *parts = module ? PyMarshal_ReadObjectFromString(bytes, (Py_ssize_t)size) : NULL;
    PyObject *name, *qualname, *code, *function = NULL;
    if (parts != NULL && PyArg_ParseTuple(parts, "OOO", &name, &qualname, &code)) {
        function = PyFunction_NewWithQualName(code, PyModule_GetDict(module), qualname);
    }
    if (function != NULL && PyObject_SetAttrString(function, "__name__", name) < 0) {
        Py_CLEAR(function);
    }
    Py_XDECREF(module);
    Py_XDECREF(parts);
    return function;
}

static PyObject *
unpack(struct isles_local *local, const struct isles_cargo *cargo)
{
    if (cargo->kind == ISLES_CARGO_PICKLE) {
        return unpickle(local, cargo->bytes, cargo->size);
    }
    if (cargo->kind == ISLES_CARGO_NAME) {
        return import_by_name(cargo->bytes, cargo->bytes + strlen(cargo->bytes) + 1);
    }
    return function_of_code(cargo->bytes, cargo->size);
}

static int
remember(struct isles_local *local, const struct isles_cargo *cargo, PyObject *key,
         PyObject *callable)
{
    if (PyDict_GET_SIZE(local->callables) >= ISLES_CALLABLES_MAX
        || local->callables_size + cargo->size > ISLES_CALLABLES_SIZE_MAX) {
        PyDict_Clear(local->callables);
        local->callables_size = 0;
    }
    local->callables_size += cargo->size;
    return PyDict_SetItem(local->callables, key, callable);
}

static PyObject *
unpack_remembered(struct isles_local *local, const struct isles_cargo *cargo)
{
    PyObject *key = PyLong_FromLongLong(cargo->key);
    if (key == NULL) {
        return NULL;
    }
    PyObject *callable = Py_XNewRef(PyDict_GetItemWithError(local->callables, key));
    if (callable == NULL && !PyErr_Occurred()) {
        callable = unpack(local, cargo);
        if (callable != NULL && remember(local, cargo, key, callable) < 0) {
            Py_CLEAR(callable);
        }
    }
    Py_DECREF(key);
    if (callable != NULL) {
        local->last_key = cargo->key;
        Py_XSETREF(local->last_callable, Py_NewRef(callable));
    }
    return callable;
}

PyObject *
isles__function_unpack(struct isles_local *local, const struct isles_cargo *cargo)
{
    if (cargo->key == 0 || cargo->size > ISLES_CALLABLE_SIZE_MAX) {
        return unpack(local, cargo);
    }
    if (cargo->key == local->last_key) {
        return Py_NewRef(local->last_callable);
    }
    return unpack_remembered(local, cargo);
}

void
isles__functions_clear(struct isles_state *state)
{
    state->last_function = NULL;
    Py_CLEAR(state->last_shipment);
    Py_CLEAR(state->shipments);
}
