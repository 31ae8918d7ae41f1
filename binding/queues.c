#include "queues.h"

#include <math.h>
#include <stdlib.h>

#include "../core/status.h"
#include "codec.h"
#include "errors.h"
#include "signals.h"

typedef struct {
    PyObject_HEAD PyObject *weakrefs;
    PyObject *known;           /* the table that this is in */
    struct isles_queue *queue; /* a reference */
} Queue;

struct isles_queue *
isles__queue_of(PyObject *object)
{
    return ((Queue *)object)->queue;
}

/* ---- one object for each queue ---- */

/* The object that the table of addresses by id has, a new reference; NULL without an exception if
 * there is none.  Objects take themselves out before anything else, so none is half dead. */
static PyObject *
known_object(PyObject *known, PyObject *key)
{
    PyObject *address = PyDict_GetItemWithError(known, key); /* borrowed */
    return address ? Py_NewRef(PyLong_AsVoidPtr(address)) : NULL;
}

static int
make_known(Queue *self, PyObject *known, PyObject *key)
{
    PyObject *address = PyLong_FromVoidPtr(self);
    int result = address ? PyDict_SetItem(known, key, address) : -1;
    Py_XDECREF(address);
    if (result == 0) {
        self->known = Py_NewRef(known);
    }
    return result;
}

static void
forget(Queue *self)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *key = PyLong_FromLongLong(self->queue->id);
    if (key == NULL || PyDict_DelItem(self->known, key) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    Py_XDECREF(key);
    PyErr_SetRaisedException(error);
}

PyObject *
isles__queue_object(const struct isles_state *state, struct isles_queue *queue)
{
    PyObject *key = PyLong_FromLongLong(queue->id);
    PyObject *object = key ? known_object(state->known_queues, key) : NULL;
    Queue *self = NULL;
    if (key != NULL && object == NULL && !PyErr_Occurred()) {
        self = (Queue *)state->queue_type->tp_alloc(state->queue_type, 0);
    }
    if (self == NULL) {
        isles_shared_unref(&queue->shared);
    } else {
        self->queue = queue;
        object = (PyObject *)self;
        if (make_known(self, state->known_queues, key) < 0) {
            Py_CLEAR(object);
        }
    }
    Py_XDECREF(key);
    return object;
}

/* For the type's sake, which each object holds: what keeps a queue may be found to be garbage only
 * in the last collection of an interpreter (logging's handlers are), and so must be its type.  The
 * table is not shown, so that it isn't emptied while there are objects to be taken out. */
