/* A queue of parcels, bounded or not, with any number of readers and writers.
 * docs/design/queues.md tells why it is made this way.
 *
 * Nobody is woken to look whether there is something for him.  Who comes with a parcel gives it
 * to the reader who has waited longest; who takes one lets the writer who has waited longest put
 * his.  Under the queue's lock:
 *
 *  1. A reader waits only while the queue holds nothing and is open.
 *  2. A writer waits only while the queue is full and open.
 *  3. A waiter is on a list exactly as long as nothing was decided about him.  Whoever takes him
 *     off decides (here is your parcel; yours are all put; shut down) and then, without the lock,
 *     says `done`; until then the waiter stays, so it may be touched.  A waiter who wants to leave,
 *     because of the time or a signal, takes himself off, or finds that it is decided.
 *
 * A waiter is either a thread, asleep, or *pending*: then nobody sleeps, and instead of waking
 * somebody a note is posted to a notifier (notifier.h), which is how an event loop waits.  Both are
 * on the same lists and are served in the same order.
 *
 * So no wake-up is lost: there is none without its outcome, and a waiter who leaves had been
 * given nothing.  From 1 to 3 also follows that items keep their order, whoever waits.
 *
 * A *watch* is a waiter on several queues who takes nothing: it stays on the lists until it takes
 * itself off, and is woken whenever a parcel is added, and when the queue is shut down.
 *
 * Locks: that of the list of all queues, then a queue's.  Both are held for short walks that
 * neither block nor free parcels: what a parcel names may need a GIL to go. */
#ifndef ISLES_QUEUE_H
#define ISLES_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "notifier.h"
#include "os.h"

/* What becomes of an item when the interpreter that put it ends (isles_parcel.unbound).  The
 * numbers are the standard library's. */
enum isles_unbound {
    ISLES_UNBOUND_REMOVE = 1,  /* it goes */
    ISLES_UNBOUND_ERROR = 2,   /* getting it is an error */
    ISLES_UNBOUND_REPLACE = 3, /* a marker is got in its place */
};

/* The sender of a parcel whose interpreter has ended; it is empty then. */
#define ISLES_SENDER_ENDED INT64_C(-1)

struct isles_link {
    struct isles_link *next, *prev;
};

struct isles_queue {
    struct isles_shared shared;
    int64_t id;              /* from 1, never used twice */
    int64_t maxsize;         /* how many items it holds; 0 or less: no limit */
    int unbound;             /* for items that don't say */
    struct isles_link place; /* in the list of all, under its lock */

    isles_mutex lock; /* of all below */
    struct isles_parcel *first, *last;
    size_t count;
    bool shut_down;
    bool emptied; /* shut down at once: it never holds anything again */
    struct isles_link readers, writers, watches; /* who waits, longest first */
};

/* A place in a queue's list of watches. */
struct isles_watch {
    struct isles_link link;
    struct isles_queue *queue; /* set by the caller, who has a reference */
    atomic_uint *word;
    bool ready; /* whether there was something to get, or it was shut down */
};

/* A queue with one reference (isles_shared_ref, _unref), or NULL without memory.  The last one
 * frees what it holds: in an interpreter, with its GIL. */
struct isles_queue *isles_queue_new(int64_t maxsize, int unbound);

/* A new reference, or NULL. */
struct isles_queue *isles_queue_find(int64_t id);

/* The next younger queue, or the oldest one after NULL: a new reference, or NULL at the end.  Takes
 * over the one to `queue`. */
struct isles_queue *isles_queue_next(struct isles_queue *queue);

/* A put's deadline: at once, and there is room for all even if the queue is full. */
#define ISLES_FULL_OR_NOT INT64_C(-1)

/* Puts a chain of parcels in order, waiting for room until the deadline; *parcels is what is left
 * of it.  0, or ISLES_TIMED_OUT, ISLES_SHUT_DOWN, ISLES_INTERRUPTED, ISLES_EXITING.
 * A parcel that is put may be freed at once. */
int isles_queue_put(struct isles_queue *queue, struct isles_parcel **parcels, int64_t deadline);

/* Takes a chain of up to `max` parcels, at least one, waiting for it until the deadline.  Who has
 * to wait gets one.  0 or a status as above, and then NULL in *parcels. */
int isles_queue_get(struct isles_queue *queue, size_t max, struct isles_parcel **parcels,
                    int64_t deadline);

/* A put or get that waits without a thread.  Counted: one reference is its owner's, one is that of
 * the list it is on, and then of its note. */
struct isles_pending;

/* As put and get, but what would have to wait becomes a pending one, in *out, and its note, with
 * this tag, is posted to the notifier as soon as it is decided.  *out is NULL if it need not wait.
 * 0, or a status as above (never ISLES_TIMED_OUT), or ISLES_NO_MEMORY.  Never blocks. */
int isles_queue_put_pending(struct isles_queue *queue, struct isles_parcel **parcels,
                            struct isles_notifier *notifier, void *tag, struct isles_pending **out);
int isles_queue_get_pending(struct isles_queue *queue, struct isles_parcel **parcels,
                            struct isles_notifier *notifier, void *tag, struct isles_pending **out);

/* Ends it, decided or not, and drops its owner's reference; who calls has one to its queue.  Gives
 * the status, ISLES_TIMED_OUT if nothing had been decided: then it has been given nothing; and in
 * *parcels what a reader got, or what of a writer's was not put.  Its note, if there is one, comes
 * with the tag NULL.  Who calls it takes that notifier's notes, or holds the lock of who does. */
int isles_pending_end(struct isles_pending *pending, struct isles_queue *queue,
                      struct isles_parcel **parcels);

/* The status of one whose note was taken. */
int isles_pending_status(const struct isles_note *note);

/* Puts a chain back that was taken, in front of all others.  With a GIL: frees it instead if the
 * queue was emptied for good meanwhile. */
void isles_queue_put_back(struct isles_queue *queue, struct isles_parcel *parcels);

/* From now on nothing can be put, and readers get only what is left; `immediate` leaves nothing.
 * Wakes everybody.  In an interpreter, with its GIL. */
void isles_queue_shut_down(struct isles_queue *queue, bool immediate);

size_t isles_queue_count(struct isles_queue *queue);
bool isles_queue_is_full(struct isles_queue *queue);

/* Waits until at least one queue is ready and says in each watch whether its own is.
 * 0, or ISLES_TIMED_OUT, ISLES_INTERRUPTED, ISLES_EXITING. */
int isles_queues_wait(struct isles_watch *watches, size_t count, int64_t deadline);

/* An interpreter ends, or has: its items in all queues become what they are to be.  With a GIL. */
void isles_queues_sweep(int64_t sender);

/* After isles_registry_exit_begin(): whoever waits, and whoever would, gets ISLES_EXITING. */
void isles_queues_exit(void);

void isles_parcels_free(struct isles_parcel *parcels);

#endif
