#include "../core/status.h"
#include "queues_parts.h"
#include "waiters_parts.h"

/* Ends it, once; as isles_pending_end(). */
static int
end(struct isles_waiter_object *self, struct isles_parcel **parcels)
{
    struct isles_pending *pending = self->pending;
    *parcels = NULL;
    if (pending == NULL) {
        return ISLES_TIMED_OUT;
    }
    self->pending = NULL;
    return isles_pending_end(pending, isles__queue_of(self->queue), parcels);
}

static void
cancel(struct isles_waiter_object *self)
{
    struct isles_parcel *parcels;
    int status = end(self, &parcels);
    if (status == 0 && parcels != NULL) { /* a reader's: a writer's are all put */
        isles_queue_put_back(isles__queue_of(self->queue), parcels);
    } else {
        isles_parcels_free(parcels);
    }
}

PyDoc_STRVAR(waiter_cancel_doc,
             "cancel($self, /)\n--\n\n"
             "Wait no more.  An item that was just got goes back, before all others.");

static PyObject *
waiter_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    cancel((struct isles_waiter_object *)self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waiter_result_doc,
             "result($self, /)\n--\n\n"
             "What get() or put() came to, once: the item, or None; raises as Queue.get() and\n"
             "put() do.");

static PyObject *
waiter_result(PyObject *object, PyTypeObject *defining_class, PyObject *const *Py_UNUSED(args),
              Py_ssize_t Py_UNUSED(count), PyObject *Py_UNUSED(kwnames))
{
    struct isles_waiter_object *self = (struct isles_waiter_object *)object;
    struct isles_state *state = isles__state_of(defining_class);
    struct isles_parcel *parcels;
    int status = end(self, &parcels);
    PyObject *result = NULL;
    if (status < 0) {
        isles__queue_raise(state, status, isles__queue_of(self->queue), self->puts);
    } else {
        result = self->puts ? Py_NewRef(Py_None) : isles__queue_open(state, parcels);
    }
    isles_parcels_free(parcels);
    return result;
}

static void
waiter_dealloc(PyObject *object)
{
    struct isles_waiter_object *self = (struct isles_waiter_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject *error = PyErr_GetRaisedException();
    cancel(self);
    PyErr_SetRaisedException(error);
    Py_DECREF(self->queue);
    type->tp_free(object);
    Py_DECREF(type);
}

struct isles_waiter_object *
isles__waiter_new(const struct isles_state *state, PyObject *queue, bool puts)
{
    struct isles_waiter_object *self =
        (struct isles_waiter_object *)state->waiter_type->tp_alloc(state->waiter_type, 0);
    if (self != NULL) {
        self->queue = Py_NewRef(queue);
        self->puts = puts;
    }
    return self;
}

#define FAST METH_METHOD | METH_FASTCALL | METH_KEYWORDS
#define METHOD(name, flags)                                                                        \
    {#name, (PyCFunction)(void (*)(void))waiter_##name, flags, waiter_##name##_doc}

static PyMethodDef waiter_methods[] = {
    METHOD(cancel, METH_NOARGS),
    METHOD(result, FAST),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot waiter_slots[] = {
    {Py_tp_doc, "A put or get that waits: what _Notifier gives.  One thread at a time."},
    {Py_tp_dealloc, waiter_dealloc},
    {Py_tp_methods, waiter_methods},
    {0, NULL},
};

static PyType_Spec waiter_spec = {
    .name = "isles._interpreters._Waiter",
    .basicsize = sizeof(struct isles_waiter_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = waiter_slots,
};

int
isles__waiters_init(PyObject *module, struct isles_state *state)
{
    state->waiter_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &waiter_spec, NULL);
    return state->waiter_type == NULL || PyModule_AddType(module, state->waiter_type) < 0
               ? -1
               : isles__notifiers_init(module, state);
}
