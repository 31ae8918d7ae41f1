#include "gate.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "../core/os.h"
#include "../core/queue.h"
#include "../core/status.h"
#include "codec.h"
#include "interrupts.h"
#include "lending.h"
#include "lines.h"
#include "loader.h"
#include "local.h"
#include "private.h"
#include "signals.h"
#include "stock.h"

/* ---- passes ---- */

static struct isles_thread *
current_thread(void)
{
    struct isles_thread *thread = isles_thread_self();
    if (thread != NULL && thread->ident == 0) {
        thread->ident = PyThread_get_thread_ident();
        thread->is_main = isles_is_main_thread();
    }
    return thread;
}

/* As Py_BEGIN_ALLOW_THREADS, for the stock's thread too, which comes from no interpreter. */
static PyThreadState *
let_go(void)
{
    return PyThreadState_GetUnchecked() ? PyEval_SaveThread() : NULL;
}

static void
take_back(PyThreadState *ts)
{
    if (ts != NULL) {
        PyEval_RestoreThread(ts);
    }
}

/* The thread state that this OS thread left suspended in an interpreter, or the current one. */
static PyThreadState *
suspended(const struct isles_thread *thread, PyThreadState *current, const void *state)
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

/* The kept thread state of this thread for an interpreter that it took, made at the first entry. */
static PyThreadState *
seat(struct isles_thread *thread, struct isles_interp *interp)
{
    PyThreadState *ts = isles_seat_find(thread, interp);
    if (ts != NULL) {
        return ts;
    }
    ts = PyThreadState_New(interp->state);
    if (ts != NULL && isles_seat_add(thread, interp, ts) < 0) {
        PyThreadState_Delete(ts); /* never entered, so there is nothing to clear */
        ts = NULL;
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

/* Goes back to where the thread came from.  The stock's thread came from nowhere, and keeps
 * nothing: what PyGILState_Ensure finds on a thread is the last thread state that was current
 * there, and CPython goes wrong if that is freed by another thread. */
static void
go_back(struct isles_thread *thread, struct isles_interp *interp, PyThreadState *from)
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

static void
pass_push(struct isles_pass *pass, struct isles_interp *interp, struct isles_thread *thread,
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

static void
pass_pop(struct isles_pass *pass)
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
        go_back(thread, pass->interp, pass->from);
    }
    thread->top = pass->below;
    thread->depth--;
    moved(thread, pass->below ? pass->below->interp : NULL);
}

/* Frees thread states of threads that have ended.  Inside their interpreter; clearing one may run
 * any Python code. */
static void
free_seats(struct isles_seat *list)
{
    while (list != NULL) {
        struct isles_seat *next = list->next;
        PyThreadState_Clear(list->ts);
        PyThreadState_Delete(list->ts);
        free(list);
        list = next;
    }
}

/* In the interpreter. */
static void
settle_returned(struct isles_interp *interp)
{
    if (atomic_load_explicit(&interp->returned, memory_order_relaxed) != NULL) {
        isles__lending_settle(interp);
    }
}

/* After others may get hold of it again: what was returned by one who saw us there. */
static void
settle_late(struct isles_interp *interp)
{
    if (atomic_load(&interp->returned) != NULL) {
        isles__gate_settle(interp);
    }
}

#define MILLISECOND INT64_C(1000000)
#define LEAVING (500 * MILLISECOND) /* for extension modules' threads */
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

/* Leaves IDLE by one of the registry's functions for that; waits while another thread settles. */
static int
begin(int (*leave_idle)(struct isles_interp *, struct isles_thread *), struct isles_interp *interp,
      struct isles_thread *thread)
{
    int status = leave_idle(interp, thread);
    for (int looks = 0; status == ISLES_SETTLING && looks < SETTLING_LOOKS; looks++) {
        PyThreadState *mine = let_go(); /* it may need our GIL to get out */
        isles_sleep(SETTLING_LOOK_EVERY);
        take_back(mine);
        status = leave_idle(interp, thread);
    }
    return status == ISLES_SETTLING ? ISLES_BUSY : status;
}

static int
enter(struct isles_pass *pass, struct isles_interp *interp, bool settles)
{
    struct isles_thread *thread = current_thread();
    if (thread == NULL) {
        return ISLES_NO_MEMORY;
    }
    if (thread->depth >= ISLES_DEPTH_MAX) {
        return ISLES_TOO_DEEP;
    }
    PyThreadState *from = PyThreadState_GetUnchecked();
    PyThreadState *ts = suspended(thread, from, interp->state);
    pass->begun = ts == NULL;
    if (ts == NULL) {
        if (!interp->ours) {
            return interp->id == 0 ? ISLES_BUSY : ISLES_UNRECOGNIZED;
        }
        int status = settles ? isles_interp_settle_begin(interp, thread)
                             : begin(isles_interp_begin, interp, thread);
        if (status < 0) {
            return status;
        }
        ts = seat(thread, interp);
        if (ts == NULL) {
            finish(interp);
            return ISLES_NO_MEMORY;
        }
    }
    pass_push(pass, interp, thread, from, ts);
    if (pass->begun && !isles__private_run_main(interp->state)) {
        pass_pop(pass);
        finish(interp);
        return ISLES_BUSY;
    }
    if (pass->begun && atomic_load_explicit(&interp->has_orphans, memory_order_relaxed)) {
        free_seats(isles_seats_take_orphans(interp));
    }
    settle_returned(interp);
    return ISLES_OK;
}

int
isles__gate_enter(struct isles_pass *pass, struct isles_interp *interp)
{
    return enter(pass, interp, false);
}

static void
close_if_unheld(struct isles_interp *interp)
{
    if (interp->owned && atomic_load(&interp->holders) == 0) {
        PyObject *error = PyErr_GetRaisedException();
        (void)isles__gate_close(interp); /* if somebody else got in, he does this when he leaves */
        PyErr_SetRaisedException(error);
    }
}

void
isles__gate_leave(struct isles_pass *pass)
{
    struct isles_interp *interp = pass->interp;
    settle_returned(interp);
    if (pass->begun) {
        isles__private_leave_main(interp->state);
    }
    pass_pop(pass);
    if (pass->begun) {
        /* Only now: until the swap returns, CPython still uses the thread state. */
        finish(interp);
        settle_late(interp);
        close_if_unheld(interp);
    }
}

void
isles__gate_hold(struct isles_interp *interp)
{
    atomic_fetch_add(&interp->holders, 1);
}

void
isles__gate_drop(struct isles_interp *interp)
{
    if (atomic_fetch_sub(&interp->holders, 1) == 1) {
        close_if_unheld(interp);
    }
}

/* An interpreter that a message names: it must not end before the message is read. */
struct hold {
    struct isles_shared shared;
    struct isles_interp *interp; /* counted in its holders, and a reference */
};

static void
hold_gone(struct isles_shared *shared)
{
    struct hold *hold = (struct hold *)shared;
    isles__gate_drop(hold->interp);
    isles_interp_unref(hold->interp);
    free(hold);
}

int
isles__gate_attach(struct isles_interp *interp, struct isles_message *message, uint32_t *index)
{
    struct hold *hold = malloc(sizeof(*hold));
    if (hold == NULL) {
        return ISLES_NO_MEMORY;
    }
    isles_shared_init(&hold->shared, ISLES_HOLD, hold_gone);
    isles_interp_ref(interp);
    isles__gate_hold(interp);
    hold->interp = interp;
    int status = isles_message_attach(message, &hold->shared, index);
    if (status < 0) {
        isles_shared_unref(&hold->shared);
    }
    return status;
}

void
isles__gate_visit(struct isles_interp *interp)
{
    /* The pin keeps it from ending until the new thread state is among its own. */
    int status;
    while ((status = isles_interp_visit(interp)) == ISLES_BUSY) {
        isles_sleep(MILLISECOND);
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

/* ---- create ---- */

static const PyInterpreterConfig isolated_config = {
    .use_main_obmalloc = 0,
    .allow_fork = 0,
    .allow_exec = 0,
    .allow_threads = 1,
    .allow_daemon_threads = 0,
    .check_multi_interp_extensions = 1,
    .gil = PyInterpreterConfig_OWN_GIL,
};

/* CPython's legacy configuration, but for fork: a child forked in another interpreter than main
 * is killed by CPython itself ("not main interpreter"). */
static const PyInterpreterConfig shared_config = {
    .use_main_obmalloc = 1,
    .allow_fork = 0,
    .allow_exec = 1,
    .allow_threads = 1,
    .allow_daemon_threads = 1,
    .check_multi_interp_extensions = 0,
    .gil = PyInterpreterConfig_SHARED_GIL,
};

/* In the new interpreter. */
static int
set_up(const struct isles_message *setting, bool isolated)
{
    struct isles_contents contents = isles_message_contents(setting);
    PyObject *path, *rules, *tuple = isles__decode(NULL, &contents);
    int result = -1;
    if (tuple != NULL && PyArg_ParseTuple(tuple, "OO", &path, &rules)) {
        result = PySys_SetObject("path", path);
        result = result < 0 ? -1 : isles__lines_install();
        if (result == 0 && isolated && rules != Py_None) {
            result = isles__loader_install(rules);
        }
    }
    Py_XDECREF(tuple);
    if (result < 0) {
        PyErr_Clear();
    }
    return result;
}

static int
register_new(PyThreadState *ts, struct isles_thread *thread, const struct isles_message *setting,
             bool isolated, struct isles_interp **out)
{
    PyInterpreterState *state = PyThreadState_GetInterpreter(ts);
    int status = isles_registry_add(PyInterpreterState_GetID(state), state, true, out);
    if (status < 0) {
        return status;
    }
    if (isles_seat_add(thread, *out, ts) < 0 || set_up(setting, isolated) < 0) {
        struct isles_seat *seats = isles_seats_take_all(*out);
        free(seats);
        isles_interp_close_commit(*out);
        isles_interp_unref(*out);
        return ISLES_NO_MEMORY;
    }
    return ISLES_OK;
}

#if PY_VERSION_HEX < 0x030E0000
/* 3.13 sets up its static types again for each interpreter, and two threads that do so at once
 * write over each other's flags: now and then an interpreter can't be made (python/cpython 127108).
 */
static PyStatus
new_interpreter(struct isles_thread *thread, PyThreadState **ts, const PyInterpreterConfig *config)
{
    PyThreadState *mine = let_go();
    isles_registry_make_alone(thread);
    take_back(mine);
    PyStatus made = Py_NewInterpreterFromConfig(ts, config);
    isles_registry_made(thread);
    return made;
}
#else
static PyStatus
new_interpreter(struct isles_thread *Py_UNUSED(thread), PyThreadState **ts,
                const PyInterpreterConfig *config)
{
    return Py_NewInterpreterFromConfig(ts, config);
}
#endif

static void
give_out(struct isles_interp *interp, bool owned, enum isles_hidden hidden)
{
    interp->owned = owned;
    atomic_store(&interp->holders, owned); /* the caller's, until an Interpreter has one */
    atomic_store(&interp->hidden, hidden);
}

static int
create(bool isolated, bool owned, enum isles_hidden hidden, const struct isles_message *setting,
       struct isles_interp **out, const char **why)
{
    struct isles_thread *thread = current_thread();
    if (thread == NULL) {
        return ISLES_NO_MEMORY;
    }
    if (!isles_registry_create_begin()) {
        return ISLES_EXITING;
    }
    PyThreadState *from = PyThreadState_GetUnchecked(), *ts = NULL;
    PyStatus made = new_interpreter(thread, &ts, isolated ? &isolated_config : &shared_config);
    *why = PyStatus_Exception(made) ? made.err_msg : NULL;
    if (ts == NULL) {
        isles_registry_create_end();
        return ISLES_NO_MEMORY;
    }
    int status = register_new(ts, thread, setting, isolated, out);
    if (status < 0) {
        Py_EndInterpreter(ts);
    }
    go_back(thread, *out, from);
    if (status == 0) {
        give_out(*out, owned, hidden);
        (*out)->own_gil = isolated;
        isles_interp_close_cancel(*out); /* ENDING -> IDLE: open for everybody */
    }
    isles_registry_create_end();
    return status;
}

struct creation {
    bool owned;
    const struct isles_message *setting;
    struct isles_interp *interp;
    const char *why;
    int status;
    atomic_uint over;
};

static void *
create_and_tell(void *arg)
{
    struct creation *creation = arg;
    creation->status = create(true, creation->owned, ISLES_SHOWN, creation->setting,
                              &creation->interp, &creation->why);
    atomic_store(&creation->over, 1);
    isles_futex_wake(&creation->over); /* the memory may be gone */
    return NULL;
}

/* From 3.14 on a new thread state asks for the limits of its thread's stack, for which glibc reads
 * the list of all mappings on the main thread.  CPython makes thirteen while it makes an
 * interpreter, one in main for each module that is built in: with 2,800 mappings 150 ms.  On
 * another thread that costs nothing, and the first entry of the main thread makes one more.  False:
 * there is no other thread. */
static bool
create_elsewhere(struct creation *creation)
{
    if (isles_thread_detached("isles-create", create_and_tell, creation) < 0) {
        return false;
    }
    PyThreadState *mine = let_go();
    while (atomic_load(&creation->over) == 0) {
        (void)isles_futex_wait(&creation->over, 0, ISLES_NEVER);
    }
    take_back(mine);
    return true;
}

int
isles__gate_create(bool isolated, bool owned, const struct isles_message *setting,
                   struct isles_interp **out, const char **why)
{
    struct creation creation = {.owned = owned, .setting = setting};
    if (PY_VERSION_HEX < 0x030E0000 || !isolated || !isles_is_main_thread()
        || !create_elsewhere(&creation)) {
        return create(isolated, owned, ISLES_SHOWN, setting, out, why);
    }
    *why = creation.why;
    if (creation.status == 0) {
        *out = creation.interp;
    }
    return creation.status;
}

/* ---- the stock ---- */

int
isles__gate_create_hidden(const struct isles_message *setting, struct isles_interp **out,
                          const char **why)
{
    return create(true, false, ISLES_UNUSED, setting, out, why);
}

int
isles__gate_shelve(struct isles_interp *interp)
{
    struct isles_thread *thread = current_thread();
    int status = thread ? begin(isles_interp_close_begin, interp, thread) : ISLES_NO_MEMORY;
    if (status == 0) {
        isles_interp_shelve(interp);
    }
    return status;
}

int
isles__gate_unshelve(struct isles_interp *interp, bool owned)
{
    struct isles_thread *thread = current_thread();
    int status = thread ? isles_interp_unshelve(interp, thread) : ISLES_NO_MEMORY;
    if (status == 0) {
        give_out(interp, owned, ISLES_SHOWN);
        isles_interp_close_cancel(interp);
        settle_late(interp);
    }
    return status;
}

/* ---- close ---- */

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
        PyThreadState *mine = let_go(); /* a visitor may need either GIL to get out */
        while (atomic_load(&interp->pins) > 0) {
            isles_sleep(100000);
        }
        take_back(mine);
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
            isles_sleep(MILLISECOND);
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
    free_seats(others);
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
    settle_returned(interp);
}

/* Ends it, or parks it until what it lent is back. */
static void
finish_close(struct isles_pass *pass)
{
    struct isles_interp *interp = pass->interp;
    isles_queues_sweep(interp->id); /* its items may be all that keeps what it lent */
    settle_returned(interp);
    if (atomic_load(&interp->lent) > 0) {
        drop_main(interp);
    }
    if (atomic_load(&interp->lent) == 0) {
        interp->over = true; /* what ends with it may still run code that sends */
        end(interp, pass->ts);
        pass_pop(pass);
        isles_interp_close_commit(interp);
        isles_queues_sweep(interp->id); /* what it put while it ended */
        return;
    }
    pass_pop(pass);
    isles_interp_close_park(interp);
    settle_late(interp);
}

/* Ends what has just become ENDING.  THREADS_ALIVE or NO_MEMORY: it still is. */
static int
end_begun(struct isles_interp *interp, struct isles_thread *thread, PyThreadState *from)
{
    PyThreadState *ts = seat(thread, interp);
    if (ts == NULL) {
        return ISLES_NO_MEMORY;
    }
    wait_for_pins(interp);
    struct isles_pass pass;
    pass_push(&pass, interp, thread, from, ts);
    int status = wind_down(interp, ts);
    if (status < 0) {
        if (atomic_load(&interp->hidden) == ISLES_CLOSED) {
            PyErr_SetString(PyExc_RuntimeError, "isles: a thread of an interpreter that was closed "
                                                "does not end: it stays until the process exits");
            PyErr_WriteUnraisable(NULL);
        }
        pass_pop(&pass);
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
    struct isles_thread *thread = current_thread();
    if (thread != NULL && isles_interp_unshelve(interp, thread) == 0
        && end_begun(interp, thread, PyThreadState_GetUnchecked()) < 0) {
        isles_interp_shelve(interp); /* until the exit */
    }
}

void
isles__gate_take_back(struct isles_interp *interp)
{
    struct isles_thread *thread = current_thread();
    if (thread != NULL && isles_interp_unshelve(interp, thread) == 0) {
        isles_interp_close_cancel(interp);
    }
}

int
isles__gate_close(struct isles_interp *interp)
{
    struct isles_thread *thread = current_thread();
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
    if (suspended(thread, from, interp->state)) {
        return ISLES_BUSY; /* beneath us */
    }
    int status = begin(isles_interp_close_begin, interp, thread);
    if (status < 0 || end_later(interp)) {
        return status;
    }
    status = end_begun(interp, thread, from);
    if (status < 0) {
        isles_interp_close_cancel(interp);
        settle_late(interp);
    }
    return status;
}

/* Goes on with what finish_close parked, if it did. */
static void
reclaim(struct isles_interp *interp, struct isles_thread *thread)
{
    if (isles_interp_reclaim_begin(interp) < 0) {
        return; /* it isn't parked, or another thread does */
    }
    PyThreadState *ts = seat(thread, interp);
    if (ts == NULL) {
        isles_interp_close_park(interp);
        return;
    }
    struct isles_pass pass;
    pass_push(&pass, interp, thread, PyThreadState_GetUnchecked(), ts);
    finish_close(&pass);
}

/* Runs in the interpreter, as soon as that runs. */
static int
settle_pending(void *Py_UNUSED(arg))
{
    int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
    struct isles_interp *interp = isles_registry_find(id);
    if (interp != NULL) {
        settle_returned(interp);
        isles_interp_unref(interp);
    }
    return 0;
}

void
isles__gate_settle(struct isles_interp *interp)
{
    struct isles_thread *thread = current_thread();
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
        reclaim(interp, thread);
    }
    if (anywhere) {
        PyErr_SetRaisedException(error);
    }
}
