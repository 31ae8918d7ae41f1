/* What the files of the gate share: passes, and how an interpreter is taken.
 *
 * gate.c enters and leaves, gate_create.c makes interpreters, gate_close.c ends them, gate_holds.c
 * knows who keeps one. */
#ifndef ISLES_BINDING_GATE_PARTS_H
#define ISLES_BINDING_GATE_PARTS_H

#include "../core/os.h"
#include "gate.h"

#define ISLES_MILLISECOND INT64_C(1000000)

/* As Py_BEGIN_ALLOW_THREADS, for the stock's thread too, which comes from no interpreter. */
static inline PyThreadState *
isles__gil_let_go(void)
{
    return PyThreadState_GetUnchecked() ? PyEval_SaveThread() : NULL;
}

static inline void
isles__gil_take_back(PyThreadState *ts)
{
    if (ts != NULL) {
        PyEval_RestoreThread(ts);
    }
}

/* ---- gate.c ---- */

/* The calling thread's record; NULL without memory. */
struct isles_thread *isles__gate_thread(void);

/* Leaves IDLE by one of the registry's functions for that; waits while another thread settles. */
int isles__gate_leave_idle(int (*leave)(struct isles_interp *, struct isles_thread *),
                           struct isles_interp *interp, struct isles_thread *thread);

/* The thread state that this OS thread left suspended in an interpreter, or the current one; NULL
 * if it is nowhere below. */
PyThreadState *isles__gate_suspended(const struct isles_thread *thread, PyThreadState *current,
                                     const void *state);

/* The kept thread state of this thread for an interpreter that it took, made at the first entry;
 * NULL without memory. */
PyThreadState *isles__gate_seat(struct isles_thread *thread, struct isles_interp *interp);

/* Begins a pass to an interpreter that the thread took, or that it came from, and ends the
 * innermost one. */
void isles__pass_push(struct isles_pass *pass, struct isles_interp *interp,
                      struct isles_thread *thread, PyThreadState *from, PyThreadState *ts);
void isles__pass_pop(struct isles_pass *pass);

/* Goes back to where the thread came from. */
void isles__gate_go_back(struct isles_thread *thread, struct isles_interp *interp,
                         PyThreadState *from);

/* Frees kept thread states.  Inside their interpreter; clearing one may run any Python code. */
void isles__gate_free_seats(struct isles_seat *list);

/* Takes back what was lent, in the interpreter. */
void isles__gate_settle_returned(struct isles_interp *interp);

/* After others may get hold of it again: what was returned by one who saw us there. */
void isles__gate_settle_late(struct isles_interp *interp);

/* ---- gate_close.c ---- */

/* Goes on with an end that waits for memory to come back, if one does. */
void isles__gate_reclaim(struct isles_interp *interp, struct isles_thread *thread);

/* ---- gate_holds.c ---- */

/* Ends an owned one that nobody keeps, unless somebody else is inside. */
void isles__gate_close_unheld(struct isles_interp *interp);

static inline bool
isles__gate_is_unheld(struct isles_interp *interp)
{
    return interp->owned && atomic_load(&interp->holders) == 0;
}

#endif
