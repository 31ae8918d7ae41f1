/* Waiting without a thread, for isles.aio: core/'s notifiers and pending puts and gets as Python
 * objects. */
#ifndef ISLES_BINDING_WAITERS_H
#define ISLES_BINDING_WAITERS_H

#include "state.h"

/* Makes the types and adds them to the module.  0 or -1. */
int isles__waiters_init(PyObject *module, struct isles_state *state);

#endif
