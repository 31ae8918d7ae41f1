#include <stdlib.h>

#include "../core/queue.h"
#include "../core/status.h"
#include "gate_parts.h"
#include "local.h"
#include "private.h"
#include "stock.h"

#define LEAVING (500 * ISLES_MILLISECOND) /* for extension modules' threads */

/* What Py_EndInterpreter does first, done here so that it can be seen whether all threads have
 * ended: where one has not, Py_EndInterpreter kills the process. */
static void
call_if_imported(const char *module_name, const char *function)
{
    PyObject *modules = PyImport_GetModuleDict();                  /* borrowed */
    PyObject *module = PyDict_GetItemString(modules, module_name); /* borrowed */
    PyObject *result = module ? PyObject_CallMethod(module, function, NULL) : NULL;
    if (result == NULL && PyErr_Occurred()) {
        PyErr_WriteUnraisable(module);
    }
    Py_XDECREF(result);
}

/* OK: no thread other than the closing one has a thread state that isn't just kept.  Otherwise
 * THREADS_ALIVE; NO_MEMORY: there may be some. */
static int
left_by_threads(struct isles_interp *interp, const PyThreadState *mine)
{
    struct isles_thread_state *threads;
    size_t count;
    int status = isles__private_threads(interp->state, &threads, &count);
    if (status < 0) {
        return status;
    }
    for (size_t i = 0; i < count && status == ISLES_OK; i++) {
        if (threads[i].ts != mine && !isles_seat_is_kept(interp, threads[i].ts)) {
            status = ISLES_THREADS_ALIVE;
        }
    }
    free(threads);
    return status;
}

static void
wait_for_pins(struct isles_interp *interp)
{
    if (atomic_load(&interp->pins) > 0) {
        PyThreadState *mine = isles__gil_let_go(); /* a visitor may need either GIL to get out */
        while (atomic_load(&interp->pins) > 0) {
            isles_sleep(100000);
        }
        isles__gil_take_back(mine);
    }
}

/* Gives extension modules' threads that are inside time to leave. */
static void
wait_for_visitors(struct isles_interp *interp, const PyThreadState *mine)
{
    wait_for_pins(interp);
    int64_t deadline = isles_now() + LEAVING;
    while (atomic_load(&interp->visited) && left_by_threads(interp, mine) < 0
           && isles_now() < deadline) {
        Py_BEGIN_ALLOW_THREADS
            isles_sleep(ISLES_MILLISECOND);
        Py_END_ALLOW_THREADS
    }
}

static int
wind_down(struct isles_interp *interp, const PyThreadState *mine)
{
    isles_interp_wind_down(interp, true);
    call_if_imported("threading", "_shutdown");
    /* Extension modules' threads may end only by what their modules do at exit. */
    if (atomic_load(&interp->visited) || left_by_threads(interp, mine) == ISLES_OK) {
        call_if_imported("atexit", "_run_exitfuncs");
        call_if_imported("threading", "_shutdown"); /* an atexit callback may have started some */
    }
    isles_interp_wind_down(interp, false);
    wait_for_visitors(interp, mine);
    return left_by_threads(interp, mine);
}

/* A thread that threading knows by a dummy only (it has logged, say) prints an error before 3.13.3
 * when it goes with the interpreter: the dummy's end uses what has gone before. */
static void
forget_dummies(void)
{
#if PY_VERSION_HEX < 0x030E0000
    PyObject *threading =
        PyDict_GetItemString(PyImport_GetModuleDict(), "threading"); /* borrowed */
    PyObject *class =
        threading ? PyObject_GetAttrString(threading, "_DeleteDummyThreadOnDel") : NULL;
    if (class != NULL) {
        (void)PyObject_DelAttrString(class, "__del__");
    }
    Py_XDECREF(class);
    PyErr_Clear();
#endif
}

/* Inside, with all others gone: frees what is kept and ends it.  No thread state is current then.
 */
static void
end(struct isles_interp *interp, PyThreadState *mine)
{
    forget_dummies();
    isles__local_free(interp);
    struct isles_seat *all = isles_seats_take_all(interp), *others = NULL;
    while (all != NULL) {
        struct isles_seat *next = all->next;
        if (all->ts == mine) {
            free(all);
        } else {
            all->next = others;
            others = all;
        }
        all = next;
    }
    isles__gate_free_seats(others);
    Py_EndInterpreter(mine);
}

/* Others may hold what the interpreter lent only because of things in its own __main__ that came
 * from them. */
static void
drop_main(struct isles_interp *interp)
{
    PyObject *module = PyImport_AddModuleRef("__main__");
    if (module != NULL) {
        PyDict_Clear(PyModule_GetDict(module));
        Py_DECREF(module);
    }
    PyErr_Clear();
    PyGC_Collect();
    isles__gate_settle_returned(interp);
}

