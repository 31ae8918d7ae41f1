#include "../core/status.h"
#include "codec.h"
#include "queues_parts.h"

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

PyObject *
isles__queue_put(struct isles_state *state, struct isles_queue *queue, PyObject *object,
                 int64_t deadline, PyObject *unbounditems)
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
    int status = isles__queue_attempt(put_attempt, &transfer, deadline);
    if (status < 0) {
        return put_failed(state, status, &transfer);
    }
    Py_RETURN_NONE;
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

PyObject *
isles__queue_put_many(struct isles_state *state, struct isles_queue *queue, PyObject *items,
                      int64_t deadline, PyObject *unbounditems)
{
    int unbound = queue->unbound;
    struct transfer transfer = {.queue = queue};
    Py_ssize_t count;
    if (isles__queue_unbound(state, unbounditems, true, &unbound) < 0
        || pack_all(state, items, unbound, &transfer.parcels, &count) < 0) {
        return NULL;
    }
    int status = isles__queue_attempt(put_attempt, &transfer, deadline);
    if (status == 0) {
        Py_RETURN_NONE;
    }
    for (const struct isles_parcel *left = transfer.parcels; left != NULL; left = left->next) {
        count--;
    }
    put_failed(state, status, &transfer);
    set_items_put(count);
    return NULL;
}

PyObject *
isles__queue_put_kept(struct isles_state *state, struct isles_queue *queue, PyObject *items,
                      int64_t deadline)
{
    struct transfer transfer = {.queue = queue};
    Py_ssize_t count;
    if (pack_all(state, items, ISLES_UNBOUND_REPLACE, &transfer.parcels, &count) < 0) {
        return NULL;
    }
    for (struct isles_parcel *parcel = transfer.parcels; parcel != NULL; parcel = parcel->next) {
        parcel->sender = 0;
    }
    int status = isles__queue_attempt(put_attempt, &transfer, deadline);
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
        return isles__queue_unbound_constant(state, ISLES_UNBOUND_REPLACE);
    }
    PyObject *type = isles__queue_named(state, "ItemInterpreterDestroyed");
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
    *status = isles__queue_attempt(get_attempt, &transfer, deadline);
    if (*status < 0) {
        return NULL;
    }
    PyObject *object = isles__queue_open(state, transfer.parcels);
    isles_parcel_free(transfer.parcels);
    return object;
}

PyObject *
isles__queue_get(struct isles_state *state, struct isles_queue *queue, int64_t deadline)
{
    int status;
    PyObject *object = get_one(state, queue, deadline, &status);
    return status < 0 ? isles__queue_raise(state, status, queue, false) : object;
}

PyObject *
isles__queue_get_next(struct isles_state *state, struct isles_queue *queue)
{
    int status;
    PyObject *object = get_one(state, queue, ISLES_NEVER, &status);
    if (status < 0 && status != ISLES_SHUT_DOWN) {
        isles__queue_raise(state, status, queue, false);
    }
    return object;
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
 * are not lost, unless it is the first: that one is gone, as with isles__queue_get().  What is no
 * Exception (Ctrl-C) leaves all in the queue. */
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

PyObject *
isles__queue_get_many(struct isles_state *state, struct isles_queue *queue, size_t max,
                      int64_t deadline)
{
    struct transfer transfer = {.queue = queue, .max = max};
    int status = isles__queue_attempt(get_attempt, &transfer, deadline);
    return status < 0 ? isles__queue_raise(state, status, queue, false)
                      : open_many(state, queue, transfer.parcels);
}
