#include "../core/registry.h"
#include "../core/status.h"
#include "codec.h"
#include "gate_parts.h"
#include "lines.h"
#include "loader.h"

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
    PyThreadState *mine = isles__gil_let_go();
    isles_registry_make_alone(thread);
    isles__gil_take_back(mine);
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
    struct isles_thread *thread = isles__gate_thread();
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
    isles__gate_go_back(thread, *out, from);
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
    PyThreadState *mine = isles__gil_let_go();
    while (atomic_load(&creation->over) == 0) {
        (void)isles_futex_wait(&creation->over, 0, ISLES_NEVER);
    }
    isles__gil_take_back(mine);
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
    struct isles_thread *thread = isles__gate_thread();
    int status =
        thread ? isles__gate_leave_idle(isles_interp_close_begin, interp, thread) : ISLES_NO_MEMORY;
    if (status == 0) {
        isles_interp_shelve(interp);
    }
    return status;
}

int
isles__gate_unshelve(struct isles_interp *interp, bool owned)
{
    struct isles_thread *thread = isles__gate_thread();
    int status = thread ? isles_interp_unshelve(interp, thread) : ISLES_NO_MEMORY;
    if (status == 0) {
        give_out(interp, owned, ISLES_SHOWN);
        isles_interp_close_cancel(interp);
        isles__gate_settle_late(interp);
    }
    return status;
}
