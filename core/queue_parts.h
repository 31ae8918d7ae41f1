/* What the files of the queues share; only tests include it as well.
 *
 * queue.c puts and gets, and lets threads wait; queue_pending.c waits without a thread;
 * queue_watch.c waits for several queues; queue_all.c is the list of them, from the first to the
 * last; queue_sweep.c deals with the items of an interpreter that ends; queue_valid.c is for
 * assertions. */
#ifndef ISLES_QUEUE_PARTS_H
#define ISLES_QUEUE_PARTS_H

#include <assert.h>

#include "queue.h"
#include "status.h"

/* On the stack of who waits, or in what is pending. */
struct isles_waiter {
    struct isles_link link;
    struct isles_parcel *parcels; /* a writer's: what is still to be put; a reader's: what it got */
    int status;
    bool listed;                   /* queue's lock */
    struct isles_waiter *then;     /* whoever took it off chains it */
    struct isles_pending *pending; /* nobody sleeps on `done`; or NULL */
    atomic_uint done;
};

struct isles_pending {
    struct isles_waiter waiter;
    struct isles_note note;
    struct isles_notifier *notifier; /* a reference */
    atomic_int refs;
};

/* ---- lists; under the lock of what they are in ---- */

static inline void
isles__list_init(struct isles_link *list)
{
    list->next = list->prev = list;
}

static inline bool
isles__list_is_empty(const struct isles_link *list)
{
    return list->next == list;
}

static inline void
isles__list_append(struct isles_link *list, struct isles_link *link)
{
    link->next = list;
    link->prev = list->prev;
    list->prev->next = link;
    list->prev = link;
}

static inline void
isles__list_remove(struct isles_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

/* ---- queue_valid.c ---- */

/* Whether the queue is as queue.h says; under its lock.  Of a long one only the ends are looked
 * at. */
bool isles__queue_is_valid(const struct isles_queue *queue);

static inline void
isles__queue_lock(struct isles_queue *queue)
{
    isles_mutex_lock(&queue->lock);
    assert(isles__queue_is_valid(queue));
}

static inline void
isles__queue_unlock(struct isles_queue *queue)
{
    assert(isles__queue_is_valid(queue));
    isles_mutex_unlock(&queue->lock);
}

/* ---- queue.c ---- */

bool isles__queue_has_room(const struct isles_queue *queue);

/* Puts what there is room for, or all, and has the waiter, if there is one, wait with the rest.
 * Whether he does in *waits. */
int isles__queue_begin_put(struct isles_queue *queue, struct isles_parcel **parcels, bool all,
                           struct isles_waiter *waiter, bool *waits);

/* The same with what there is to get. */
int isles__queue_begin_get(struct isles_queue *queue, size_t max, struct isles_parcel **parcels,
                           struct isles_waiter *waiter, bool *waits);

/* Whether the waiter could leave with nothing decided. */
bool isles__waiter_leave(struct isles_queue *queue, struct isles_waiter *waiter);

/* Wakes whom the next two have decided about, without the lock: each is gone as soon as it is
 * done. */
void isles__waiters_tell(struct isles_waiter *settled);

/* Under the lock: everybody gets this status, and is woken. */
void isles__queue_settle_all(struct isles_queue *queue, int status, struct isles_waiter **settled);

/* Under the lock: lets waiting writers fill the room that was made. */
void isles__queue_refill(struct isles_queue *queue, struct isles_waiter **settled);

/* ---- queue_sweep.c ---- */

#define ISLES_ALL_BUT_MAIN 0 /* in place of a sender: main's own items are never unbound */
#define ISLES_SWEEP_BATCH 16

/* Makes the sender's items what they are to be; chains those that go.  What the others hold goes
 * to `stale`, if there is one, and it ends early when that is full: gives how many it used.  Under
 * the lock. */
size_t isles__queue_unbind(struct isles_queue *queue, int64_t sender, struct isles_message *stale,
                           struct isles_parcel **removed);

#endif
