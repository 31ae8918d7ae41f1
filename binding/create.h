/* Interpreters made as this one is set up. */
#ifndef ISLES_BINDING_CREATE_H
#define ISLES_BINDING_CREATE_H

#include "../core/message.h"
#include "state.h"

/* Makes an interpreter with this one's sys.path, and rules for extension modules (loader.h) or
 * None: a reference, or NULL with an exception.  An `owned` one is held once (isles__gate_drop). */
struct isles_interp *isles__create(const struct isles_state *state, bool isolated, PyObject *rules,
                                   bool owned);

/* Writes what a new interpreter is to have: the strings of sys.path, and the rules.  0 or -1. */
int isles__put_setting(const struct isles_state *state, PyObject *rules,
                       struct isles_message *message);

#endif