static int
queue_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static void
queue_dealloc(PyObject *object)
{
    Queue *self = (Queue *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->known != NULL) {
        forget(self);
        Py_DECREF(self->known);
    }
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->queue != NULL) {
        isles_shared_unref(&self->queue->shared);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- isles.queues, the half in Python: imported at the first need ---- */

/* An attribute of it, a new reference. */
static PyObject *
from_python(struct isles_state *state, const char *name)
{
    if (state->queues_module == NULL) {
        state->queues_module = PyImport_ImportModule("isles.queues");
    }
    return state->queues_module ? PyObject_GetAttrString(state->queues_module, name) : NULL;
}

static void
raise_named(struct isles_state *state, const char *name, const struct isles_queue *queue,
            const char *what)
{
    PyObject *type = from_python(state, name);
    if (type != NULL) {
        PyErr_Format(type, "queue %lld %s", (long long)queue->id, what);
        Py_DECREF(type);
    }
}

PyObject *
isles__queue_raise(struct isles_state *state, int status, const struct isles_queue *queue,
                   bool putting)
{
    switch (status) {
    case ISLES_INTERRUPTED: /* what the signal's handler raised is set */
        break;
    case ISLES_TIMED_OUT:
        raise_named(state, putting ? "QueueFull" : "QueueEmpty", queue,
                    putting ? "is full" : "is empty");
        break;
    case ISLES_SHUT_DOWN:
        raise_named(state, "ShutDown", queue, isles_status_text(status));
        break;
    default:
        isles__raise_status(state, status, -1);
    }
    return NULL;
}

/* The constants by what they stand for in core/. */
static const char *const unbound_names[] = {
    [ISLES_UNBOUND_REMOVE] = "UNBOUND_REMOVE",
    [ISLES_UNBOUND_ERROR] = "UNBOUND_ERROR",
    [ISLES_UNBOUND_REPLACE] = "UNBOUND",
};

int
isles__queue_unbound(struct isles_state *state, PyObject *object, bool or_none, int *unbound)
{
    if (object == NULL || (or_none && object == Py_None)) {
        return 0;
    }
    for (int i = ISLES_UNBOUND_REMOVE; i <= ISLES_UNBOUND_REPLACE; i++) {
        PyObject *constant = from_python(state, unbound_names[i]);
        if (constant == NULL) {
            return -1;
        }
        Py_DECREF(constant);
        if (constant == object) {
            *unbound = i;
            return 0;
        }
    }
    PyErr_Format(PyExc_NotImplementedError, "unsupported unbound replacement op %R", object);
    return -1;
}

/* ---- arguments ---- */

struct signature {
    const char *method;
    const char *names[4];
    int positional; /* how many may go by position; the first is required */
    bool no_first;  /* unless this says that it isn't */
};

/* Sorts what a method was called with by the names; what was not given stays NULL. */
static int
sort_arguments(const struct signature *signature, PyObject *const *args, Py_ssize_t count,
               PyObject *kwnames, PyObject **values)
{
    if (count > signature->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments (%zd given)",
                     signature->method, signature->positional, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        values[i] = args[i];
    }
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        size_t at = 0;
        while (at < Py_ARRAY_LENGTH(signature->names)
               && !(signature->names[at] && PyUnicode_EqualToUTF8(name, signature->names[at]))) {
            at++;
        }
        if (at == Py_ARRAY_LENGTH(signature->names) || values[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected or repeated argument '%U'",
                         signature->method, name);
            return -1;
        }
        values[at] = args[count + i];
    }
    if (values[0] == NULL && !signature->no_first) {
        PyErr_Format(PyExc_TypeError, "%s() misses its argument '%s'", signature->method,
                     signature->names[0]);
        return -1;
    }
    return 0;
}

/* Seconds beyond which a wait is one without a deadline. */
#define FOR_EVER 4e9

static int
parse_timeout(PyObject *timeout, int64_t *deadline)
{
    *deadline = ISLES_NEVER;
    if (timeout == NULL || timeout == Py_None) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (seconds < 0 || isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be non-negative");
        return -1;
    }
    if (isinf(seconds)) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is infinite: None waits for ever");
        return -1;
    }
    if (seconds == 0) {
        *deadline = ISLES_AT_ONCE;
    } else if (seconds < FOR_EVER) {
        *deadline = isles_now() + (int64_t)(seconds * 1e9);
    }
    return 0;
}

/* As `queue` reads these two: without `block` the timeout does not count. */
static int
parse_waiting(PyObject *block, PyObject *timeout, int64_t *deadline)
{
    int waits = block == NULL || block == Py_True ? 1 : PyObject_IsTrue(block);
    if (waits < 0) {
        return -1;
    }
    if (!waits) {
        *deadline = ISLES_AT_ONCE;
        return 0;
    }
    return parse_timeout(timeout, deadline);
}

/* ---- waiting ---- */

struct transfer {
    struct isles_queue *queue;
    size_t max;
    struct isles_parcel *parcels;
};

static int
put_attempt(void *arg, int64_t deadline)
{
    struct transfer *transfer = arg;
    return isles_queue_put(transfer->queue, &transfer->parcels, deadline);
}

static int
get_attempt(void *arg, int64_t deadline)
{
    struct transfer *transfer = arg;
    return isles_queue_get(transfer->queue, transfer->max, &transfer->parcels, deadline);
}

/* Tries at once and then, if need be, waits: without the GIL, and again when a signal was handled
 * meanwhile.  ISLES_INTERRUPTED means that its handler raised. */
static int
wait_for(int (*attempt)(void *, int64_t), void *arg, int64_t deadline)
{
    int status = attempt(arg, ISLES_AT_ONCE);
    if (status != ISLES_TIMED_OUT || deadline == ISLES_AT_ONCE) {
        return status;
    }
    do {
        isles__signals_parked(true);
        Py_BEGIN_ALLOW_THREADS
            status = attempt(arg, deadline);
        Py_END_ALLOW_THREADS
        isles__signals_parked(false);
    } while (status == ISLES_INTERRUPTED && isles__signals_check() == 0);
    return status;
}

/* ---- put ---- */

