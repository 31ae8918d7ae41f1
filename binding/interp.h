/* The C half of isles.Interpreter: what has to be fast. */
#ifndef ISLES_BINDING_INTERP_H
#define ISLES_BINDING_INTERP_H

#include "../core/message.h"
#include "state.h"

/* Makes an interpreter with this one's sys.path, and rules for extension modules (loader.h) or
 * None: a reference, or NULL with an exception.  An `owned` one is held once (isles__gate_drop). */
struct isles_interp *isles__create(const struct isles_state *state, bool isolated, PyObject *rules,
                                   bool owned);

/* Writes what a new interpreter is to have: the strings of sys.path, and the rules.  0 or -1. */
int isles__put_setting(const struct isles_state *state, PyObject *rules,
                       struct isles_message *message);

/* The interpreter that an object of exactly isles.Interpreter stands for, borrowed; NULL for any
 * other object, or with an exception. */
struct isles_interp *isles__interp_of(struct isles_state *state, PyObject *object);

/* isles.Interpreter(id). */
PyObject *isles__interp_new(struct isles_state *state, int64_t id);

/* Makes the type and adds it to the module.  0 or -1. */
int isles__interp_init(PyObject *module, struct isles_state *state);

#endif
