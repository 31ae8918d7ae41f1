/* The gate: the one way into another interpreter.
 *
 * A pass is one stay of one OS thread in one interpreter.  Passes nest like calls and live on the
 * C stack.  With a pass the thread runs in the other interpreter and holds its GIL; the one it
 * came from is suspended, its GIL free.  docs/design/gate.md tells why it is made this way.
 *
 * Rules: no lock of core/ is held across isles__gate_enter or isles__gate_leave; objects made
 * before belong to the interpreter left behind and may not be touched inside. */
#ifndef ISLES_BINDING_GATE_H
#define ISLES_BINDING_GATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../core/message.h"
#include "../core/registry_interps.h"
#include "../core/registry_seats.h"
#include "../core/registry_threads.h"

struct isles_pass {
    struct isles_interp *interp; /* where it leads; borrowed */
    struct isles_thread *thread;
    PyThreadState *from;      /* suspended meanwhile */
    PyThreadState *ts;        /* the one inside; `from` if the interpreter is the calling one */
    struct isles_pass *below; /* the pass in which this one began */
    int generation;           /* of forks */
    bool begun;               /* took the interpreter from IDLE; otherwise it nests or stays */
    bool open;                /* code of the user's runs, which may be interrupted: interrupts.h */
    bool struck;              /* it was, for the sake of a pass below */
};

/* Enters.  0, or a status (core/status.h) with the caller where it was: NOT_FOUND, BUSY,
 * UNRECOGNIZED, TOO_DEEP, EXITING, FORKED, NO_MEMORY.  May block for the other GIL. */
int isles__gate_enter(struct isles_pass *pass, struct isles_interp *interp);

/* Leaves.  No exception may be set inside.  May block for the GIL of where it came from. */
void isles__gate_leave(struct isles_pass *pass);

/* Makes an interpreter; an `owned` one ends with its last holder.  `setting` is a tuple: sys.path,
 * and the rules for extension modules (loader.h), or None for CPython's own.
 * 0 with a reference in *out, or a status; *why is a text of CPython's, or NULL. */
int isles__gate_create(bool isolated, bool owned, const struct isles_message *setting,
                       struct isles_interp **out, const char **why);

/* What stock.c needs.  On any thread, also in no interpreter.
 *
 * create_hidden: an isolated one that is shown to nobody; shelve: so that nobody can enter; then
 * unshelve gives it out, as isles__gate_create does; close_shelved ends one that was closed.
 * 0 or a status; NOT_FOUND: somebody else took it. */
int isles__gate_create_hidden(const struct isles_message *setting, struct isles_interp **out,
                              const char **why);
int isles__gate_shelve(struct isles_interp *interp);
int isles__gate_unshelve(struct isles_interp *interp, bool owned);
void isles__gate_close_shelved(struct isles_interp *interp);

/* At exit: what is shelved is idle again, for isles__gate_close. */
void isles__gate_take_back(struct isles_interp *interp);

/* Ends an interpreter: waits for its non-daemon threads, runs its atexit callbacks, frees all
 * kept thread states.  Extension modules' own threads get half a second to leave.  With a stock,
 * its thread does that, if nothing speaks against it.  0 or a status:
 * IS_CURRENT, IS_MAIN, UNRECOGNIZED, BUSY, NOT_FOUND, THREADS_ALIVE, FORKED. */
int isles__gate_close(struct isles_interp *interp);

/* Has an interpreter release the memory that it lent and that came back: now if it can be entered,
 * else as soon as it runs, is entered or left.  Ends one that was closed and waited for this. */
void isles__gate_settle(struct isles_interp *interp);

/* Enters on a thread that has no thread state, an extension module's own, with a new one that the
 * caller frees (PyGILState_Release).  While it is not sure whether the interpreter ends, this
 * waits. One that has ended is never entered: then this does not return, as with a finalized
 * CPython. */
void isles__gate_visit(struct isles_interp *interp);

/* Interpreter objects that keep it alive, from outside of it.  Dropping the last one of an owned
 * interpreter ends it, at once or when the one inside leaves. */
void isles__gate_hold(struct isles_interp *interp);
void isles__gate_drop(struct isles_interp *interp);

/* The same for as long as a message lives that names it.  0 with the index of what is attached, or
 * ISLES_NO_MEMORY. */
int isles__gate_attach(struct isles_interp *interp, struct isles_message *message, uint32_t *index);

#endif