struct isles_parcel *
isles__queue_pack(const struct isles_state *state, PyObject *object, int unbound)
{
    struct isles_local *local = isles__local(state->here);
    struct isles_message message;
    struct isles_parcel *parcel = NULL;
    isles_message_init(&message);
    if (local != NULL && isles__encode(state, local, &message, object, "item") == 0) {
        parcel = isles_message_pack(&message);
        if (parcel == NULL) {
            PyErr_NoMemory();
        } else {
            parcel->sender = state->here->id;
            parcel->unbound = unbound;
        }
    }
    isles_message_fini(&message);
    if (state->here->over) { /* what was given back already, and has just been made again */
        isles__local_free(state->here);
    }
    return parcel;
}

/* Frees what a put left over and raises; NULL. */
static PyObject *
put_failed(struct isles_state *state, int status, const struct transfer *transfer)
{
    isles_parcels_free(transfer->parcels);
    return isles__queue_raise(state, status, transfer->queue, true);
}

static PyObject *
put(struct isles_state *state, struct isles_queue *queue, PyObject *object, int64_t deadline,
    PyObject *unbounditems)
{
    int unbound = queue->unbound;
    if (isles__queue_unbound(state, unbounditems, true, &unbound) < 0) {
        return NULL;
    }
    struct transfer transfer = {.queue = queue,
                                .parcels = isles__queue_pack(state, object, unbound)};
    if (transfer.parcels == NULL) {
        return NULL;
    }
    int status = wait_for(put_attempt, &transfer, deadline);
    if (status < 0) {
        return put_failed(state, status, &transfer);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    put_doc,
    "put($self, /, obj, block=True, timeout=None, *, unbounditems=None)\n--\n\n"
    "Put a copy of an object into the queue, after all others.\n\n"
    "block: wait while the queue is full, at most `timeout` seconds (a number, not negative;\n"
    "None: as long as it takes).  unbounditems: what becomes of the item when the calling\n"
    "interpreter ends before it was got; None is what create_queue() was told.\n\n"
    "Raises QueueFull, ShutDown, NotShareableError for what can't be pickled.  Thread-safe;\n"
    "who waits is served in order, holds no GIL, and is interrupted by Ctrl-C.  Follows\n"
    "concurrent.interpreters.Queue.");

static PyObject *
queue_put(PyObject *self, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
          PyObject *kwnames)
{
    static const struct signature signature = {
        "put", {"obj", "block", "timeout", "unbounditems"}, 3, false};
    PyObject *values[4] = {NULL};
    int64_t deadline;
    if (sort_arguments(&signature, args, count, kwnames, values) < 0
        || parse_waiting(values[1], values[2], &deadline) < 0) {
        return NULL;
    }
    return put(isles__state_of(defining_class), isles__queue_of(self), values[0], deadline,
               values[3]);
}

PyDoc_STRVAR(put_nowait_doc, "put_nowait($self, /, obj, *, unbounditems=None)\n--\n\n"
                             "put() that raises QueueFull at once rather than wait.");

static PyObject *
queue_put_nowait(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
                 Py_ssize_t count, PyObject *kwnames)
{
    static const struct signature signature = {"put_nowait", {"obj", "unbounditems"}, 1, false};
    PyObject *values[4] = {NULL};
    if (sort_arguments(&signature, args, count, kwnames, values) < 0) {
        return NULL;
    }
    return put(isles__state_of(defining_class), isles__queue_of(self), values[0], ISLES_AT_ONCE,
               values[1]);
}

/* A chain of all items, and how many they are.  0, or -1 with an exception and no chain. */
static int
pack_all(const struct isles_state *state, PyObject *items, int unbound,
         struct isles_parcel **parcels, Py_ssize_t *count)
{
    struct isles_parcel *first = NULL, **end = &first;
    PyObject *item = NULL, *iterator = PyObject_GetIter(items);
    *count = 0;
    while (iterator != NULL && (item = PyIter_Next(iterator)) != NULL) {
        *end = isles__queue_pack(state, item, unbound);
        Py_DECREF(item);
        if (*end == NULL) {
            break;
        }
        end = &(*end)->next;
        ++*count;
    }
    Py_XDECREF(iterator);
    if (PyErr_Occurred()) {
        isles_parcels_free(first);
        return -1;
    }
    *parcels = first;
    return 0;
}

/* Tells in the exception how many items of put_many() were put. */
static void
set_items_put(Py_ssize_t count)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *number = PyLong_FromSsize_t(count);
    if (number == NULL || PyObject_SetAttrString(error, "items_put", number) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(number);
    PyErr_SetRaisedException(error);
}

PyDoc_STRVAR(
    put_many_doc,
    "put_many($self, /, items, block=True, timeout=None, *, unbounditems=None)\n--\n\n"
    "Put a copy of each item of an iterable, in order; faster than a put() for each.\n\n"
    "All are copied before the first one is put, so that one that can't be copied\n"
    "(NotShareableError) leaves the queue as it was.  The other parameters are put()'s; the\n"
    "timeout, in seconds, is for all together.  No other writer gets in between, unless a\n"
    "signal is handled meanwhile.\n\n"
    "QueueFull and ShutDown tell in `items_put` how many were put.");

static PyObject *
queue_put_many(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
               Py_ssize_t count, PyObject *kwnames)
{
    static const struct signature signature = {
        "put_many", {"items", "block", "timeout", "unbounditems"}, 3, false};
    PyObject *values[4] = {NULL};
    int64_t deadline;
    struct isles_state *state = isles__state_of(defining_class);
    struct isles_queue *queue = isles__queue_of(self);
    int unbound = queue->unbound;
    struct transfer transfer = {.queue = queue};
    Py_ssize_t items;
    if (sort_arguments(&signature, args, count, kwnames, values) < 0
        || parse_waiting(values[1], values[2], &deadline) < 0
        || isles__queue_unbound(state, values[3], true, &unbound) < 0
        || pack_all(state, values[0], unbound, &transfer.parcels, &items) < 0) {
        return NULL;
    }
    int status = wait_for(put_attempt, &transfer, deadline);
    if (status == 0) {
        Py_RETURN_NONE;
    }
    for (const struct isles_parcel *left = transfer.parcels; left != NULL; left = left->next) {
        items--;
    }
    put_failed(state, status, &transfer);
    set_items_put(items);
    return NULL;
}

PyDoc_STRVAR(put_kept_doc,
             "_put_kept($self, items, /, full_or_not=False)\n--\n\n"
             "As put_many(), and the items stay when the calling interpreter ends, as main's do.\n"
             "full_or_not: put them at once, whatever the maxsize.");

static PyObject *
queue_put_kept(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "full_or_not", NULL};
    struct isles_state *state = isles__state_of(Py_TYPE(self));
    PyObject *object;
    int all = 0;
    struct transfer transfer = {.queue = isles__queue_of(self)};
    Py_ssize_t items;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:_put_kept", names, &object, &all)
        || pack_all(state, object, ISLES_UNBOUND_REPLACE, &transfer.parcels, &items) < 0) {
        return NULL;
    }
    for (struct isles_parcel *parcel = transfer.parcels; parcel != NULL; parcel = parcel->next) {
        parcel->sender = 0;
    }
    int status = wait_for(put_attempt, &transfer, all ? ISLES_FULL_OR_NOT : ISLES_NEVER);
    if (status < 0) {
        return put_failed(state, status, &transfer);
    }
    Py_RETURN_NONE;
}