/* Ends it, or parks it until what it lent is back. */
static void
finish_close(struct isles_pass *pass)
{
    struct isles_interp *interp = pass->interp;
    isles_queues_sweep(interp->id); /* its items may be all that keeps what it lent */
    isles__gate_settle_returned(interp);
    if (atomic_load(&interp->lent) > 0) {
        drop_main(interp);
    }
    if (atomic_load(&interp->lent) == 0) {
        interp->over = true; /* what ends with it may still run code that sends */
        end(interp, pass->ts);
        isles__pass_pop(pass);
        isles_interp_close_commit(interp);
        isles_queues_sweep(interp->id); /* what it put while it ended */
        return;
    }
    isles__pass_pop(pass);
    isles_interp_close_park(interp);
    isles__gate_settle_late(interp);
}

/* Ends what has just become ENDING.  THREADS_ALIVE or NO_MEMORY: it still is. */
static int
end_begun(struct isles_interp *interp, struct isles_thread *thread, PyThreadState *from)
{
    PyThreadState *ts = isles__gate_seat(thread, interp);
    if (ts == NULL) {
        return ISLES_NO_MEMORY;
    }
    wait_for_pins(interp);
    struct isles_pass pass;
    isles__pass_push(&pass, interp, thread, from, ts);
    int status = wind_down(interp, ts);
    if (status < 0) {
        if (atomic_load(&interp->hidden) == ISLES_CLOSED) {
            PyErr_SetString(PyExc_RuntimeError, "isles: a thread of an interpreter that was closed "
                                                "does not end: it stays until the process exits");
            PyErr_WriteUnraisable(NULL);
        }
        isles__pass_pop(&pass);
        return status;
    }
    finish_close(&pass);
    return ISLES_OK;
}

/* Leaves what has just become ENDING to the stock's thread, which will find nothing to complain of.
 */
static bool
end_later(struct isles_interp *interp)
{
    if (!interp->own_gil || atomic_load(&interp->visited)
        || atomic_load(&interp->hidden) != ISLES_SHOWN || !isles__stock_reserve()) {
        return false;
    }
    if (left_by_threads(interp, NULL) < 0) {
        isles__stock_unreserve();
        return false;
    }
    isles_queues_sweep(interp->id);
    atomic_store(&interp->hidden, ISLES_CLOSED);
    isles__stock_end(interp);
    return true;
}

void
isles__gate_close_shelved(struct isles_interp *interp)
{
    struct isles_thread *thread = isles__gate_thread();
    if (thread != NULL && isles_interp_unshelve(interp, thread) == 0
        && end_begun(interp, thread, PyThreadState_GetUnchecked()) < 0) {
        isles_interp_shelve(interp); /* until the exit */
    }
}

void
isles__gate_take_back(struct isles_interp *interp)
{
    struct isles_thread *thread = isles__gate_thread();
    if (thread != NULL && isles_interp_unshelve(interp, thread) == 0) {
        isles_interp_close_cancel(interp);
    }
}

int
isles__gate_close(struct isles_interp *interp)
{
    struct isles_thread *thread = isles__gate_thread();
    PyThreadState *from = PyThreadState_GetUnchecked();
    if (thread == NULL) {
        return ISLES_NO_MEMORY;
    }
    if (interp->id == 0) {
        return ISLES_IS_MAIN;
    }
    if (!interp->ours) {
        return ISLES_UNRECOGNIZED;
    }
    if (from != NULL && PyThreadState_GetInterpreter(from) == interp->state) {
        return ISLES_IS_CURRENT;
    }
    if (isles__gate_suspended(thread, from, interp->state)) {
        return ISLES_BUSY; /* beneath us */
    }
    int status = isles__gate_leave_idle(isles_interp_close_begin, interp, thread);
    if (status < 0 || end_later(interp)) {
        return status;
    }
    status = end_begun(interp, thread, from);
    if (status < 0) {
        isles_interp_close_cancel(interp);
        isles__gate_settle_late(interp);
    }
    return status;
}

void
isles__gate_reclaim(struct isles_interp *interp, struct isles_thread *thread)
{
    if (isles_interp_reclaim_begin(interp) < 0) {
        return; /* it isn't parked, or another thread does */
    }
    PyThreadState *ts = isles__gate_seat(thread, interp);
    if (ts == NULL) {
        isles_interp_close_park(interp);
        return;
    }
    struct isles_pass pass;
    isles__pass_push(&pass, interp, thread, PyThreadState_GetUnchecked(), ts);
    finish_close(&pass);
}
