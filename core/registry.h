/* The process-wide registry: which interpreters isles knows, who is inside, and which thread
 * states are kept for them.  docs/design/lifetime.md draws the states.
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
 * the wish off, and when he has left without having met it, it is nobody's any more.
 *
 * A *seat* is a thread state that is kept for one OS thread and one interpreter, so that entering
 * again costs no new one.  Seats belong to the interpreter's list; a thread's table only points at
 * them, and proves by the interpreter's id (never used twice) that the pointer still holds.
 *
 * Locks: one mutex, held for short critical sections that neither block nor call out. */
#ifndef ISLES_REGISTRY_H
#define ISLES_REGISTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "message.h"
#include "notifier.h"

/* Interpreters nested on one thread: each level may use as much C stack as Python's own limit
 * allows, so the sum needs a limit too. */
#define ISLES_DEPTH_MAX 200

struct isles_seat {
    void *ts;                    /* the kept thread state; the binding's to interpret */
    struct isles_thread *thread; /* for whom; not to be dereferenced: it may have ended */
    bool orphan;                 /* that thread has ended */
    struct isles_seat *next;
};

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

struct isles_thread_entry {
    int64_t id; /* 0: empty.  Main's id is 0 as well, but main never has a seat */
    struct isles_seat *seat;
};

/* What isles knows of an OS thread; made at its first entry, freed when it ends. */
struct isles_thread {
    unsigned long ident;           /* Python's ident, set by the binding */
    void *top;                     /* the gate's innermost pass */
    struct isles_message *writing; /* the message that an object is being put into, or NULL */
    bool is_main;           /* the thread that the process started with; set by the binding */
    _Atomic(int64_t) where; /* the interpreter that it is in, as far as the gate knows; 0: main */
    atomic_uint *parked;    /* what it waits for in isles_thread_wait(), or NULL; registry lock */
    bool rung;              /* it was to be woken, but did not wait; registry lock */
    struct isles_notifier *loops; /* of event loops that it runs; registry lock */
    int depth;                    /* passes on this thread */
    int holds;                    /* the binding's: interruptions wait while there are any */
    int making;                   /* how often it is in isles_registry_make_alone() */
    struct isles_seat *spare;     /* isles_seat_reserve()'s, or NULL */
    uint32_t entries_size;
    struct isles_thread_entry *entries; /* by slot; this thread's only */
};

/* Once for the process; later calls give the same result.  `forked` is called in each forked child,
 * after the registry has marked what stayed behind.  Any thread. */
int isles_registry_init(void (*forked)(void));

/* The calling thread's record, made at need; NULL without memory. */
struct isles_thread *isles_thread_self(void);

/* Sleeps while *word is 0, as isles_futex_wait() does, but isles_interp_ring() ends it too: with
 * ISLES_INTERRUPTED, which a ring that came before the wait gives as well.  The one who is waited
 * for stores something other than 0 and ISLES_RUNG, and wakes. */
#define ISLES_RUNG 2u
int isles_thread_wait(atomic_uint *word, int64_t deadline);

/* A notifier is that of an event loop that this thread runs: isles_interp_ring() rings it too, so
 * that a loop that waits for its descriptors comes back.  Until isles_loop_forget(), which is
 * called once, on any thread, before the reference of who called isles_thread_add_loop() is
 * dropped. */
void isles_thread_add_loop(struct isles_thread *thread, struct isles_notifier *notifier);
void isles_loop_forget(struct isles_notifier *notifier);

/* Registers an interpreter, or finds it registered; *out gets a reference.  One of ours starts as
 * ENDING, so that nobody enters before its maker has set it up and calls isles_interp_close_cancel.
 * 0, ISLES_NO_MEMORY or ISLES_EXITING. */
int isles_registry_add(int64_t id, void *state, bool ours, struct isles_interp **out);

/* A new reference to a registered interpreter, or NULL. */
struct isles_interp *isles_registry_find(int64_t id);

/* A new reference to the registered interpreter with the lowest id above `after`, or NULL. */
struct isles_interp *isles_registry_next(int64_t after);

/* Takes an interpreter out without ending it (its owner does). */
void isles_registry_forget(struct isles_interp *interp);

/* Counts the forks that this process is the child of; what was begun before one must not go on. */
int isles_registry_generation(void);

/* From now on nothing is entered or registered but by the exiting thread; for good. */
void isles_registry_exit_begin(void);

/* Whether the process is exiting, and this is not the thread that sees to it. */
bool isles_registry_exiting(void);

/* Brackets the making of an interpreter, which exists before it can be registered.  False if the
 * process is exiting: then nothing is to be made, nor ended. */
bool isles_registry_create_begin(void);
void isles_registry_create_end(void);

/* One thread at a time between these two; the same one may come again.  Never with a GIL held. */
void isles_registry_make_alone(struct isles_thread *thread);
void isles_registry_made(struct isles_thread *thread);

/* How many are being made.  If none is, every interpreter that exists and that isles made is
 * registered, so: find that it exists, ask this, and then look it up. */
int isles_registry_creating(void);

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

/* How many stays are wanted, in all interpreters; and one of those interpreters, the one with the
 * lowest id above `after`: a new reference, or NULL. */
int isles_registry_wanted(void);
struct isles_interp *isles_registry_next_wanted(int64_t after);

/* Wakes the thread inside if it is in isles_thread_wait(), or will be, and its event loops.  The id
 * of the interpreter that it is in by now, further on its way perhaps, or -1 if nobody is inside.
 */
int64_t isles_interp_ring(struct isles_interp *interp);

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

/* The kept thread state, or NULL. */
void *isles_seat_find(const struct isles_thread *thread, const struct isles_interp *interp);

/* Has memory ready, so that the next isles_seat_add() with these succeeds.  0 or ISLES_NO_MEMORY.
 */
int isles_seat_reserve(struct isles_thread *thread, const struct isles_interp *interp);

/* Keeps `ts` for the thread.  0 or ISLES_NO_MEMORY. */
int isles_seat_add(struct isles_thread *thread, struct isles_interp *interp, void *ts);

/* Takes the seats of ended threads, or all, off the list; the caller frees each with free(). */
struct isles_seat *isles_seats_take_orphans(struct isles_interp *interp);
struct isles_seat *isles_seats_take_all(struct isles_interp *interp);

/* Takes this thread's seat off the list and frees it; the thread state stays. */
void isles_seat_drop(struct isles_thread *thread, struct isles_interp *interp);

/* Whether `ts` is a kept one. */
bool isles_seat_is_kept(struct isles_interp *interp, const void *ts);

#endif
