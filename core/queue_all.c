#include <assert.h>
#include <stdlib.h>

#include "queue_parts.h"

static isles_mutex all_lock = ISLES_MUTEX_INIT;
static struct isles_link all = {&all, &all}; /* oldest first */
static int64_t last_id;

static struct isles_queue *
at_place(struct isles_link *link)
{
    return (struct isles_queue *)((char *)link - offsetof(struct isles_queue, place));
}

/* A reference, unless the last one is just gone.  Under all_lock, which who frees it takes. */
static bool
try_ref(struct isles_queue *queue)
{
    long refs = atomic_load_explicit(&queue->shared.refs, memory_order_relaxed);
    while (refs > 0) {
        if (atomic_compare_exchange_weak_explicit(&queue->shared.refs, &refs, refs + 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

struct isles_queue *
isles_queue_find(int64_t id)
{
    struct isles_queue *found = NULL;
    isles_mutex_lock(&all_lock);
    for (struct isles_link *link = all.next; link != &all && found == NULL; link = link->next) {
        if (at_place(link)->id == id && try_ref(at_place(link))) {
            found = at_place(link);
        }
    }
    isles_mutex_unlock(&all_lock);
    return found;
}

struct isles_queue *
isles_queue_next(struct isles_queue *queue)
{
    isles_mutex_lock(&all_lock);
    struct isles_link *link = queue ? queue->place.next : all.next;
    while (link != &all && !try_ref(at_place(link))) {
        link = link->next;
    }
    isles_mutex_unlock(&all_lock);
    if (queue != NULL) {
        isles_shared_unref(&queue->shared);
    }
    return link == &all ? NULL : at_place(link);
}

/* ---- fork ---- */

/* The child is to find every queue whole. */
static void
lock_all(void)
{
    isles_mutex_lock(&all_lock);
    for (struct isles_link *link = all.next; link != &all; link = link->next) {
        isles_mutex_lock(&at_place(link)->lock);
    }
}

static void
unlock_all(void)
{
    for (struct isles_link *link = all.next; link != &all; link = link->next) {
        isles_mutex_unlock(&at_place(link)->lock);
    }
    isles_mutex_unlock(&all_lock);
}

/* Nothing is decided about what is pending in the child: it is told nothing, and can only be
 * ended. */
static void
strand(struct isles_link *list)
{
    for (struct isles_link *link = list->next; link != list; link = link->next) {
        struct isles_waiter *waiter = (struct isles_waiter *)link;
        if (waiter->pending != NULL) {
            waiter->listed = false;
            waiter->status = ISLES_FORKED;
        }
    }
    isles__list_init(list);
}

/* Who waited did not come along, and neither did the other interpreters.  What their items hold
 * stays: nothing that needs a GIL can be dropped here. */
static void
forked_child(void)
{
    for (struct isles_link *link = all.next; link != &all; link = link->next) {
        struct isles_queue *queue = at_place(link);
        struct isles_parcel *removed = NULL;
        isles_mutex_reset(&queue->lock);
        strand(&queue->readers);
        strand(&queue->writers);
        isles__list_init(&queue->watches);
        isles__queue_unbind(queue, ISLES_ALL_BUT_MAIN, NULL, &removed);
    }
    isles_mutex_reset(&all_lock);
}

static int fork_status;

static void
init_once(void)
{
    fork_status = isles_fork_hook(lock_all, unlock_all, forked_child);
}

/* ---- new and gone ---- */

void
isles_parcels_free(struct isles_parcel *parcels)
{
    while (parcels != NULL) {
        struct isles_parcel *next = parcels->next;
        isles_parcel_free(parcels);
        parcels = next;
    }
}

static void
queue_gone(struct isles_shared *shared)
{
    struct isles_queue *queue = (struct isles_queue *)shared;
    isles_mutex_lock(&all_lock);
    isles__list_remove(&queue->place);
    isles_mutex_unlock(&all_lock);
    assert(isles__list_is_empty(&queue->readers) && isles__list_is_empty(&queue->writers));
    isles_parcels_free(queue->first);
    free(queue);
}

static void
lists_init(struct isles_queue *queue)
{
    isles__list_init(&queue->readers);
    isles__list_init(&queue->writers);
    isles__list_init(&queue->watches);
}

struct isles_queue *
isles_queue_new(int64_t maxsize, int unbound)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_once);
    struct isles_queue *queue = fork_status < 0 ? NULL : calloc(1, sizeof(*queue));
    if (queue == NULL) {
        return NULL;
    }
    isles_shared_init(&queue->shared, ISLES_QUEUE, queue_gone);
    queue->maxsize = maxsize;
    queue->unbound = unbound;
    isles_mutex_reset(&queue->lock);
    lists_init(queue);
    isles_mutex_lock(&all_lock);
    queue->id = ++last_id;
    isles__list_append(&all, &queue->place);
    isles_mutex_unlock(&all_lock);
    return queue;
}

void
isles_queues_exit(void)
{
    isles_mutex_lock(&all_lock);
    for (struct isles_link *link = all.next; link != &all; link = link->next) {
        struct isles_queue *queue = at_place(link);
        struct isles_waiter *settled = NULL;
        isles__queue_lock(queue);
        isles__queue_settle_all(queue, ISLES_EXITING, &settled);
        isles__queue_unlock(queue);
        isles__waiters_tell(settled);
    }
    isles_mutex_unlock(&all_lock);
}
