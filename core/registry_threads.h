/* The OS threads that entered an interpreter: where each is, how it waits, and who wakes it. */
#ifndef ISLES_REGISTRY_THREADS_H
#define ISLES_REGISTRY_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct isles_interp;
struct isles_message;
struct isles_notifier;
struct isles_seat;

/* Interpreters nested on one thread: each level may use as much C stack as Python's own limit
 * allows, so the sum needs a limit too. */
#define ISLES_DEPTH_MAX 200

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

/* Wakes the thread inside if it is in isles_thread_wait(), or will be, and its event loops.  The id
 * of the interpreter that it is in by now, further on its way perhaps, or -1 if nobody is inside.
 */
int64_t isles_interp_ring(struct isles_interp *interp);

#endif
