#include <stdlib.h>
#include <unistd.h>

#include "../core/registry.h"
#include "../core/status.h"
#include "gate_parts.h"
#include "interrupts.h"
#include "lending.h"
#include "private.h"
#include "signals.h"

/* ---- passes ---- */

struct isles_thread *
isles__gate_thread(void)
{
    struct isles_thread *thread = isles_thread_self();
    if (thread != NULL && thread->ident == 0) {
        thread->ident = PyThread_get_thread_ident();
        thread->is_main = isles_is_main_thread();
    }
    return thread;
}

PyThreadState *
isles__gate_suspended(const struct isles_thread *thread, PyThreadState *current, const void *state)
{
    PyThreadState *ts = current;
    const struct isles_pass *pass = thread->top;
    while (ts == NULL || PyThreadState_GetInterpreter(ts) != state) {
        if (pass == NULL) {
            return NULL;
        }
        ts = pass->from;
        pass = pass->below;
    }
    return ts;
}

PyThreadState *
isles__gate_seat(struct isles_thread *thread, struct isles_interp *interp)
{
    PyThreadState *ts = isles_seat_find(thread, interp);
    if (ts != NULL) {
        return ts;
    }
    /* First, since a thread state can only be taken back from inside. */
    if (isles_seat_reserve(thread, interp) < 0) {
        return NULL;
    }
    ts = PyThreadState_New(interp->state);
    if (ts != NULL) {
        (void)isles_seat_add(thread, interp, ts);
    }
    return ts;
}

/* Says where the thread is now; NULL: it has no pass any more, and is inside of nothing. */
static void
moved(struct isles_thread *thread, const struct isles_interp *interp)
{
    atomic_store_explicit(&thread->where, interp ? interp->id : 0, memory_order_relaxed);
    if (thread->is_main) {
        isles__signals_moved(interp);
    }
}

/* The stock's thread came from nowhere, and keeps nothing: what PyGILState_Ensure finds on a thread
 * is the last thread state that was current there, and CPython goes wrong if that is freed by
 * another thread. */
void
isles__gate_go_back(struct isles_thread *thread, struct isles_interp *interp, PyThreadState *from)
{
    PyThreadState *ts = PyThreadState_GetUnchecked();
    if (from != NULL || ts == NULL) {
        PyThreadState_Swap(from);
        return;
    }
    PyThreadState_Clear(ts);
    isles_seat_drop(thread, interp);
    PyThreadState_DeleteCurrent();
}

void
isles__pass_push(struct isles_pass *pass, struct isles_interp *interp, struct isles_thread *thread,
                 PyThreadState *from, PyThreadState *ts)
{
    pass->interp = interp;
    pass->thread = thread;
    pass->from = from;
    pass->ts = ts;
    pass->generation = isles_registry_generation();
    pass->open = pass->struck = false;
    pass->below = thread->top;
    thread->top = pass;
    thread->depth++;
    if (ts != from) {
        PyThreadState_Swap(ts);
    }
    moved(thread, interp);
}

void
isles__pass_pop(struct isles_pass *pass)
{
    if (pass->generation != isles_registry_generation()) {
        /* A child was forked inside, and the interpreter that this leads back to stayed in the
         * parent.  There is nowhere to go. */
        static const char text[] =
            "isles: a process forked during a call between interpreters can't return from it\n";
        (void)!write(2, text, sizeof(text) - 1);
        _exit(1);
    }
    struct isles_thread *thread = pass->thread;
    if (pass->ts != pass->from) {
        isles__gate_go_back(thread, pass->interp, pass->from);
    }
    thread->top = pass->below;
    thread->depth--;
    moved(thread, pass->below ? pass->below->interp : NULL);
}

void
isles__gate_free_seats(struct isles_seat *list)
{
    while (list != NULL) {
        struct isles_seat *next = list->next;
        PyThreadState_Clear(list->ts);
        PyThreadState_Delete(list->ts);
        free(list);
        list = next;
    }
}

void
isles__gate_settle_returned(struct isles_interp *interp)
{
    if (atomic_load_explicit(&interp->returned, memory_order_relaxed) != NULL) {
        isles__lending_settle(interp);
    }
}

void
isles__gate_settle_late(struct isles_interp *interp)
{
    if (atomic_load(&interp->returned) != NULL) {
        isles__gate_settle(interp);
    }
}

#define SETTLING_LOOK_EVERY 100000
#define SETTLING_LOOKS 10000 /* a settling thread may come upon anybody's code */

/* RUNNING -> IDLE. */
static void
finish(struct isles_interp *interp)
{
    uint64_t stay = atomic_load_explicit(&interp->stay, memory_order_relaxed);
    isles_interp_finish(interp);
    if (atomic_load(&interp->wanted) != 0) {
        isles__interrupts_drop(interp, stay); /* it came too late */
    }
}

