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

#endif
