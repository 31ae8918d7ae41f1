/* Interrupting what runs in an interpreter, from any thread: for those who ask, timeouts, and
 * signals that reach the main thread while it is in another interpreter.
 *
 * Code that runs bytecode is reached by a *pending call*, which CPython makes between two
 * instructions; one that waits in a queue is woken.  What is meant is a stay
 * (core/registry_interps.h), never the interpreter: a pending call that comes when the stay is over
 * does nothing. docs/design/interrupts.md has the why. */
#ifndef ISLES_BINDING_INTERRUPTS_H
#define ISLES_BINDING_INTERRUPTS_H

#include "state.h"

/* Has the stay that is going on interrupted by `exception`, a class or an instance, if its thread
 * is the one of that ident (0: any).  1; 0 if nothing is going on (any more); -1 with an exception.
 */
int isles__interrupt(struct isles_state *state, struct isles_interp *interp, PyObject *exception,
                     unsigned long ident);

/* Raises what is due on this thread, here and now: 0, or -1 with an exception. */
int isles__interrupts_check(void);

/* PyImport_ImportModule() for what isles itself needs there: no signal or interruption strikes
 * meanwhile, so the interpreter never has half of it. */
PyObject *isles__import(const char *name);

/* Whether the stay of this thread's that is innermost is wanted: isles__interrupts_check() raises
 * the reason then.  Cheap. */
bool isles__interrupts_due(void);

/* The stay is over. */
void isles__interrupts_drop(struct isles_interp *interp, uint64_t stay);

/* Makes a thread of the interpreter see whether a signal or an interruption is due, unless that is
 * on its way already.  Any thread, no GIL. */
void isles__interrupts_call(struct isles_interp *interp);

/* For the watcher (signals.c): does that again wherever an interruption has not struck yet. */
void isles__interrupts_look(void);

#endif