int
isles__gate_leave_idle(int (*leave)(struct isles_interp *, struct isles_thread *),
                       struct isles_interp *interp, struct isles_thread *thread)
{
    int status = leave(interp, thread);
    for (int looks = 0; status == ISLES_SETTLING && looks < SETTLING_LOOKS; looks++) {
        PyThreadState *mine = isles__gil_let_go(); /* it may need our GIL to get out */
        isles_sleep(SETTLING_LOOK_EVERY);
        isles__gil_take_back(mine);
        status = leave(interp, thread);
    }
    return status == ISLES_SETTLING ? ISLES_BUSY : status;
}

/* Takes an interpreter that the thread is not inside of: *ts is what to enter it with. */
static int
take(struct isles_interp *interp, struct isles_thread *thread, bool settles, PyThreadState **ts)
{
    if (!interp->ours) {
        return interp->id == 0 ? ISLES_BUSY : ISLES_UNRECOGNIZED;
    }
    int status = settles ? isles_interp_settle_begin(interp, thread)
                         : isles__gate_leave_idle(isles_interp_begin, interp, thread);
    if (status < 0) {
        return status;
    }
    *ts = isles__gate_seat(thread, interp);
    if (*ts == NULL) {
        finish(interp);
        return ISLES_NO_MEMORY;
    }
    return ISLES_OK;
}

static int
enter(struct isles_pass *pass, struct isles_interp *interp, bool settles)
{
    struct isles_thread *thread = isles__gate_thread();
    if (thread == NULL) {
        return ISLES_NO_MEMORY;
    }
    if (thread->depth >= ISLES_DEPTH_MAX) {
        return ISLES_TOO_DEEP;
    }
    PyThreadState *from = PyThreadState_GetUnchecked();
    PyThreadState *ts = isles__gate_suspended(thread, from, interp->state);
    pass->begun = ts == NULL;
    int status = pass->begun ? take(interp, thread, settles, &ts) : ISLES_OK;
    if (status < 0) {
        return status;
    }
    isles__pass_push(pass, interp, thread, from, ts);
    if (pass->begun && !isles__private_run_main(interp->state)) {
        isles__pass_pop(pass);
        finish(interp);
        return ISLES_BUSY;
    }
    if (pass->begun && atomic_load_explicit(&interp->has_orphans, memory_order_relaxed)) {
        isles__gate_free_seats(isles_seats_take_orphans(interp));
    }
    isles__gate_settle_returned(interp);
    return ISLES_OK;
}

int
isles__gate_enter(struct isles_pass *pass, struct isles_interp *interp)
{
    return enter(pass, interp, false);
}

void
isles__gate_leave(struct isles_pass *pass)
{
    struct isles_interp *interp = pass->interp;
    isles__gate_settle_returned(interp);
    if (pass->begun) {
        isles__private_leave_main(interp->state);
    }
    isles__pass_pop(pass);
    if (pass->begun) {
        /* Only now: until the swap returns, CPython still uses the thread state. */
        finish(interp);
        isles__gate_settle_late(interp);
        if (isles__gate_is_unheld(interp)) {
            isles__gate_close_unheld(interp);
        }
    }
}

void
isles__gate_visit(struct isles_interp *interp)
{
    /* The pin keeps it from ending until the new thread state is among its own. */
    int status;
    while ((status = isles_interp_visit(interp)) == ISLES_BUSY) {
        isles_sleep(ISLES_MILLISECOND);
    }
    if (status < 0) {
        isles_exit_without_waiting(); /* its pool may join it then, as Arrow's does */
        isles_sleep_forever();
    }
    PyThreadState *ts = PyThreadState_New(interp->state);
    if (ts == NULL) {
        Py_FatalError("isles: no memory for the thread state of an extension module's thread");
    }
    PyEval_RestoreThread(ts);
    isles_interp_unpin(interp);
}

/* ---- settling ---- */

/* Runs in the interpreter, as soon as that runs. */
static int
settle_pending(void *Py_UNUSED(arg))
{
    int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
    struct isles_interp *interp = isles_registry_find(id);
    if (interp != NULL) {
        isles__gate_settle_returned(interp);
        isles_interp_unref(interp);
    }
    return 0;
}

void
isles__gate_settle(struct isles_interp *interp)
{
    struct isles_thread *thread = isles__gate_thread();
    struct isles_pass pass;
    bool anywhere = PyThreadState_GetUnchecked() != NULL;
    PyObject *error = anywhere ? PyErr_GetRaisedException() : NULL;
    int status = thread ? enter(&pass, interp, true) : ISLES_NO_MEMORY;
    if (status == 0) {
        isles__gate_leave(&pass);
    } else if ((status == ISLES_BUSY || status == ISLES_SETTLING)
               && isles_interp_pin(interp) == 0) {
        (void)isles__private_pending_call(interp->state, settle_pending, NULL);
        isles_interp_unpin(interp);
    } else if (thread != NULL) {
        isles__gate_reclaim(interp, thread);
    }
    if (anywhere) {
        PyErr_SetRaisedException(error);
    }
}
