/* The warm stock: finished interpreters that create() takes, and closed ones that end behind its
 * back.  One for the process; docs/design/stock.md tells what it promises.
 *
 * A thread of its own, in no interpreter and of low priority, makes them and ends them.  While they
 * wait they are SHELVED (core/registry_interps.h): the registry's word says who gets each, once. */
#ifndef ISLES_BINDING_STOCK_H
#define ISLES_BINDING_STOCK_H

#include "state.h"

/* ---- for create() ---- */

/* Takes one that is as a new one with these rules would be.  0 with a reference in *out, or NULL
 * there if one has to be made; -1 with an exception: a warning that the stock has ended. */
int isles__stock_take(const struct isles_state *state, PyObject *rules, bool owned,
                      struct isles_interp **out);

/* ---- for the gate ---- */

/* Whether the stock takes one more to end it: a place, which end() or unreserve() gives back. */
bool isles__stock_reserve(void);
void isles__stock_unreserve(void);

/* Has its thread end an interpreter that is ENDING. */
void isles__stock_end(struct isles_interp *interp);

/* ---- for the exit ---- */

/* Nothing is put into it or taken from it any more. */
void isles__stock_exit(void);

/* ---- for isles/_stock.py ---- */

/* Wants `count` of them (0: no stock any more; negative: as many as now, with these rules), made as
 * a create() with these rules would make them now, and with these modules imported (a list of
 * names).  If that is another setting than before, the caller makes the first one, so that what
 * fails is raised here: then all is as it was. 0 or -1 with an exception.  In main. */
int isles__stock_set(const struct isles_state *state, int count, PyObject *rules,
                     PyObject *modules);

/* (how many are ready, whether its thread has anything to do); raises what ended it, once. */
PyObject *isles__stock_state(const struct isles_state *state);

/* Around a fork, in main: its thread is not in the middle of something, if a second is enough. */
void isles__stock_hold(void);
void isles__stock_release(void);

#endif
