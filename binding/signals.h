/* Signals reach the main thread while it runs Python code of another interpreter.
 *
 * CPython handles signals only in the main interpreter on the main thread, so Ctrl-C does nothing
 * while that thread is inside another one.  A watcher thread looks, only during such stays, whether
 * a signal waits; then a pending call makes the main thread hop back to its own interpreter, run
 * the handlers there, and carry what they raise through the other one as KeyboardInterrupt.
 * docs/design/signals.md has the why. */
#ifndef ISLES_BINDING_SIGNALS_H
#define ISLES_BINDING_SIGNALS_H

#include "state.h"

/* For the gate, after each change of where the main thread is: NULL or main is home. */
void isles__signals_moved(const struct isles_interp *inside);

/* Sees to it that the watcher looks: for somebody who has just asked for an interruption. */
void isles__signals_rouse(void);

/* As PyErr_CheckSignals(), and also on the main thread inside another interpreter, and for what
 * interrupts.h brings: 0, or -1 with an exception. */
int isles__signals_check(void);

/* Brackets a wait that a signal interrupts by itself: then nobody needs to watch for it. */
void isles__signals_parked(bool parked);

/* Whether this is the main thread and a handler raised, which isles__signals_take() then gives. */
bool isles__signals_interrupted(void);

/* Keeps the current exception as raised by a handler if it is a KeyboardInterrupt of the main
 * thread in the main interpreter: code there was called from another interpreter. */
void isles__signals_keep(void);

/* What it raised, a new reference of the main interpreter's, once.  In that interpreter. */
PyObject *isles__signals_take(void);

#endif
