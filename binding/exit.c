#include "exit.h"

#include <stdlib.h>

#include "../core/os.h"
#include "../core/queue.h"
#include "../core/registry.h"
#include "../core/status.h"
#include "gate.h"
#include "private.h"
#include "stock.h"

#define MILLISECOND INT64_C(1000000)
#define UNWIND (700 * MILLISECOND) /* for SystemExit to get through */
#define FREEZE (100 * MILLISECOND)
#ifdef Py_DEBUG
#define UNUSED (60000 * MILLISECOND) /* debug builds abort if one is left behind */
#else
#define UNUSED (200 * MILLISECOND) /* for the stock; what is left of it is left behind */
#endif
#define LOOK_EVERY (2 * MILLISECOND)
#define INSIST_EVERY 20 /* looks between two SystemExits */

/* A stopper is an OS thread that visits one interpreter until nothing runs there.  It exists
 * because taking that interpreter's GIL may block for good, which the exiting thread must not. */
enum wish { LOOK, INTERRUPT, STAY };
enum finding { RUNS, QUIET, FROZEN };

struct stopper {
    struct isles_interp *interp; /* pinned, and a reference */
    _Atomic(enum wish) wish;
    _Atomic(enum finding) finding;
};

/* The seat of whoever ends the interpreter is idle: while somebody visits, that thread waits for
 * him to go before it enters. */
static bool
is_idle_seat(struct isles_interp *interp, const struct isles_thread_state *thread)
{
    unsigned long ident = atomic_load_explicit(&interp->runner_ident, memory_order_relaxed);
    bool just_entered = ident == 0 && isles_interp_is_running(interp);
    bool inside = thread->ident == ident && !isles_interp_has_ended(interp);
    return isles_seat_is_kept(interp, thread->ts) && !just_entered && !inside;
}

/* Counts the threads that run inside; `interrupt` sends each a SystemExit, but not an extension
 * module's own, which would report it: it doesn't know what that is.  -1 without memory.
 * In the interpreter, unless `interrupt` is false. */
static int
threads_inside(struct isles_interp *interp, const PyThreadState *mine, bool interrupt)
{
    struct isles_thread_state *threads;
    size_t count;
    int inside = 0;
    if (isles__private_threads(interp->state, &threads, &count) < 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (threads[i].ts == mine || is_idle_seat(interp, &threads[i])) {
            continue;
        }
        inside++;
        bool own = threads[i].outside && !isles_seat_is_kept(interp, threads[i].ts);
        if (interrupt && !own) {
            PyThreadState_SetAsyncExc(threads[i].ident, PyExc_SystemExit);
        }
    }
    free(threads);
    return inside;
}

/* What is interrupted between opening a file and using it leaves it open, and with -W always says
 * so; of an import in one that nobody has asked for, nobody is to hear that.  No Python code may
 * run for it here: what is to be interrupted may hold the lock that it would wait for. */
static void
silence(const struct isles_interp *interp)
{
    if (atomic_load(&interp->hidden) == ISLES_UNUSED && PySys_SetObject("stderr", Py_None) < 0) {
        PyErr_Clear();
    }
}

static void *
stopper_body(void *arg)
{
    struct stopper *stopper = arg;
    PyThreadState *ts = PyThreadState_New(stopper->interp->state);
    if (ts == NULL) {
        return NULL;
    }
    for (int looks = 0;; looks++) {
        PyEval_AcquireThread(ts);
        enum wish wish = atomic_load(&stopper->wish);
        if (wish == STAY) {
            /* Holding the GIL for ever: nothing in that interpreter runs again, whatever it
             * catches, while the rest of the process is taken down.  Main's own GIL stops what
             * shares it: CPython's finalization gives it to nobody else any more. */
            if (!stopper->interp->own_gil) {
                PyEval_ReleaseThread(ts);
            }
            atomic_store(&stopper->finding, FROZEN);
            isles_sleep_forever();
        }
        bool insist = wish == INTERRUPT && looks % INSIST_EVERY == 0;
        if (insist) {
            silence(stopper->interp);
        }
        if (threads_inside(stopper->interp, ts, insist) == 0
            && !isles_interp_is_running(stopper->interp)) {
            break;
        }
        if (insist) { /* an event loop may have nothing to do */
            (void)isles_interp_ring(stopper->interp);
        }
        PyEval_ReleaseThread(ts);
        isles_sleep(LOOK_EVERY);
    }
    PyThreadState_Clear(ts);
    PyThreadState_DeleteCurrent();
    isles_interp_unpin(stopper->interp);
    atomic_store(&stopper->finding, QUIET);
    return NULL;
}

static struct stopper *
stopper_new(struct isles_interp *interp)
{
    struct stopper *stopper = calloc(1, sizeof(*stopper));
    if (stopper == NULL || isles_interp_pin(interp) < 0) {
        free(stopper);
        return NULL;
    }
    stopper->interp = interp;
    if (isles_thread_detached("isles-exit", stopper_body, stopper) < 0) {
        isles_interp_unpin(interp);
        free(stopper);
        return NULL;
    }
    return stopper;
}

/* ---- the exiting thread ---- */

struct resident {
    struct isles_interp *interp;
    struct stopper *stopper; /* NULL if nothing runs in it */
    bool left;               /* behind */
    struct resident *next;
};

static bool
is_settled(const struct resident *resident)
{
    if (resident->stopper != NULL) {
        return atomic_load(&resident->stopper->finding) != RUNS;
    }
    return true;
}

