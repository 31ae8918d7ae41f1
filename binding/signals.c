#include "signals.h"

#include "../core/os.h"
#include "../core/registry.h"
#include "../core/status.h"
#include "gate.h"
#include "interrupts.h"
#include "private.h"

#define LOOK_EVERY INT64_C(20000000) /* ns */
#define LOOKS_BEFORE_SLEEP 50        /* without finding the main thread away from home */

/* The id of the interpreter in which the main thread is; 0 is main, home.  Written by the main
 * thread only. */
static _Atomic int64_t whereabouts;

/* The watcher: not there yet; looking; or asleep until the main thread leaves home again. */
enum { ABSENT, LOOKING, ASLEEP };
static atomic_uint watcher;
static atomic_int watcher_generation; /* of forks: a child has no watcher */

/* What a handler raised.  Under main's GIL, by the main thread. */
static PyObject *raised;

/* ---- on the main thread ---- */

/* Hops back to main for the handlers.  On the main thread, in another interpreter. */
static int
deliver(void)
{
    struct isles_interp *main_interp = isles_registry_find(0);
    struct isles_pass pass;
    if (main_interp == NULL || isles__gate_enter(&pass, main_interp) < 0) {
        if (main_interp != NULL) {
            isles_interp_unref(main_interp);
        }
        return 0;
    }
    bool failed = PyErr_CheckSignals() < 0;
    if (failed) {
        Py_XSETREF(raised, PyErr_GetRaisedException());
    }
    isles__gate_leave(&pass);
    isles_interp_unref(main_interp);
    if (failed) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return -1;
    }
    return 0;
}

int
isles__signals_check(void)
{
    int result = 0;
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
        result = PyErr_CheckSignals();
    } else if (isles_is_main_thread() && isles__private_signal_waits()) {
        result = deliver();
    }
    return result < 0 ? result : isles__interrupts_check();
}

void
isles__signals_parked(bool parked)
{
    const struct isles_thread *thread = isles_thread_self();
    if (thread != NULL && thread->is_main && thread->top != NULL) {
        isles__signals_moved(parked ? NULL : ((struct isles_pass *)thread->top)->interp);
    }
}

bool
isles__signals_interrupted(void)
{
    return raised != NULL && isles_is_main_thread();
}

void
isles__signals_keep(void)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) && isles_is_main_thread()) {
        PyObject *error = PyErr_GetRaisedException();
        Py_XSETREF(raised, Py_NewRef(error));
        PyErr_SetRaisedException(error);
    }
}

PyObject *
isles__signals_take(void)
{
    PyObject *error = raised;
    raised = NULL;
    return error;
}

/* ---- the watcher ---- */

static bool
needed(void)
{
    return atomic_load(&whereabouts) != 0 || isles_registry_wanted() > 0;
}

static void
look(void)
{
    isles__interrupts_look();
    int64_t id = atomic_load(&whereabouts);
    struct isles_interp *interp =
        id != 0 && isles__private_signal_waits() ? isles_registry_find(id) : NULL;
    if (interp != NULL) {
        isles__interrupts_call(interp);
        /* An event loop there: EINTR alone does not end its wait. */
        (void)isles_interp_ring(interp);
        isles_interp_unref(interp);
    }
}

static void *
watch(void *Py_UNUSED(arg))
{
    for (int idle = 0;;) {
        isles_sleep(LOOK_EVERY);
        look();
        idle = needed() ? 0 : idle + 1;
        if (idle < LOOKS_BEFORE_SLEEP) {
            continue;
        }
        atomic_store(&watcher, ASLEEP);
        /* Who needs us writes `whereabouts` or the wish and then reads `watcher`; we the other way
         * round: one of us sees the other. */
        while (!needed() && atomic_load(&watcher) == ASLEEP) {
            (void)isles_futex_wait(&watcher, ASLEEP, ISLES_NEVER);
        }
        atomic_store(&watcher, LOOKING);
        idle = 0;
    }
    return NULL;
}

void
isles__signals_rouse(void)
{
    int before = atomic_load(&watcher_generation);
    if (before != isles_registry_generation()
        && atomic_compare_exchange_strong(&watcher_generation, &before,
                                          isles_registry_generation())) {
        atomic_store(&watcher, ABSENT);
    }
    unsigned state = atomic_load(&watcher);
    if (state == LOOKING || !atomic_compare_exchange_strong(&watcher, &state, LOOKING)) {
        return;
    }
    if (state == ASLEEP) {
        isles_futex_wake(&watcher);
    } else if (isles_thread_detached("isles-signals", watch, NULL) < 0) {
        atomic_store(&watcher, ABSENT); /* the next one tries again */
    }
}

void
isles__signals_moved(const struct isles_interp *inside)
{
    int64_t id = inside == NULL ? 0 : inside->id;
    atomic_store(&whereabouts, id);
    if (id != 0
        && (atomic_load(&watcher) != LOOKING
            || watcher_generation != isles_registry_generation())) {
        isles__signals_rouse();
    }
}
