#include "queue_parts.h"
#include "registry.h"
#include "registry_threads.h"

/* ---- waiting ---- */

static struct isles_waiter *
first_of(const struct isles_link *list)
{
    return isles__list_is_empty(list) ? NULL : (struct isles_waiter *)list->next;
}

/* Decides about a waiter and chains it for isles__waiters_tell(). */
static void
settle(struct isles_waiter *waiter, int status, struct isles_waiter **settled)
{
    isles__list_remove(&waiter->link);
    waiter->listed = false;
    waiter->status = status;
    waiter->then = *settled;
    *settled = waiter;
}

static void
settle_all(struct isles_link *list, int status, struct isles_waiter **settled)
{
    struct isles_waiter *waiter;
    while ((waiter = first_of(list)) != NULL) {
        settle(waiter, status, settled);
    }
}

/* settle() chains the last one first; they are woken as they came. */
static struct isles_waiter *
in_order(struct isles_waiter *settled)
{
    struct isles_waiter *first = NULL;
    while (settled != NULL) {
        struct isles_waiter *then = settled->then;
        settled->then = first;
        first = settled;
        settled = then;
    }
    return first;
}

void
isles__waiters_tell(struct isles_waiter *settled)
{
    settled = in_order(settled);
    while (settled != NULL) {
        struct isles_waiter *then = settled->then;
        atomic_uint *done = &settled->done;
        struct isles_pending *pending = settled->pending;
        if (pending != NULL) {
            isles_notifier_post(pending->notifier, &pending->note);
            settled = then;
            continue;
        }
        /* Release, for the acquire in park(): the outcome comes first. */
        atomic_store_explicit(done, 1, memory_order_release);
        isles_futex_wake(done);
        settled = then;
    }
}

/* Puts a waiter on the list, if the process doesn't exit.  Under the lock, as isles_queues_exit()
 * takes it: he finds us here, or we find that he has begun. */
static int
enlist(struct isles_link *list, struct isles_waiter *waiter, struct isles_parcel *parcels)
{
    if (isles_registry_exiting()) {
        return ISLES_EXITING;
    }
    waiter->parcels = parcels;
    waiter->listed = true;
    atomic_init(&waiter->done, 0);
    isles__list_append(list, &waiter->link);
    return ISLES_OK;
}

bool
isles__waiter_leave(struct isles_queue *queue, struct isles_waiter *waiter)
{
    isles__queue_lock(queue);
    bool listed = waiter->listed;
    if (listed) {
        isles__list_remove(&waiter->link);
        waiter->listed = false;
    }
    isles__queue_unlock(queue);
    return listed;
}

static int
park(struct isles_queue *queue, struct isles_waiter *waiter, int64_t deadline)
{
    while (atomic_load_explicit(&waiter->done, memory_order_acquire) == 0) {
        int status = isles_thread_wait(&waiter->done, deadline);
        if (status == 0) {
            continue;
        }
        if (isles__waiter_leave(queue, waiter)) {
            return status;
        }
        deadline = ISLES_NEVER; /* it is decided: `done` is on its way */
    }
    return waiter->status;
}

static void
wake_watches(struct isles_queue *queue)
{
    for (struct isles_link *link = queue->watches.next; link != &queue->watches;
         link = link->next) {
        atomic_uint *word = ((struct isles_watch *)link)->word;
        atomic_store_explicit(word, 1, memory_order_release);
        isles_futex_wake(word);
    }
}

void
isles__queue_settle_all(struct isles_queue *queue, int status, struct isles_waiter **settled)
{
    settle_all(&queue->readers, status, settled);
    settle_all(&queue->writers, status, settled);
    wake_watches(queue);
}

/* ---- put and get; all of these under the lock ---- */

bool
isles__queue_has_room(const struct isles_queue *queue)
{
    return queue->maxsize <= 0 || queue->count < (size_t)queue->maxsize;
}

static void
append(struct isles_queue *queue, struct isles_parcel *parcel)
{
    if (queue->first == NULL) {
        queue->first = parcel;
    } else {
        queue->last->next = parcel;
    }
    queue->last = parcel;
    queue->count++;
    wake_watches(queue);
}

/* Hands over as much of the chain as there is room for, or all of it. */
static int
put_some(struct isles_queue *queue, struct isles_parcel **parcels, bool all,
         struct isles_waiter **settled)
{
    while (*parcels != NULL && (all || isles__queue_has_room(queue))) {
        struct isles_parcel *parcel = *parcels;
        struct isles_waiter *reader = first_of(&queue->readers);
        *parcels = parcel->next;
        parcel->next = NULL;
        if (reader == NULL) {
            append(queue, parcel);
        } else {
            reader->parcels = parcel;
            settle(reader, ISLES_OK, settled);
        }
    }
    return *parcels == NULL ? ISLES_OK : ISLES_TIMED_OUT;
}