static bool
wait_settled(const struct resident *list, int64_t time)
{
    bool settled = false;
    int64_t deadline = isles_now() + time;
    Py_BEGIN_ALLOW_THREADS
        while (!settled && isles_now() < deadline) {
            settled = true;
            for (const struct resident *p = list; p != NULL && settled; p = p->next) {
                settled = is_settled(p);
            }
            if (!settled) {
                isles_sleep(LOOK_EVERY);
            }
        }
    Py_END_ALLOW_THREADS
    return settled;
}

static void
wish_all(const struct resident *list, enum wish wish)
{
    for (const struct resident *p = list; p != NULL; p = p->next) {
        if (p->stopper != NULL) {
            atomic_store(&p->stopper->wish, wish);
        }
    }
}

/* All of ours, each with a stopper if something runs in it.  Those that another thread is about to
 * end are waited for as well. */
static struct resident *
residents(void)
{
    struct resident *list = NULL;
    int64_t id = 0;
    struct isles_interp *interp;
    while ((interp = isles_registry_next(id)) != NULL) {
        id = interp->id;
        struct resident *resident = interp->ours ? calloc(1, sizeof(*resident)) : NULL;
        if (resident == NULL) {
            isles_interp_unref(interp);
            continue;
        }
        resident->interp = interp;
        isles__gate_take_back(interp);
        if (!isles_interp_has_ended(interp)
            && (isles_interp_is_running(interp) || threads_inside(interp, NULL, false) != 0)) {
            resident->stopper = stopper_new(interp);
            if (resident->stopper != NULL && atomic_load(&interp->hidden) == ISLES_UNUSED) {
                atomic_store(&resident->stopper->wish, INTERRUPT); /* nobody waits for it */
            }
        }
        resident->next = list;
        list = resident;
    }
    return list;
}

/* Of one that could not be closed because a thread came in just before. */
static void
freeze(struct resident *resident)
{
    resident->stopper = stopper_new(resident->interp);
    if (resident->stopper != NULL) {
        atomic_store(&resident->stopper->wish, STAY);
        wait_settled(resident, FREEZE);
    }
}

/* Gives up on it.  0 or -1 with an exception. */
static int
leave_behind(struct isles_interp *interp, PyObject *idents)
{
    unsigned long ident = atomic_load(&interp->runner_ident);
    void *state = interp->state;
    if (state != NULL) {
        isles__private_unlink(state);
    }
    isles_interp_abandon(interp);
    isles__private_forsake_thread(ident);
    PyObject *number = ident ? PyLong_FromUnsignedLong(ident) : NULL;
    int result = number ? PyList_Append(idents, number) : 0;
    Py_XDECREF(number);
    return result;
}

static int
end_resident(struct resident *resident, int64_t deadline, PyObject *idents)
{
    struct isles_interp *interp = resident->interp;
    bool quiet = resident->stopper == NULL || atomic_load(&resident->stopper->finding) == QUIET;
    if (atomic_load(&interp->hidden) == ISLES_UNUSED && isles_now() > deadline) {
        quiet = false;
    }
    int status = quiet ? isles__gate_close(interp) : ISLES_BUSY;
    if (status == ISLES_OK || status == ISLES_NOT_FOUND || interp->state == NULL) {
        return 0; /* or others are at it: end_late() */
    }
    if (status == ISLES_THREADS_ALIVE) {
        freeze(resident);
    }
    resident->left = true;
    return leave_behind(interp, idents);
}

/* What is parked by now, as main will use what it lent up to its own end; or what another thread
 * ends, which is waited for.  Whoever gets hold of the former, it is one of us. */
static int
end_late(const struct resident *resident, PyObject *idents)
{
    struct isles_interp *interp = resident->interp;
    int64_t deadline = isles_now() + UNWIND;
    Py_BEGIN_ALLOW_THREADS
        while (interp->state != NULL && isles_interp_reclaim_begin(interp) < 0
               && isles_now() < deadline) {
            isles_sleep(LOOK_EVERY);
        }
    Py_END_ALLOW_THREADS
    return interp->state != NULL ? leave_behind(interp, idents) : 0;
}

/* Those that are being made: their makers will find that they may not, and end them. */
static void
wait_created(void)
{
    int64_t deadline = isles_now() + UNWIND;
    Py_BEGIN_ALLOW_THREADS
        while (isles_registry_creating() > 0 && isles_now() < deadline) {
            isles_sleep(LOOK_EVERY);
        }
    Py_END_ALLOW_THREADS
}

PyObject *
isles__exit(int64_t grace)
{
    PyObject *idents = PyList_New(0);
    if (idents == NULL) {
        return NULL;
    }
    isles_registry_exit_begin();
    isles_queues_exit();
    isles__stock_exit();
    wait_created();
    struct resident *list = residents();
    if (!wait_settled(list, grace)) {
        wish_all(list, INTERRUPT);
        if (!wait_settled(list, UNWIND)) {
            wish_all(list, STAY);
            wait_settled(list, FREEZE);
        }
    }
    int result = 0;
    int64_t deadline = isles_now() + UNUSED;
    for (struct resident *p = list; p != NULL; p = p->next) {
        /* Neither list nor stoppers are freed: it is the end. */
        result |= end_resident(p, deadline, idents);
    }
    for (struct resident *p = list; p != NULL; p = p->next) {
        result |= p->left ? 0 : end_late(p, idents);
    }
    if (result < 0) {
        Py_CLEAR(idents);
    }
    return idents;
}
