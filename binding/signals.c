#include "signals.h"

#include "../core/os.h"
#include "../core/status.h"
#include "gate.h"
#include "private.h"

#define LOOK_EVERY INT64_C(20000000) /* ns */
#define LOOKS_BEFORE_SLEEP 50        /* without finding the main thread away from home */

/* The id of the interpreter in which the main thread is; 0 is main, home.  Written by the main
 * thread only. */
static _Atomic int64_t whereabouts;

/* The watcher: not there yet; looking; or asleep until the main thread leaves home again. */
enum { ABSENT, LOOKING, ASLEEP };
static atomic_uint watcher;
static int watcher_generation; /* of forks: a child has no watcher.  Main thread only */

/* What a handler raised.  Under main's GIL, by the main thread. */
static PyObject *raised;

/* ---- on the main thread ---- */

/* The pending call: in any thread of the interpreter that it was posted to. */
static int
deliver(void *Py_UNUSED(arg))
{
    struct isles_interp *main_interp = isles_registry_find(0);
    struct isles_pass pass;
    if (!isles_is_main_thread() || main_interp == NULL
        || isles__gate_enter(&pass, main_interp) < 0) {
        if (main_interp != NULL) {
            isles_interp_unref(main_interp);
        }
        return 0; /* another thread of that interpreter came first: the watcher asks again */
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
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
        return PyErr_CheckSignals();
    }
    return isles_is_main_thread() && isles__private_signal_waits() ? deliver(NULL) : 0;
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

static void
look(void)
{
    int64_t id = atomic_load(&whereabouts);
    if (id == 0 || !isles__private_signal_waits()) {
        return;
    }
    struct isles_interp *interp = isles_registry_find(id);
    if (interp == NULL) {
        return;
    }
    /* It may be that the main thread has just left it, and that somebody ends it. */
    if (isles_interp_pin(interp) == 0) {
        (void)isles__private_pending_call(interp->state, deliver, NULL);
        isles_interp_unpin(interp);
    }
    isles_interp_unref(interp);
}

static void *
watch(void *Py_UNUSED(arg))
{
    for (int idle = 0;;) {
        isles_sleep(LOOK_EVERY);
        look();
        idle = atomic_load(&whereabouts) == 0 ? idle + 1 : 0;
        if (idle < LOOKS_BEFORE_SLEEP) {
            continue;
        }
        atomic_store(&watcher, ASLEEP);
        /* The main thread writes `whereabouts` and then reads `watcher`; we the other way round:
         * one of us sees the other. */
        while (atomic_load(&whereabouts) == 0 && atomic_load(&watcher) == ASLEEP) {
            (void)isles_futex_wait(&watcher, ASLEEP, ISLES_NEVER);
        }
        atomic_store(&watcher, LOOKING);
        idle = 0;
    }
    return NULL;
}

static void
rouse(void)
{
    if (watcher_generation != isles_registry_generation()) {
        watcher_generation = isles_registry_generation();
        atomic_store(&watcher, ABSENT);
    }
    unsigned state = atomic_load(&watcher);
    if (state == ABSENT) {
        atomic_store(&watcher, LOOKING);
        if (isles_thread_detached("isles-signals", watch, NULL) < 0) {
            atomic_store(&watcher, ABSENT); /* the next stay tries again */
        }
    } else if (state == ASLEEP && atomic_compare_exchange_strong(&watcher, &state, LOOKING)) {
        isles_futex_wake(&watcher);
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
        rouse();
    }
}
