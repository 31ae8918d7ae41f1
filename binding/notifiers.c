#include <stdlib.h>

#include "../core/notifier.h"
#include "../core/registry_threads.h"
#include "../core/status.h"
#include "errors.h"
#include "queues_parts.h"
#include "waiters_parts.h"

typedef struct {
    PyObject_HEAD struct isles_notifier *notifier; /* a reference; NULL: closed */
} Notifier;

/* ---- notes ---- */

/* A note of post(), whose tag is a reference: who takes it drops that. */
static void
posted_drop(struct isles_note *note)
{
    free(note);
}

/* Appends what each note is about to the list, or to nothing, and gives the notes back; at the end
 * None if a wait was ended by the exit of the process. */
static int
take_all(struct isles_note *note, PyObject *list)
{
    int result = 0;
    bool exiting = false;
    while (note != NULL) {
        struct isles_note *next = note->next;
        PyObject *object = note->tag;
        bool posted = note->drop == posted_drop;
        if (object != NULL && list != NULL && PyList_Append(list, object) < 0) {
            result = -1;
        }
        if (object != NULL && !posted && isles_pending_status(note) == ISLES_EXITING) {
            exiting = true;
        }
        note->drop(note);
        if (posted) {
            Py_DECREF(object);
        }
        note = next;
    }
    return exiting && list != NULL && PyList_Append(list, Py_None) < 0 ? -1 : result;
}

/* ---- the type ---- */

static struct isles_notifier *
notifier_of(PyObject *object)
{
    struct isles_notifier *notifier = ((Notifier *)object)->notifier;
    if (notifier == NULL) {
        PyErr_SetString(PyExc_ValueError, "the notifier is closed");
    }
    return notifier;
}

/* The queue that is the first of `wanted` arguments, or NULL with an exception. */
static struct isles_queue *
queue_argument(const struct isles_state *state, PyObject *const *args, Py_ssize_t count,
               Py_ssize_t wanted)
{
    if (count != wanted) {
        PyErr_Format(PyExc_TypeError, "%zd arguments are needed, not %zd", wanted, count);
        return NULL;
    }
    if (!Py_IS_TYPE(args[0], state->queue_type)) {
        PyErr_Format(PyExc_TypeError, "a Queue is needed, not %T", args[0]);
        return NULL;
    }
    return isles__queue_of(args[0]);
}

PyDoc_STRVAR(notifier_get_doc, "get($self, queue, /)\n--\n\n"
                               "As queue.get(), but gives a _Waiter if there is nothing yet.");

static PyObject *
notifier_get(PyObject *self, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
             PyObject *Py_UNUSED(kwnames))
{
    struct isles_state *state = isles__state_of(defining_class);
    struct isles_queue *queue = queue_argument(state, args, count, 1);
    struct isles_notifier *notifier = queue ? notifier_of(self) : NULL;
    struct isles_parcel *parcels = NULL;
    struct isles_waiter_object *waiter = NULL;
    if (notifier == NULL) {
        return NULL;
    }
    int status = isles_queue_get(queue, 1, &parcels, ISLES_AT_ONCE);
    if (status == ISLES_TIMED_OUT) {
        waiter = isles__waiter_new(state, args[0], false);
        if (waiter == NULL) {
            return NULL;
        }
        status = isles_queue_get_pending(queue, &parcels, notifier, waiter, &waiter->pending);
        if (waiter->pending != NULL) {
            return (PyObject *)waiter;
        }
    }
    PyObject *item = status < 0 ? isles__queue_raise(state, status, queue, false)
                                : isles__queue_open(state, parcels);
    isles_parcels_free(parcels);
    Py_XDECREF(waiter);
    return item;
}

PyDoc_STRVAR(notifier_put_doc, "put($self, queue, obj, unbounditems, /)\n--\n\n"
                               "As queue.put(), but gives a _Waiter if there is no room yet.");