/* ---- get ---- */

PyObject *
isles__queue_open(struct isles_state *state, const struct isles_parcel *parcel)
{
    if (parcel->sender != ISLES_SENDER_ENDED) {
        struct isles_local *local = isles__local(state->here);
        return local ? isles__decode(local, &parcel->contents) : NULL;
    }
    if (parcel->unbound == ISLES_UNBOUND_REPLACE) {
        return from_python(state, unbound_names[ISLES_UNBOUND_REPLACE]);
    }
    PyObject *type = from_python(state, "ItemInterpreterDestroyed");
    if (type != NULL) {
        PyErr_SetString(type, "item's original interpreter destroyed");
        Py_DECREF(type);
    }
    return NULL;
}

/* NULL with *status < 0, and no exception unless it is ISLES_INTERRUPTED, if nothing came; NULL
 * with an exception and 0 if what came can't be read: then it is gone. */
static PyObject *
get_one(struct isles_state *state, struct isles_queue *queue, int64_t deadline, int *status)
{
    struct transfer transfer = {.queue = queue, .max = 1};
    *status = wait_for(get_attempt, &transfer, deadline);
    if (*status < 0) {
        return NULL;
    }
    PyObject *object = isles__queue_open(state, transfer.parcels);
    isles_parcel_free(transfer.parcels);
    return object;
}

