#include "interrupts.h"

#include "../core/queue.h"
#include "../core/registry.h"
#include "codec.h"
#include "gate.h"
#include "private.h"
#include "signals.h"

/* ---- on the thread that is interrupted ---- */

/* The innermost pass of this thread whose stay is wanted, or NULL. */
static struct isles_pass *
wanted_pass(const struct isles_thread *thread)
{
    struct isles_pass *pass = thread->top;
    while (pass != NULL && !(pass->begun && pass->open && isles_interp_is_wanted(pass->interp))) {
        pass = pass->below;
    }
    return pass;
}

/* Sets what the reason says: an instance, a class, or, without one, KeyboardInterrupt. */
static void
set_exception(struct isles_interp *interp, const struct isles_parcel *reason)
{
    struct isles_local *local = reason ? isles__local(interp) : NULL;
    PyObject *exception = local ? isles__decode(local, &reason->contents) : NULL;
    if (exception != NULL && PyExceptionClass_Check(exception)) {
        PyErr_SetNone(exception);
    } else if (exception != NULL && PyExceptionInstance_Check(exception)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    } else {
        /* It can't be made here, or its pickle makes something else: the work is to stop. */
        PyErr_Clear();
        PyErr_SetNone(PyExc_KeyboardInterrupt);
    }
    Py_XDECREF(exception);
}

int
isles__interrupts_check(void)
{
    const struct isles_thread *thread = isles_registry_wanted() > 0 ? isles_thread_self() : NULL;
    struct isles_pass *top = thread ? thread->top : NULL;
    struct isles_pass *pass = top && top->open ? wanted_pass(thread) : NULL;
    if (pass == NULL) {
        return 0;
    }
    if (pass != top) {
        /* It is further out.  What is called from there ends first, and when it has,
         * isles__interrupts_due() is asked there. */
        if (top->struck) {
            return 0;
        }
        top->struck = true;
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return -1;
    }
    struct isles_interp *interp = pass->interp;
    struct isles_parcel *reason;
    if (!isles_interp_unwant(interp, atomic_load(&interp->stay), &reason)) {
        return 0;
    }
    set_exception(interp, reason);
    PyObject *error = PyErr_GetRaisedException();
    isles_parcels_free(reason);
    PyErr_SetRaisedException(error);
    return -1;
}

bool
isles__interrupts_due(void)
{
    const struct isles_thread *thread = isles_registry_wanted() > 0 ? isles_thread_self() : NULL;
    const struct isles_pass *top = thread ? thread->top : NULL;
    return top != NULL && top->begun && top->open && isles_interp_is_wanted(top->interp);
}

PyObject *
isles__import(const char *name)
{
    struct isles_thread *thread = isles_thread_self();
    if (thread == NULL) {
        return PyErr_NoMemory();
    }
    thread->holds++;
    PyObject *module = PyImport_ImportModule(name);
    thread->holds--;
    return module;
}

/* Whether importlib's own code runs.  Between taking one of its locks and the `with` that gives it
 * back, an exception leaves the lock taken, and with it any other thread that imports here hangs;
 * the next call comes from another thread. */
static bool
is_in_importlib(void)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    PyCodeObject *code = frame ? PyFrame_GetCode(frame) : NULL;
    static const char prefix[] = "<frozen importlib._bootstrap";
    const char *file = code ? PyUnicode_AsUTF8(code->co_filename) : NULL;
    bool found = file != NULL && strncmp(file, prefix, sizeof(prefix) - 1) == 0;
    if (code != NULL && file == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(code);
    Py_XDECREF(frame);
    return found;
}

/* The pending call: in any thread of the interpreter, whose reference it takes over.  One that is
 * not meant, or comes at a bad time, does nothing, and the watcher calls again. */
static int
called(void *arg)
{
    struct isles_interp *interp = arg;
    atomic_store(&interp->called, false);
    isles_interp_unref(interp);
    const struct isles_thread *thread = isles_thread_self();
    if ((thread != NULL && thread->holds > 0) || is_in_importlib()) {
        return 0;
    }
    return isles__signals_check();
}

/* ---- on any other ---- */

void
isles__interrupts_call(struct isles_interp *interp)
{
    /* It may be that whoever was inside has just left, and that somebody ends it. */
    if (atomic_exchange(&interp->called, true)) {
        return;
    }
    bool sent = false;
    if (isles_interp_pin(interp) == 0) {
        isles_interp_ref(interp);
        sent = isles__private_pending_call(interp->state, called, interp) == 0;
        if (!sent) {
            isles_interp_unref(interp);
        }
        isles_interp_unpin(interp);
    }
    if (!sent) {
        atomic_store(&interp->called, false);
    }
}

/* Where its thread is now, and wakes it. */
static void
strike(struct isles_interp *interp)
{
    int64_t id = isles_interp_ring(interp);
    struct isles_interp *where = id < 0 ? NULL : isles_registry_find(id);
    if (where != NULL) {
        isles__interrupts_call(where);
        isles_interp_unref(where);
    }
}

void
isles__interrupts_look(void)
{
    struct isles_interp *interp = NULL;
    int64_t after = -1;
    while (isles_registry_wanted() > 0 && (interp = isles_registry_next_wanted(after)) != NULL) {
        after = interp->id;
        strike(interp);
        isles_interp_unref(interp);
    }
}

/* The reason as a parcel: NULL for KeyboardInterrupt.  0, or -1 with an exception. */
static int
pack(struct isles_state *state, PyObject *exception, struct isles_parcel **reason)
{
    *reason = NULL;
    if (exception == PyExc_KeyboardInterrupt) {
        return 0;
    }
    if (!PyExceptionClass_Check(exception) && !PyExceptionInstance_Check(exception)) {
        PyErr_Format(PyExc_TypeError, "exc must be an exception, its class or an instance, not %R",
                     exception);
        return -1;
    }
    struct isles_message message;
    isles_message_init(&message);
    struct isles_local *local = isles__local(state->here);
    int result = local ? isles__encode(state, local, &message, exception, "exc") : -1;
    if (result == 0 && (*reason = isles_message_pack(&message)) == NULL) {
        PyErr_NoMemory();
        result = -1;
    }
    isles_message_fini(&message);
    return result;
}

int
isles__interrupt(struct isles_state *state, struct isles_interp *interp, PyObject *exception,
                 unsigned long ident)
{
    struct isles_parcel *reason;
    if (pack(state, exception, &reason) < 0) {
        return -1;
    }
    bool inside = isles_interp_want(interp, ident, &reason);
    isles_parcels_free(reason);
    if (inside) {
        strike(interp);
        isles__signals_rouse();
    }
    return inside;
}

void
isles__interrupts_drop(struct isles_interp *interp, uint64_t stay)
{
    struct isles_parcel *reason;
    if (isles_interp_unwant(interp, stay, &reason)) {
        PyObject *error = PyErr_GetRaisedException();
        isles_parcels_free(reason);
        PyErr_SetRaisedException(error);
    }
}
