/* InterpreterID, and what may stand for an interpreter in a call of the low-level module. */
#ifndef ISLES_BINDING_IDS_H
#define ISLES_BINDING_IDS_H

#include "state.h"

/* PyInterpreterState.whence in CPython; what isles makes counts as made by `_interpreters`. */
enum { WHENCE_UNKNOWN, WHENCE_RUNTIME, WHENCE_LEGACY_CAPI, WHENCE_CAPI, WHENCE_XI, WHENCE_STDLIB };

/* Makes the type and adds it to the module.  0 or -1. */
int isles__ids_init(PyObject *module, struct isles_state *state);

/* A new InterpreterID. */
PyObject *isles__id_new(const struct isles_state *state, int64_t id);

/* Reads an InterpreterID or int into *id.  0, or -1 with TypeError or ValueError set. */
int isles__id_parse(const struct isles_state *state, PyObject *object, int64_t *id);

/* For the id of any interpreter that there is: its registry entry as a new reference, or NULL in
 * *interp for one that isles doesn't know.  0, or -1 with an exception. */
int isles__id_existing(const struct isles_state *state, int64_t id, struct isles_interp **interp);

/* The registered interpreter that an id names, as a new reference; otherwise NULL with an exception
 * set: the InterpreterError "unrecognized" for one that isles doesn't know but CPython does. */
struct isles_interp *isles__id_resolve(const struct isles_state *state, int64_t id);

#endif