static PyObject *
get(struct isles_state *state, struct isles_queue *queue, int64_t deadline)
{
    int status;
    PyObject *object = get_one(state, queue, deadline, &status);
    return status < 0 ? isles__queue_raise(state, status, queue, false) : object;
}

PyDoc_STRVAR(
    get_doc,
    "get($self, /, block=True, timeout=None)\n--\n\n"
    "Take the oldest item out of the queue and return it.\n\n"
    "block: wait while the queue is empty, at most `timeout` seconds (a number, not\n"
    "negative; None: as long as it takes).  An item whose interpreter has ended is UNBOUND,\n"
    "or raises ItemInterpreterDestroyed, as put() was told.\n\n"
    "Raises QueueEmpty; ShutDown once the queue is shut down and empty.  An item that can't\n"
    "be unpickled here raises what that raises, and is gone.  Thread-safe; who waits is\n"
    "served in order, holds no GIL, uses no CPU, and is interrupted by Ctrl-C.  Follows\n"
    "concurrent.interpreters.Queue.");

static PyObject *
queue_get(PyObject *self, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
          PyObject *kwnames)
{
    static const struct signature signature = {"get", {"block", "timeout"}, 2, true};
    PyObject *values[4] = {NULL};
    int64_t deadline;
    if (sort_arguments(&signature, args, count, kwnames, values) < 0
        || parse_waiting(values[0], values[1], &deadline) < 0) {
        return NULL;
    }
    return get(isles__state_of(defining_class), isles__queue_of(self), deadline);
}

PyDoc_STRVAR(get_nowait_doc, "get_nowait($self, /)\n--\n\n"
                             "get() that raises QueueEmpty at once rather than wait.");

static PyObject *
queue_get_nowait(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
                 Py_ssize_t count, PyObject *kwnames)
{
    static const struct signature signature = {"get_nowait", {NULL}, 0, true};
    PyObject *values[4] = {NULL};
    if (sort_arguments(&signature, args, count, kwnames, values) < 0) {
        return NULL;
    }
    return get(isles__state_of(defining_class), isles__queue_of(self), ISLES_AT_ONCE);
}

/* Appends the objects of a chain to the list, up to one that can't be read; gives that. */
static struct isles_parcel *
open_all(struct isles_state *state, struct isles_parcel *parcels, PyObject *list)
{
    for (; parcels != NULL; parcels = parcels->next) {
        PyObject *object = isles__queue_open(state, parcels);
        int result = object ? PyList_Append(list, object) : -1;
        Py_XDECREF(object);
        if (result < 0) {
            break;
        }
    }
    return parcels;
}

/* Cuts a chain before `at` and gives what is before. */
static struct isles_parcel *
cut(struct isles_parcel *parcels, const struct isles_parcel *at)
{
    struct isles_parcel *first = parcels, **end = &first;
    while (*end != at) {
        end = &(*end)->next;
    }
    *end = NULL;
    return first;
}

/* The objects of a chain in a list.  One that can't be read goes back, so that those before it
 * are not lost, unless it is the first: that one is gone, as with get().  What is no Exception
 * (Ctrl-C) leaves all in the queue. */
static PyObject *
open_many(struct isles_state *state, struct isles_queue *queue, struct isles_parcel *parcels)
{
    PyObject *list = PyList_New(0);
    struct isles_parcel *failed = list ? open_all(state, parcels, list) : parcels;
    struct isles_parcel *back = failed;
    PyObject *error = PyErr_GetRaisedException();
    if (error != NULL && !PyErr_GivenExceptionMatches(error, PyExc_Exception)) {
        back = parcels;
    } else if (failed == parcels) {
        back = failed->next;
    } else {
        Py_CLEAR(error);
    }
    struct isles_parcel *used = back == parcels ? NULL : cut(parcels, back);
    isles_parcels_free(used);
    if (back != NULL) {
        isles_queue_put_back(queue, back);
    }
    if (error != NULL) {
        Py_CLEAR(list);
        PyErr_SetRaisedException(error);
    }
    return list;
}

