/* An interpreter that the registry knows: its states, who is inside, and the stays that are to be
 * interrupted.  docs/design/lifetime.md draws the states.
 *
 * An interpreter is in one of seven states, all in one atomic word, `runner`:
 *
 *     IDLE     NULL         nobody is inside
 *     RUNNING  a thread     that OS thread entered it through the gate
 *     SETTLING a sentinel   a thread that has no business there takes back memory that it lent;
 *                           whoever wants in waits for that moment to be over
 *     ENDING   a sentinel   somebody closes it; nobody else may enter
 *     PARKED   a sentinel   ended for everybody, but others still use memory that it lent
 *     SHELVED  a sentinel   in the stock: not yet given to anybody, or closed and to be ended soon
 *     ENDED    a sentinel   gone; the struct stays until the last reference
 *
 * IDLE -> RUNNING -> IDLE    by the entering thread: isles_interp_begin, isles_interp_finish
 * IDLE -> SETTLING -> IDLE   by who returned the memory: isles_interp_settle_begin, _finish
 * IDLE -> ENDING             by the closing thread: isles_interp_close_begin
 * ENDING -> IDLE             by the same, if the interpreter can't end: isles_interp_close_cancel
 * ENDING -> ENDED            by the same: isles_interp_close_commit
 * ENDING -> PARKED           by the same: isles_interp_close_park
 * PARKED -> ENDING           by who returns the last of that memory: isles_interp_reclaim_begin
 * ENDING -> SHELVED          by the same: isles_interp_shelve
 * SHELVED -> ENDING          by who takes it from there: isles_interp_unshelve
 * any -> ENDED               in a forked child, and at exit for what can't be stopped
 *
 * Whoever moved it out of IDLE owns `state` and `local` until it moves it back.
 *
 * A *stay* is what lies between RUNNING and IDLE; an interpreter counts its own.  One can be
 * wanted: it is to be interrupted.  That is about this stay and no other: whoever is inside takes
 * the wish off, and when he has left without having met it, it is nobody's any more. */
#ifndef ISLES_REGISTRY_INTERPS_H
#define ISLES_REGISTRY_INTERPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct isles_block;
struct isles_parcel;
struct isles_seat;
struct isles_thread;

enum isles_hidden { ISLES_SHOWN, ISLES_UNUSED, ISLES_CLOSED };

struct isles_interp {
    int64_t id;
    bool ours;    /* made by isles; otherwise main or somebody else's that loaded isles */
    bool own_gil; /* has a GIL of its own; set before others see it */
    bool forked;  /* stayed behind in the parent process */
    bool owned;   /* ends when the last holder goes; set once, before others see it */
    _Atomic(enum isles_hidden) hidden; /* the stock's: shown to nobody but itself */
    _Atomic(void *) state;             /* PyInterpreterState *; NULL once ended */
    void *local; /* what the binding keeps in it; touched under its GIL only */
    _Atomic(struct isles_thread *) runner;
    atomic_ulong
        runner_ident;         /* Python's ident of who is inside, or ends it; just after `runner` */
    _Atomic(uint64_t) stay;   /* the number of the last one; written by who enters, after `runner`
                                 and before `runner_ident` */
    _Atomic(uint64_t) wanted; /* the stay that is to be interrupted, or 0; set under the lock */
    struct isles_parcel *reason; /* what it is to raise, or NULL; registry lock */
    atomic_bool called;          /* a pending call of the binding's is on its way: interrupts.h */
    atomic_bool has_orphans;     /* a hint to look for seats of ended threads */
    atomic_int pins;             /* visitors who must be gone before the end */
    atomic_bool winding_down;    /* ENDING, but threads of extension modules still come and go */
    atomic_bool visited;         /* by such threads, ever */
    atomic_long refs;            /* of this struct */
    atomic_long holders;         /* Interpreter objects elsewhere; the last one ends an owned one */
    bool over;                   /* is being ended for good: it lends nothing more; under its GIL */
    atomic_long lent;            /* blocks that others use: block.h */
    _Atomic(struct isles_block *) returned; /* of those, the ones that nobody uses any more */
    struct isles_seat *seats;               /* registry lock */
    uint32_t slot;                     /* index into each thread's table; given back at the end */
    char *name;                        /* UTF-8, or NULL: none was given; registry lock */
    struct isles_interp *next;         /* registry lock */
    struct isles_interp *next_shelved; /* the stock's */
};

void isles_interp_ref(struct isles_interp *interp);
void isles_interp_unref(struct isles_interp *interp);

/* The state changes described above.  0 or ISLES_BUSY, ISLES_SETTLING (try again soon),
 * ISLES_NOT_FOUND, ISLES_FORKED, ISLES_EXITING. */
int isles_interp_begin(struct isles_interp *interp, struct isles_thread *thread);
int isles_interp_settle_begin(struct isles_interp *interp, struct isles_thread *thread);
void isles_interp_finish(struct isles_interp *interp);
int isles_interp_close_begin(struct isles_interp *interp, struct isles_thread *thread);
void isles_interp_close_cancel(struct isles_interp *interp);
void isles_interp_close_commit(struct isles_interp *interp);
void isles_interp_close_park(struct isles_interp *interp);
int isles_interp_reclaim_begin(struct isles_interp *interp);
void isles_interp_shelve(struct isles_interp *interp);
int isles_interp_unshelve(struct isles_interp *interp, const struct isles_thread *thread);

/* Gives it a name, which is copied.  Any thread.  0 or ISLES_NO_MEMORY. */
int isles_interp_set_name(struct isles_interp *interp, const char *name);

/* A copy of the name that was given, for the caller to free(), in *out, or NULL there: none was.
 * Also of one that has ended.  Any thread.  0 or ISLES_NO_MEMORY. */
int isles_interp_name(struct isles_interp *interp, char **out);

/* ENDED, whatever it was: the process leaves it behind. */
void isles_interp_abandon(struct isles_interp *interp);

/* Wants the stay interrupted that is going on, if its thread is the one of that ident (0: whoever
 * it is).  Whether there is one.  A stay that was wanted already keeps its first reason.  *reason
 * is then a chain of what the caller has to free. */
bool isles_interp_want(struct isles_interp *interp, unsigned long ident,
                       struct isles_parcel **reason);

/* Whether the stay that is going on is wanted.  By its thread, or as a hint. */
bool isles_interp_is_wanted(const struct isles_interp *interp);

/* Takes the wish off, if it is about that stay: its reason, for the caller, in *reason.  False if
 * there is none. */
bool isles_interp_unwant(struct isles_interp *interp, uint64_t stay, struct isles_parcel **reason);

/* Keeps it from ending without entering it.  0 or ISLES_NOT_FOUND. */
int isles_interp_pin(struct isles_interp *interp);
void isles_interp_unpin(struct isles_interp *interp);

/* The same for a thread of an extension module's, which may also come while the interpreter is
 * wound down: what ends the module may wait for the thread.  0; ISLES_BUSY: try again, it may go on
 * or be wound down; ISLES_NOT_FOUND: never again. */
int isles_interp_visit(struct isles_interp *interp);
void isles_interp_wind_down(struct isles_interp *interp, bool winding_down);

bool isles_interp_is_running(struct isles_interp *interp);
bool isles_interp_has_ended(struct isles_interp *interp);

/* Whether those in the interpreter `here` may see it: neither ended nor hidden. */
bool isles_interp_is_shown(struct isles_interp *interp, const struct isles_interp *here);

#endif