static PyObject *
notifier_put(PyObject *self, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
             PyObject *Py_UNUSED(kwnames))
{
    struct isles_state *state = isles__state_of(defining_class);
    struct isles_queue *queue = queue_argument(state, args, count, 3);
    int unbound = queue ? queue->unbound : 0;
    if (queue == NULL || isles__queue_unbound(state, args[2], true, &unbound) < 0) {
        return NULL;
    }
    struct isles_parcel *parcels = isles__queue_pack(state, args[1], unbound);
    /* Packing runs code of the object's: asked only now. */
    struct isles_notifier *notifier = parcels ? notifier_of(self) : NULL;
    struct isles_waiter_object *waiter = NULL;
    int status = notifier ? isles_queue_put(queue, &parcels, ISLES_AT_ONCE) : ISLES_OK;
    if (status == ISLES_TIMED_OUT && (waiter = isles__waiter_new(state, args[0], true)) != NULL) {
        status = isles_queue_put_pending(queue, &parcels, notifier, waiter, &waiter->pending);
        if (waiter->pending != NULL) {
            return (PyObject *)waiter;
        }
        Py_DECREF(waiter);
    }
    isles_parcels_free(parcels);
    if (status < 0 && !PyErr_Occurred()) {
        isles__queue_raise(state, status, queue, true);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(notifier_post_doc,
             "post($self, obj, /)\n--\n\n"
             "Have take() give an object.  Does nothing if it is closed.  Any thread.");

static PyObject *
notifier_post(PyObject *self, PyObject *object)
{
    struct isles_notifier *notifier = ((Notifier *)self)->notifier;
    if (notifier != NULL) {
        struct isles_note *note = malloc(sizeof(*note));
        if (note == NULL) {
            return PyErr_NoMemory();
        }
        *note = (struct isles_note){.drop = posted_drop, .tag = Py_NewRef(object)};
        isles_notifier_post(notifier, note);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(notifier_take_doc,
             "take($self, /)\n--\n\n"
             "List the _Waiters about which something was decided and the objects that were\n"
             "posted, oldest first, each once; at the end None if a wait was ended by the exit of\n"
             "the process.");

static PyObject *
notifier_take(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct isles_notifier *notifier = ((Notifier *)self)->notifier;
    PyObject *list = PyList_New(0);
    if (list != NULL && notifier != NULL && take_all(isles_notifier_take(notifier), list) < 0) {
        Py_CLEAR(list);
    }
    return list;
}

PyDoc_STRVAR(notifier_fileno_doc, "fileno($self, /)\n--\n\n"
                                  "The file descriptor, readable when take() has something to "
                                  "give.");

static PyObject *
notifier_fileno(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    const struct isles_notifier *notifier = notifier_of(self);
    return notifier ? PyLong_FromLong(notifier->fd) : NULL;
}

static void
close_notifier(Notifier *self)
{
    struct isles_notifier *notifier = self->notifier;
    if (notifier != NULL) {
        self->notifier = NULL;
        isles_loop_forget(notifier);
        (void)take_all(isles_notifier_close(notifier), NULL);
        isles_shared_unref(&notifier->shared);
    }
}

PyDoc_STRVAR(notifier_close_doc,
             "close($self, /)\n--\n\n"
             "Give nothing any more.  The descriptor is closed once nothing waits for it.");

static PyObject *
notifier_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    close_notifier((Notifier *)self);
    Py_RETURN_NONE;
}

static void
notifier_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *error = PyErr_GetRaisedException();
    close_notifier((Notifier *)object);
    PyErr_SetRaisedException(error);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
notifier_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":_Notifier", names)) {
        return NULL;
    }
    Notifier *self = (Notifier *)type->tp_alloc(type, 0);
    struct isles_thread *thread = isles_thread_self();
    int status = self && thread ? isles_notifier_new(&self->notifier) : ISLES_NO_MEMORY;
    if (self != NULL && status == 0) {
        isles_thread_add_loop(thread, self->notifier);
    } else {
        Py_XDECREF(self);
        return isles__raise_status(isles__state_of(type), status, -1);
    }
    return (PyObject *)self;
}

#define FAST METH_METHOD | METH_FASTCALL | METH_KEYWORDS
#define METHOD(name, flags)                                                                        \
    {#name, (PyCFunction)(void (*)(void))notifier_##name, flags, notifier_##name##_doc}

static PyMethodDef notifier_methods[] = {
    METHOD(get, FAST),         METHOD(put, FAST),           METHOD(post, METH_O),
    METHOD(take, METH_NOARGS), METHOD(fileno, METH_NOARGS), METHOD(close, METH_NOARGS),
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(notifier_doc,
             "_Notifier()\n--\n\n"
             "What tells an event loop, by a file descriptor, of gets and puts that waited and of\n"
             "objects that were posted: isles/aio.py.  Interruptions of this thread make the\n"
             "descriptor readable too.");

static PyType_Slot notifier_slots[] = {
    {Py_tp_doc, (void *)notifier_doc},
    {Py_tp_new, notifier_new},
    {Py_tp_dealloc, notifier_dealloc},
    {Py_tp_methods, notifier_methods},
    {0, NULL},
};

static PyType_Spec notifier_spec = {
    .name = "isles._interpreters._Notifier",
    .basicsize = sizeof(Notifier),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = notifier_slots,
};

int
isles__notifiers_init(PyObject *module, struct isles_state *state)
{
    state->notifier_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &notifier_spec, NULL);
    return state->notifier_type == NULL ? -1 : PyModule_AddType(module, state->notifier_type);
}
