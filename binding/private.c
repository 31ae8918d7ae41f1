#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE_MODULE 1
#include <Python.h>

#include <internal/pycore_ceval.h>
#include <internal/pycore_dict.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_pystate.h>
#include <internal/pycore_runtime.h>
#include <sched.h>

#include "../core/status.h"
#include "private.h"

/* CPython's HEAD_LOCK.  PyMutex_Lock would give up the GIL to wait and then take it back while it
 * holds the mutex, where every other user holds the GIL first: a deadlock.  The function that
 * waits without is not exported on 3.13.  So: spin; whoever holds it does so for a list's walk. */
static void
head_lock(void)
{
    PyMutex *mutex = &_PyRuntime.interpreters.mutex;
    for (;;) {
        uint8_t bits = _Py_atomic_load_uint8(&mutex->_bits);
        if (!(bits & 1) && _Py_atomic_compare_exchange_uint8(&mutex->_bits, &bits, bits | 1)) {
            return;
        }
        sched_yield();
    }
}

static void
head_unlock(void)
{
    PyMutex_Unlock(&_PyRuntime.interpreters.mutex);
}

bool
isles__private_check(void)
{
    head_lock();
    PyInterpreterState *head = _PyRuntime.interpreters.head;
    bool same = head != NULL && _PyRuntime.interpreters.main == PyInterpreterState_Main()
                && head == PyInterpreterState_Head() && head->next == PyInterpreterState_Next(head)
                && head->threads.head == PyInterpreterState_ThreadHead(head);
    head_unlock();
    return same;
}

int
isles__private_ids(int64_t **ids, size_t *count)
{
    size_t size = 0;
    int64_t *list = NULL;
    for (;;) {
        size_t n = 0;
        head_lock();
        for (PyInterpreterState *p = _PyRuntime.interpreters.head; p != NULL; p = p->next) {
            if (n < size) {
                list[n] = PyInterpreterState_GetID(p);
            }
            n++;
        }
        head_unlock();
        if (n <= size) {
            *count = n;
            break;
        }
        free(list);
        size = n + 8;
        list = malloc(size * sizeof(*list));
        if (list == NULL) {
            return ISLES_NO_MEMORY;
        }
    }
    for (size_t i = 0; i < *count / 2; i++) { /* the runtime lists the newest first */
        int64_t id = list[i];
        list[i] = list[*count - 1 - i];
        list[*count - 1 - i] = id;
    }
    *ids = list;
    return ISLES_OK;
}

/* Under the lock. */
static PyInterpreterState *
find(int64_t id)
{
    PyInterpreterState *p = _PyRuntime.interpreters.head;
    while (p != NULL && PyInterpreterState_GetID(p) != id) {
        p = p->next;
    }
    return p;
}

long
isles__private_whence(int64_t id)
{
    head_lock();
    PyInterpreterState *interp = find(id);
    long whence = interp == NULL ? -1 : _PyInterpreterState_GetWhence(interp);
    head_unlock();
    return whence;
}

int64_t
isles__private_memory(int64_t id)
{
    int64_t memory = -1;
    head_lock(); /* an interpreter leaves the list before its allocator's state is freed */
    PyInterpreterState *p = find(id);
    if (p != NULL
        && (p == _PyRuntime.interpreters.main
            || p->obmalloc != _PyRuntime.interpreters.main->obmalloc)) {
        /* Another thread may write it: an old number will do. */
        memory = (int64_t)__atomic_load_n(&p->obmalloc->mgmt.narenas_currently_allocated,
                                          __ATOMIC_RELAXED)
                 * ARENA_SIZE;
    }
    head_unlock();
    return memory;
}

bool
isles__private_is_running(int64_t id)
{
    head_lock();
    PyInterpreterState *interp = find(id);
    bool running = interp != NULL && _PyInterpreterState_IsRunningMain(interp);
    head_unlock();
    return running;
}

bool
isles__private_run_main(void *interp)
{
    bool alone = _PyInterpreterState_SetRunningMain(interp) == 0;
    if (!alone) {
        PyErr_Clear();
    }
    return alone;
}

void
isles__private_leave_main(void *interp)
{
    _PyInterpreterState_SetNotRunningMain(interp);
}

int
isles__private_threads(void *interp, struct isles_thread_state **threads, size_t *count)
{
    size_t size = 0;
    struct isles_thread_state *list = NULL;
    for (;;) {
        size_t n = 0;
        head_lock();
        PyThreadState *p = ((PyInterpreterState *)interp)->threads.head;
        for (; p != NULL; p = p->next) {
            if (n < size) {
                bool outside = p->_whence == _PyThreadState_WHENCE_UNKNOWN;
                list[n] = (struct isles_thread_state){p, p->thread_id, outside};
            }
            n++;
        }
        head_unlock();
        if (n <= size) {
            *threads = list;
            *count = n;
            return ISLES_OK;
        }
        free(list);
        size = n + 4;
        list = malloc(size * sizeof(*list));
        if (list == NULL) {
            return ISLES_NO_MEMORY;
        }
    }
}

bool
isles__private_signal_waits(void)
{
    return _Py_atomic_load_int_relaxed(&_PyRuntime.signals.is_tripped) != 0;
}

int
isles__private_pending_call(void *interp, int (*func)(void *), void *arg)
{
    return _PyEval_AddPendingCall(interp, func, arg, 0) == _Py_ADD_PENDING_SUCCESS ? 0 : -1;
}

void
isles__private_forsake_thread(unsigned long ident)
{
#if PY_VERSION_HEX >= 0x030F0000
    head_lock();
    PyThreadState *p = _PyRuntime.interpreters.main->threads.head;
    for (; p != NULL; p = p->next) {
        if (p->thread_id == ident && p->_whence == _PyThreadState_WHENCE_THREADING) {
            p->_whence = _PyThreadState_WHENCE_THREADING_DAEMON;
        }
    }
    head_unlock();
#else
    (void)ident;
#endif
}

void
isles__private_unlink(void *interp)
{
    head_lock();
    PyInterpreterState **link = &_PyRuntime.interpreters.head;
    while (*link != NULL && *link != interp) {
        link = &(*link)->next;
    }
    if (*link != NULL) {
        *link = (*link)->next;
    }
    head_unlock();
}

/* No lock: the thread that held it may not exist in the child. */
void
isles__private_unlink_others(void)
{
    PyInterpreterState *main_interp = _PyRuntime.interpreters.main;
    main_interp->next = NULL;
    _PyRuntime.interpreters.head = main_interp;
}

PyObject *
isles__private_dict(PyObject *const *keys, PyObject *const *values, Py_ssize_t count)
{
    return _PyDict_FromItems(keys, 1, values, 1, count);
}
