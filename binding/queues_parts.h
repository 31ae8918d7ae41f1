/* What the files of the queues share; waiters.c includes it as well.
 *
 * queues.c is the type and the functions about queues; queues_items.c takes objects into queues and
 * out of them; queues_wait.c waits; queues_names.c knows what isles.queues, the half in Python,
 * names.
 */
#ifndef ISLES_BINDING_QUEUES_PARTS_H
#define ISLES_BINDING_QUEUES_PARTS_H

#include "../core/status.h"
#include "queues.h"

/* Objects are new references; NULL, and -1, come with an exception. */

/* ---- queues_items.c ---- */

/* A copy of an object, to be put. */
struct isles_parcel *isles__queue_pack(const struct isles_state *state, PyObject *object,
                                       int unbound);

/* The object in a parcel, which stays the caller's. */
PyObject *isles__queue_open(struct isles_state *state, const struct isles_parcel *parcel);

/* None.  `unbounditems` as isles__queue_unbound() reads it, NULL and None for the queue's own. */
PyObject *isles__queue_put(struct isles_state *state, struct isles_queue *queue, PyObject *object,
                           int64_t deadline, PyObject *unbounditems);

/* The same with each item of an iterable; what is raised tells in `items_put` how many were put. */
PyObject *isles__queue_put_many(struct isles_state *state, struct isles_queue *queue,
                                PyObject *items, int64_t deadline, PyObject *unbounditems);

/* The same with items that stay when this interpreter ends. */
PyObject *isles__queue_put_kept(struct isles_state *state, struct isles_queue *queue,
                                PyObject *items, int64_t deadline);

PyObject *isles__queue_get(struct isles_state *state, struct isles_queue *queue, int64_t deadline);

/* The same without an exception, and NULL, if the queue is shut down. */
PyObject *isles__queue_get_next(struct isles_state *state, struct isles_queue *queue);

/* A list of at least one object. */
PyObject *isles__queue_get_many(struct isles_state *state, struct isles_queue *queue, size_t max,
                                int64_t deadline);

/* ---- queues_wait.c ---- */

/* Waits: without the GIL, and again when a signal was handled meanwhile.  ISLES_INTERRUPTED means
 * that its handler raised. */
int isles__queue_wait(int (*attempt)(void *, int64_t), void *arg, int64_t deadline);

/* Tries at once and then, if need be, waits. */
static inline int
isles__queue_attempt(int (*attempt)(void *, int64_t), void *arg, int64_t deadline)
{
    int status = attempt(arg, ISLES_AT_ONCE);
    bool waits = status == ISLES_TIMED_OUT && deadline != ISLES_AT_ONCE;
    return waits ? isles__queue_wait(attempt, arg, deadline) : status;
}

/* Those of a list of queues that are ready by the deadline, in a list. */
PyObject *isles__queues_ready(struct isles_state *state, PyObject *list, int64_t deadline);

/* ---- queues_names.c ---- */

/* An attribute of isles.queues. */
PyObject *isles__queue_named(struct isles_state *state, const char *name);

/* The constant for what becomes of an item whose interpreter has ended, and back: NULL, and None if
 * `or_none`, leave *unbound as it is.  0 or -1. */
PyObject *isles__queue_unbound_constant(struct isles_state *state, int unbound);
int isles__queue_unbound(struct isles_state *state, PyObject *object, bool or_none, int *unbound);

/* What a status of a queue means.  Always gives NULL. */
PyObject *isles__queue_raise(struct isles_state *state, int status, const struct isles_queue *queue,
                             bool putting);

#endif