void
isles__queue_refill(struct isles_queue *queue, struct isles_waiter **settled)
{
    struct isles_waiter *writer;
    while ((writer = first_of(&queue->writers)) != NULL
           && put_some(queue, &writer->parcels, false, settled) == ISLES_OK) {
        settle(writer, ISLES_OK, settled);
    }
}

static struct isles_parcel *
take_some(struct isles_queue *queue, size_t max)
{
    struct isles_parcel *taken = queue->first, **end = &queue->first;
    for (; *end != NULL && max > 0; max--) {
        end = &(*end)->next;
        queue->count--;
    }
    struct isles_parcel *rest = *end;
    *end = NULL;
    queue->first = rest;
    return taken;
}

/* ---- what callers use ---- */

int
isles__queue_begin_put(struct isles_queue *queue, struct isles_parcel **parcels, bool all,
                       struct isles_waiter *waiter, bool *waits)
{
    struct isles_waiter *settled = NULL;
    isles__queue_lock(queue);
    int status = queue->shut_down ? ISLES_SHUT_DOWN : put_some(queue, parcels, all, &settled);
    *waits = false;
    if (status == ISLES_TIMED_OUT && waiter != NULL) {
        status = enlist(&queue->writers, waiter, *parcels);
        *waits = status == 0;
    }
    isles__queue_unlock(queue);
    isles__waiters_tell(settled);
    return status;
}

int
isles__queue_begin_get(struct isles_queue *queue, size_t max, struct isles_parcel **parcels,
                       struct isles_waiter *waiter, bool *waits)
{
    struct isles_waiter *settled = NULL;
    int status = ISLES_OK;
    *waits = false;
    isles__queue_lock(queue);
    *parcels = take_some(queue, max);
    if (*parcels != NULL) {
        isles__queue_refill(queue, &settled);
    } else if (queue->shut_down) {
        status = ISLES_SHUT_DOWN;
    } else if (waiter == NULL) {
        status = ISLES_TIMED_OUT;
    } else {
        status = enlist(&queue->readers, waiter, NULL);
        *waits = status == 0;
    }
    isles__queue_unlock(queue);
    isles__waiters_tell(settled);
    return status;
}

int
isles_queue_put(struct isles_queue *queue, struct isles_parcel **parcels, int64_t deadline)
{
    struct isles_waiter self = {.pending = NULL};
    bool waits;
    int status = isles__queue_begin_put(queue, parcels, deadline == ISLES_FULL_OR_NOT,
                                        deadline == ISLES_AT_ONCE ? NULL : &self, &waits);
    if (waits) {
        status = park(queue, &self, deadline);
        *parcels = self.parcels;
    }
    return status;
}

int
isles_queue_get(struct isles_queue *queue, size_t max, struct isles_parcel **parcels,
                int64_t deadline)
{
    struct isles_waiter self = {.pending = NULL};
    bool waits;
    int status = isles__queue_begin_get(queue, max, parcels,
                                        deadline == ISLES_AT_ONCE ? NULL : &self, &waits);
    if (waits) {
        status = park(queue, &self, deadline);
        *parcels = self.parcels;
    }
    return status;
}

/* ---- other ways to be served ---- */

void
isles_queue_put_back(struct isles_queue *queue, struct isles_parcel *parcels)
{
    struct isles_waiter *reader, *settled = NULL;
    struct isles_parcel *last = parcels;
    size_t count = 1;
    for (; last->next != NULL; last = last->next) {
        count++;
    }
    isles__queue_lock(queue);
    bool dropped = queue->emptied;
    if (!dropped) {
        last->next = queue->first;
        queue->last = queue->first ? queue->last : last;
        queue->first = parcels;
        queue->count += count;
        wake_watches(queue);
        while (queue->first != NULL && (reader = first_of(&queue->readers)) != NULL) {
            reader->parcels = take_some(queue, 1);
            settle(reader, ISLES_OK, &settled);
        }
    }
    isles__queue_unlock(queue);
    isles__waiters_tell(settled);
    if (dropped) {
        isles_parcels_free(parcels);
    }
}

void
isles_queue_shut_down(struct isles_queue *queue, bool immediate)
{
    struct isles_waiter *settled = NULL;
    struct isles_parcel *dropped = NULL;
    isles__queue_lock(queue);
    queue->shut_down = true;
    if (immediate) {
        queue->emptied = true;
        dropped = take_some(queue, SIZE_MAX);
    }
    isles__queue_settle_all(queue, ISLES_SHUT_DOWN, &settled);
    isles__queue_unlock(queue);
    isles__waiters_tell(settled);
    isles_parcels_free(dropped);
}

size_t
isles_queue_count(struct isles_queue *queue)
{
    isles__queue_lock(queue);
    size_t count = queue->count;
    isles__queue_unlock(queue);
    return count;
}

bool
isles_queue_is_full(struct isles_queue *queue)
{
    isles__queue_lock(queue);
    bool full = !isles__queue_has_room(queue);
    isles__queue_unlock(queue);
    return full;
}