PyDoc_STRVAR(
    get_many_doc,
    "get_many($self, /, max, block=True, timeout=None)\n--\n\n"
    "Take up to `max` items (an int from 1) out of the queue and return them in a list.\n\n"
    "Waits for the first one as get() does, and raises as it does, but for no more: the\n"
    "list has at least one item.  It ends before an item that raises when it is got.");

static PyObject *
queue_get_many(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
               Py_ssize_t count, PyObject *kwnames)
{
    static const struct signature signature = {"get_many", {"max", "block", "timeout"}, 3, false};
    PyObject *values[4] = {NULL};
    int64_t deadline;
    struct isles_state *state = isles__state_of(defining_class);
    if (sort_arguments(&signature, args, count, kwnames, values) < 0
        || parse_waiting(values[1], values[2], &deadline) < 0) {
        return NULL;
    }
    Py_ssize_t max = PyNumber_AsSsize_t(values[0], NULL); /* a large one is cut */
    if (max == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (max < 1) {
        PyErr_SetString(PyExc_ValueError, "max must be at least 1");
        return NULL;
    }
    struct transfer transfer = {.queue = isles__queue_of(self), .max = (size_t)max};
    int status = wait_for(get_attempt, &transfer, deadline);
    return status < 0 ? isles__queue_raise(state, status, transfer.queue, false)
                      : open_many(state, transfer.queue, transfer.parcels);
}

static PyObject *
queue_next(PyObject *self)
{
    struct isles_state *state = isles__state_of(Py_TYPE(self));
    int status;
    PyObject *object = get_one(state, isles__queue_of(self), ISLES_NEVER, &status);
    if (status < 0 && status != ISLES_SHUT_DOWN) {
        isles__queue_raise(state, status, isles__queue_of(self), false);
    }
    return object;
}

/* ---- the rest of the type ---- */

PyDoc_STRVAR(
    shutdown_doc,
    "shutdown($self, /, immediate=False)\n--\n\n"
    "Let nothing more be put, and wake everybody who waits.\n\n"
    "put() raises ShutDown from now on, get() once the queue is empty; iteration ends.\n"
    "immediate: drop what is in the queue, so that get() raises at once.  Any thread, any\n"
    "interpreter, any number of times.  Follows queue.Queue.shutdown().");

static PyObject *
queue_shutdown(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"immediate", NULL};
    int immediate = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:shutdown", names, &immediate)) {
        return NULL;
    }
    isles_queue_shut_down(isles__queue_of(self), immediate);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(qsize_doc, "qsize($self, /)\n--\n\n"
                        "How many items are in the queue, just now.");

static PyObject *
queue_qsize(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(isles_queue_count(isles__queue_of(self)));
}

PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nWhether nothing is in the queue, just now.");

static PyObject *
queue_empty(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(isles_queue_count(isles__queue_of(self)) == 0);
}

PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\n"
                       "Whether as many items as the maxsize are in the queue, just now.");

static PyObject *
queue_full(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(isles_queue_is_full(isles__queue_of(self)));
}

static PyObject *
queue_id(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(isles__queue_of(self)->id);
}

static PyObject *
queue_maxsize(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(isles__queue_of(self)->maxsize);
}

static PyObject *
queue_unbounditems(PyObject *self, void *Py_UNUSED(closure))
{
    struct isles_state *state = isles__state_of(Py_TYPE(self));
    return from_python(state, unbound_names[isles__queue_of(self)->unbound]);
}

static PyObject *
queue_repr(PyObject *self)
{
    return PyUnicode_FromFormat("Queue(%lld)", (long long)isles__queue_of(self)->id);
}

/* As the id's; equality is identity, because there is one object for each id. */
static Py_hash_t
queue_hash(PyObject *self)
{
    PyObject *id = queue_id(self, NULL);
    Py_hash_t hash = id ? PyObject_Hash(id) : -1;
    Py_XDECREF(id);
    return hash;
}

/* For pickle: (type, (id,)).  On its way to another interpreter the message keeps the queue. */
static PyObject *
queue_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct isles_queue *queue = isles__queue_of(self);
    struct isles_thread *thread = isles_thread_self();
    struct isles_message *message = thread ? thread->writing : NULL;
    uint32_t index;
    if (message != NULL) {
        isles_shared_ref(&queue->shared);
        if (isles_message_attach(message, &queue->shared, &index) < 0) {
            isles_shared_unref(&queue->shared);
            return PyErr_NoMemory();
        }
    }
    return Py_BuildValue("O(L)", Py_TYPE(self), (long long)queue->id);
}

