/* The C half of isles.Interpreter: what has to be fast. */
#ifndef ISLES_BINDING_INTERP_H
#define ISLES_BINDING_INTERP_H

#include "state.h"

/* The interpreter that an object of exactly isles.Interpreter stands for, borrowed; NULL for any
 * other object, or with an exception. */
struct isles_interp *isles__interp_of(struct isles_state *state, PyObject *object);

/* isles.Interpreter(id). */
PyObject *isles__interp_new(struct isles_state *state, int64_t id);

/* Makes the type and adds it to the module.  0 or -1. */
int isles__interp_init(PyObject *module, struct isles_state *state);

#endif
