/* The one place that uses what CPython doesn't promise.
 *
 * Checked on 3.13.0, 3.13.15, 3.14.8 and 3.15.0.  What is used, and why nothing public serves:
 *
 *  - _PyRuntime.interpreters (mutex, head, main; PyInterpreterState.next): the public
 *    PyInterpreterState_Head/_Next take no lock, and race with whoever creates or ends one.
 *    isles__private_check() compares the layout with what the public functions say, so that a
 *    CPython with another one is refused instead of misread.
 *  - PyInterpreterState.threads.head: as above, for PyInterpreterState_ThreadHead.
 *  - _PyRuntime.signals.is_tripped: PyErr_CheckSignals() sees it only in main, on the main thread.
 *  - _PyEval_AddPendingCall: Py_AddPendingCall() reaches the main interpreter only.
 *  - PyInterpreterState.obmalloc: what an interpreter's objects take, which nothing else tells.
 *  - PyThreadState._whence on 3.15, see isles__private_forsake_thread().
 *  - _PyInterpreterState_GetWhence: who made an interpreter that isles did not.
 *  - _PyDict_FromItems: isles__private_dict().
 *  - _PyInterpreterState_SetRunningMain, _SetNotRunningMain and _IsRunningMain: who runs __main__.
 *
 * Private Python-level names are used in isles/_exit.py, _crew.py and _listener.py (threading's
 * _register_atexit, and in the first _thread_shutdown), _future.py, _clock.py and
 * _worker.py (what concurrent.futures._base has of a future), aio.py and _output.py (a lock's
 * _at_fork_reinit), gate_close.c (threading._shutdown, atexit._run_exitfuncs: what
 * Py_EndInterpreter itself calls; before 3.14 threading._DeleteDummyThreadOnDel), lines.c (a file's
 * _checkClosed), loader.c
 * (_imp.create_dynamic, _imp.create_builtin), loader_adapt.c (_ctypes.dlopen) and hooks.c
 * (_imp._override_multi_interp_extensions_check). */
#ifndef ISLES_BINDING_PRIVATE_H
#define ISLES_BINDING_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True if the layout is the one that this was compiled for.  Any thread state. */
bool isles__private_check(void);

/* The ids of all interpreters, oldest first, in memory of malloc.  0 or ISLES_NO_MEMORY. */
int isles__private_ids(int64_t **ids, size_t *count);

/* CPython's `whence` of an interpreter, or -1 if there is none of that id. */
long isles__private_whence(int64_t id);

/* Bytes in the arenas of an interpreter that has an allocator of its own, for objects of up to 512
 * bytes; -1 if there is none of that id, or it uses main's. */
int64_t isles__private_memory(int64_t id);

/* Whether an interpreter that isles did not make runs its __main__; false if there is none. */
bool isles__private_is_running(int64_t id);

/* Notes that this thread runs the __main__ of the interpreter that it is in, until leave_main():
 * dir(), globals() and the like, called there without a frame, are about that module (since 3.14),
 * and the standard library sees that it is running.  False if somebody else runs it. */
bool isles__private_run_main(void *interp);
void isles__private_leave_main(void *interp);

struct isles_thread_state {
    void *ts; /* PyThreadState *, to compare: its thread may free it at any time */
    unsigned long ident;
    bool outside; /* of a thread that neither threading nor _thread started */
};

/* All thread states of an interpreter that can't end meanwhile, in memory of malloc.
 * 0 or ISLES_NO_MEMORY.  Any thread. */
int isles__private_threads(void *interp, struct isles_thread_state **threads, size_t *count);

/* Whether a signal with a Python handler waits to be handled.  Any thread, no GIL. */
bool isles__private_signal_waits(void);

/* Has a thread of the interpreter (PyInterpreterState *) call func(arg) between two bytecodes; it
 * returns -1 with an exception set, or 0.  Any thread, no GIL.  0, or -1 if too many wait already.
 */
int isles__private_pending_call(void *interp, int (*func)(void *), void *arg);

/* Lets main's finalization not wait for a thread that will never come back.  Since 3.15 it counts
 * the thread states of non-daemon threads; before, threading's list is all (isles/_exit.py). */
void isles__private_forsake_thread(unsigned long ident);

/* Leaves main alone on the list.  In a forked child, before CPython deletes the others: it does so
 * without a thread state of theirs, and crashes (seen with the standard library's as well). */
void isles__private_unlink_others(void);

/* Takes an interpreter off the runtime's list, so that finalization neither ends it nor complains:
 * for the last moments of a process, when something in it can't be stopped. */
void isles__private_unlink(void *interp);

/* A dict that has its full size from the start; there is no public way to make one. */
PyObject *isles__private_dict(PyObject *const *keys, PyObject *const *values, Py_ssize_t count);

#endif