static int
parse_id(PyObject *object, int64_t *id)
{
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "id must be an int, got %R", object);
        return -1;
    }
    *id = PyLong_AsLongLong(object);
    if (*id < 0 && !PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "queue ID must be a non-negative int, got %S", object);
    }
    return *id < 0 ? -1 : 0;
}

static PyObject *
queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    struct isles_state *state = isles__state_of(type);
    PyObject *object;
    int64_t id;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Queue", names, &object)
        || parse_id(object, &id) < 0) {
        return NULL;
    }
    struct isles_queue *queue = isles_queue_find(id);
    if (queue == NULL) {
        PyObject *error = from_python(state, "QueueNotFoundError");
        if (error != NULL) {
            PyErr_Format(error, "queue %lld not found", (long long)id);
            Py_DECREF(error);
        }
        return NULL;
    }
    return isles__queue_object(state, queue);
}

#define FAST METH_METHOD | METH_FASTCALL | METH_KEYWORDS
#define METHOD(name, flags) {#name, (PyCFunction)(void (*)(void))queue_##name, flags, name##_doc}

static PyMethodDef queue_methods[] = {
    METHOD(put, FAST),
    METHOD(put_nowait, FAST),
    METHOD(put_many, FAST),
    {"_put_kept", (PyCFunction)(void (*)(void))queue_put_kept, METH_VARARGS | METH_KEYWORDS,
     put_kept_doc},
    METHOD(get, FAST),
    METHOD(get_nowait, FAST),
    METHOD(get_many, FAST),
    METHOD(shutdown, METH_VARARGS | METH_KEYWORDS),
    METHOD(qsize, METH_NOARGS),
    METHOD(empty, METH_NOARGS),
    METHOD(full, METH_NOARGS),
    {"__reduce__", queue_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"id", queue_id, NULL, "The id, an int: unique in the process, never used twice.", NULL},
    {"maxsize", queue_maxsize, NULL,
     "How many items the queue holds, an int; 0 or less: as many as memory does.", NULL},
    {"unbounditems", queue_unbounditems, NULL,
     "What becomes of items whose interpreter has ended, if put() wasn't told.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef queue_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Queue, weakrefs), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(queue_doc,
             "Queue(id, /)\n--\n\n"
             "A first-in, first-out queue between interpreters and threads, of this process.\n\n"
             "Queue(id) gives the object of an existing one (raises QueueNotFoundError);\n"
             "create_queue() makes a new one.  There is one object for each queue in each\n"
             "interpreter.  It travels to other interpreters, also pickled, and lives as long as\n"
             "any object or message refers to it.  Iterating over it gets items until it is shut\n"
             "down.  Thread-safe.  Follows PEP 734 and concurrent.interpreters.Queue.");

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},  {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},  {Py_tp_traverse, queue_traverse},
    {Py_tp_repr, queue_repr},        {Py_tp_hash, queue_hash},
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, queue_next},
    {Py_tp_methods, queue_methods},  {Py_tp_getset, queue_getset},
    {Py_tp_members, queue_members},  {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "isles.Queue",
    .basicsize = sizeof(Queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};

/* ---- functions ---- */

PyDoc_STRVAR(
    create_queue_doc,
    "create_queue($module, /, maxsize=0, *, unbounditems=UNBOUND)\n--\n\n"
    "Make a queue between interpreters and return it.\n\n"
    "maxsize: how many items it holds, an int; 0 or less: as many as memory does.\n"
    "unbounditems: what becomes of items whose interpreter ends before they are got, unless\n"
    "put() says otherwise: UNBOUND puts that in their place, UNBOUND_ERROR makes get() raise\n"
    "ItemInterpreterDestroyed, UNBOUND_REMOVE takes them out.  Any thread, any interpreter.\n"
    "Follows concurrent.interpreters.create_queue().");

static PyObject *
create_queue(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", "unbounditems", NULL};
    struct isles_state *state = isles__state_of_module(module);
    Py_ssize_t maxsize = 0;
    PyObject *unbounditems = NULL;
    int unbound = ISLES_UNBOUND_REPLACE;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n$O:create_queue", names, &maxsize,
                                     &unbounditems)
        || isles__queue_unbound(state, unbounditems, false, &unbound) < 0) {
        return NULL;
    }
    struct isles_queue *queue = isles_queue_new(maxsize, unbound);
    return queue ? isles__queue_object(state, queue) : PyErr_NoMemory();
}

