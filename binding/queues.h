/* isles.Queue: the queues of core/ as Python objects. */
#ifndef ISLES_BINDING_QUEUES_H
#define ISLES_BINDING_QUEUES_H

#include "../core/queue.h"
#include "state.h"

/* Makes the type and adds it and the functions about queues to the module.  0 or -1. */
int isles__queues_init(PyObject *module, struct isles_state *state);

/* This interpreter's object for a queue, a new reference; takes over the one to the queue. */
PyObject *isles__queue_object(const struct isles_state *state, struct isles_queue *queue);

/* The queue of an object of that type; borrowed. */
struct isles_queue *isles__queue_of(PyObject *object);

/* ---- for waiters.c ---- */

/* What a status of a queue means.  Always returns NULL. */
PyObject *isles__queue_raise(struct isles_state *state, int status, const struct isles_queue *queue,
                             bool putting);

/* Reads a constant of isles.queues.  NULL, and None if `or_none`, leave *unbound as it is.
 * 0 or -1. */
int isles__queue_unbound(struct isles_state *state, PyObject *object, bool or_none, int *unbound);

/* A copy of an object, to be put; NULL with an exception. */
struct isles_parcel *isles__queue_pack(const struct isles_state *state, PyObject *object,
                                       int unbound);

/* The object in a parcel, which stays the caller's. */
PyObject *isles__queue_open(struct isles_state *state, const struct isles_parcel *parcel);

#endif