PyDoc_STRVAR(list_queues_doc, "list_queues($module, /)\n--\n\n"
                              "All queues of the process, oldest first.");

static PyObject *
list_queues(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    const struct isles_state *state = isles__state_of_module(module);
    PyObject *list = PyList_New(0);
    struct isles_queue *queue = NULL;
    while (list != NULL && (queue = isles_queue_next(queue)) != NULL) {
        isles_shared_ref(&queue->shared); /* the object's */
        PyObject *object = isles__queue_object(state, queue);
        if (object == NULL || PyList_Append(list, object) < 0) {
            Py_CLEAR(list);
            isles_shared_unref(&queue->shared);
        }
        Py_XDECREF(object);
    }
    return list;
}

struct watching {
    struct isles_watch *watches;
    size_t count;
};

static int
watch_attempt(void *arg, int64_t deadline)
{
    const struct watching *watching = arg;
    return isles_queues_wait(watching->watches, watching->count, deadline);
}

/* A watch for each of a list of queues, in memory of malloc; NULL with an exception. */
static struct isles_watch *
watches_for(const struct isles_state *state, PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    struct isles_watch *watches = calloc((size_t)count, sizeof(*watches));
    if (watches == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GET_ITEM(list, i);
        if (!Py_IS_TYPE(item, state->queue_type)) {
            PyErr_Format(PyExc_TypeError, "wait() needs queues, not %T", item);
            free(watches);
            return NULL;
        }
        watches[i].queue = isles__queue_of(item);
    }
    return watches;
}

static PyObject *
ready_ones(PyObject *list, const struct isles_watch *watches)
{
    PyObject *ready = PyList_New(0);
    for (Py_ssize_t i = 0; ready != NULL && i < PyList_GET_SIZE(list); i++) {
        if (watches[i].ready && PyList_Append(ready, PyList_GET_ITEM(list, i)) < 0) {
            Py_CLEAR(ready);
        }
    }
    return ready;
}

PyDoc_STRVAR(
    wait_doc,
    "wait($module, /, queues, timeout=None)\n--\n\n"
    "Wait until at least one of several queues has an item or is shut down; list those.\n\n"
    "queues: an iterable of Queue.  timeout: seconds (a number, not negative; None: as long\n"
    "as it takes); the list is empty when they have passed, or if there are no queues.\n"
    "Nothing is taken, so another reader may be faster: get_nowait() tells.  Thread-safe;\n"
    "waits as Queue.get() does.");

static PyObject *
wait_queues(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"queues", "timeout", NULL};
    struct isles_state *state = isles__state_of_module(module);
    PyObject *queues, *timeout = NULL;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:wait", names, &queues, &timeout)
        || parse_timeout(timeout, &deadline) < 0) {
        return NULL;
    }
    PyObject *list = PySequence_List(queues);
    if (list == NULL || PyList_GET_SIZE(list) == 0) {
        return list;
    }
    struct watching watching = {watches_for(state, list), (size_t)PyList_GET_SIZE(list)};
    PyObject *ready = NULL;
    if (watching.watches != NULL) {
        int status = wait_for(watch_attempt, &watching, deadline);
        if (status == 0 || status == ISLES_TIMED_OUT) {
            ready = ready_ones(list, watching.watches);
        } else if (status != ISLES_INTERRUPTED) {
            isles__raise_status(state, status, -1);
        }
    }
    free(watching.watches);
    Py_DECREF(list);
    return ready;
}

static PyMethodDef queue_functions[] = {
    {"create_queue", (PyCFunction)(void (*)(void))create_queue, METH_VARARGS | METH_KEYWORDS,
     create_queue_doc},
    {"list_queues", list_queues, METH_NOARGS, list_queues_doc},
    {"wait", (PyCFunction)(void (*)(void))wait_queues, METH_VARARGS | METH_KEYWORDS, wait_doc},
    {NULL, NULL, 0, NULL},
};

int
isles__queues_init(PyObject *module, struct isles_state *state)
{
    state->known_queues = PyDict_New();
    state->queue_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &queue_spec, NULL);
    if (state->known_queues == NULL || state->queue_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->queue_type) < 0
               ? -1
               : PyModule_AddFunctions(module, queue_functions);
}
