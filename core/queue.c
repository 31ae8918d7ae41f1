#include "queue.h"

#include <assert.h>
#include <stdlib.h>

#include "registry.h"
#include "status.h"

/* On the stack of who waits, or in what is pending. */
struct waiter {
    struct isles_link link;
    struct isles_parcel *parcels; /* a writer's: what is still to be put; a reader's: what it got */
    int status;
    bool listed;                   /* queue's lock */
    struct waiter *then;           /* whoever took it off chains it */
    struct isles_pending *pending; /* nobody sleeps on `done`; or NULL */
    atomic_uint done;
};

struct isles_pending {
    struct waiter waiter;
    struct isles_note note;
    struct isles_notifier *notifier; /* a reference */
    atomic_int refs;
};

/* ---- lists ---- */

static void
list_init(struct isles_link *list)
{
    list->next = list->prev = list;
}

static bool
list_is_empty(const struct isles_link *list)
{
    return list->next == list;
}

static void
list_append(struct isles_link *list, struct isles_link *link)
{
    link->next = list;
    link->prev = list->prev;
    list->prev->next = link;
    list->prev = link;
}

static void
list_remove(struct isles_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

static struct waiter *
first_of(const struct isles_link *list)
{
    return list_is_empty(list) ? NULL : (struct waiter *)list->next;
}

static void
lists_init(struct isles_queue *queue)
{
    list_init(&queue->readers);
    list_init(&queue->writers);
    list_init(&queue->watches);
}

/* ---- items whose interpreter has ended ---- */

#define ALL_BUT_MAIN 0 /* in place of a sender: main's own items are never unbound */
#define BATCH 16

static bool
is_from(const struct isles_parcel *parcel, int64_t sender)
{
    return sender == ALL_BUT_MAIN ? parcel->sender > 0 : parcel->sender == sender;
}

/* Makes the sender's items what they are to be; chains those that go.  What the others hold goes
 * to `stale`, if there is one, and it ends early when that is full: gives how many it used.  Under
 * the lock. */
static size_t
unbind(struct isles_queue *queue, int64_t sender, struct isles_message *stale,
       struct isles_parcel **removed)
{
    size_t used = 0;
    struct isles_parcel **link = &queue->first;
    while (*link != NULL) {
        struct isles_parcel *parcel = *link;
        if (is_from(parcel, sender) && used < BATCH) {
            if (parcel->unbound == ISLES_UNBOUND_REMOVE) {
                *link = parcel->next;
                queue->count--;
                parcel->next = *removed;
                *removed = parcel;
                continue;
            }
            parcel->sender = ISLES_SENDER_ENDED;
            if (stale != NULL && (parcel->heap != NULL || parcel->attached != NULL)) {
                isles_message_init(&stale[used]);
                isles_parcel_empty(parcel, &stale[used++]);
            }
        }
        queue->last = parcel;
        link = &parcel->next;
    }
    return used;
}

/* ---- all queues ---- */

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
        struct waiter *waiter = (struct waiter *)link;
        if (waiter->pending != NULL) {
            waiter->listed = false;
            waiter->status = ISLES_FORKED;
        }
    }
    list_init(list);
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
        list_init(&queue->watches);
        unbind(queue, ALL_BUT_MAIN, NULL, &removed);
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
    list_remove(&queue->place);
    isles_mutex_unlock(&all_lock);
    assert(list_is_empty(&queue->readers) && list_is_empty(&queue->writers));
    isles_parcels_free(queue->first);
    free(queue);
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
    list_append(&all, &queue->place);
    isles_mutex_unlock(&all_lock);
    return queue;
}

/* ---- waiting ---- */

/* Decides about a waiter and chains it for tell(). */
static void
settle(struct waiter *waiter, int status, struct waiter **settled)
{
    list_remove(&waiter->link);
    waiter->listed = false;
    waiter->status = status;
    waiter->then = *settled;
    *settled = waiter;
}

static void
settle_all(struct isles_link *list, int status, struct waiter **settled)
{
    struct waiter *waiter;
    while ((waiter = first_of(list)) != NULL) {
        settle(waiter, status, settled);
    }
}

/* settle() chains the last one first; they are woken as they came. */
static struct waiter *
in_order(struct waiter *settled)
{
    struct waiter *first = NULL;
    while (settled != NULL) {
        struct waiter *then = settled->then;
        settled->then = first;
        first = settled;
        settled = then;
    }
    return first;
}

/* Wakes whom settle() chained, without the lock: each is gone as soon as it is done. */
static void
tell(struct waiter *settled)
{
    settled = in_order(settled);
    while (settled != NULL) {
        struct waiter *then = settled->then;
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
enlist(struct isles_link *list, struct waiter *waiter, struct isles_parcel *parcels)
{
    if (isles_registry_exiting()) {
        return ISLES_EXITING;
    }
    waiter->parcels = parcels;
    waiter->listed = true;
    atomic_init(&waiter->done, 0);
    list_append(list, &waiter->link);
    return ISLES_OK;
}

/* Whether the waiter could leave with nothing decided. */
static bool
leave(struct isles_queue *queue, struct waiter *waiter)
{
    isles_mutex_lock(&queue->lock);
    bool listed = waiter->listed;
    if (listed) {
        list_remove(&waiter->link);
        waiter->listed = false;
    }
    isles_mutex_unlock(&queue->lock);
    return listed;
}

static int
park(struct isles_queue *queue, struct waiter *waiter, int64_t deadline)
{
    while (atomic_load_explicit(&waiter->done, memory_order_acquire) == 0) {
        int status = isles_thread_wait(&waiter->done, deadline);
        if (status == 0) {
            continue;
        }
        if (leave(queue, waiter)) {
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

/* ---- put and get; all of these under the lock ---- */

static bool
has_room(const struct isles_queue *queue)
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
         struct waiter **settled)
{
    while (*parcels != NULL && (all || has_room(queue))) {
        struct isles_parcel *parcel = *parcels;
        struct waiter *reader = first_of(&queue->readers);
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

/* Lets waiting writers fill the room that was made. */
static void
refill(struct isles_queue *queue, struct waiter **settled)
{
    struct waiter *writer;
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

/* Puts what there is room for, or all, and has the waiter, if there is one, wait with the rest.
 * Whether he does in *waits. */
static int
begin_put(struct isles_queue *queue, struct isles_parcel **parcels, bool all, struct waiter *waiter,
          bool *waits)
{
    struct waiter *settled = NULL;
    isles_mutex_lock(&queue->lock);
    int status = queue->shut_down ? ISLES_SHUT_DOWN : put_some(queue, parcels, all, &settled);
    *waits = false;
    if (status == ISLES_TIMED_OUT && waiter != NULL) {
        status = enlist(&queue->writers, waiter, *parcels);
        *waits = status == 0;
    }
    isles_mutex_unlock(&queue->lock);
    tell(settled);
    return status;
}

/* The same with what there is to get. */
static int
begin_get(struct isles_queue *queue, size_t max, struct isles_parcel **parcels,
          struct waiter *waiter, bool *waits)
{
    struct waiter *settled = NULL;
    int status = ISLES_OK;
    *waits = false;
    isles_mutex_lock(&queue->lock);
    *parcels = take_some(queue, max);
    if (*parcels != NULL) {
        refill(queue, &settled);
    } else if (queue->shut_down) {
        status = ISLES_SHUT_DOWN;
    } else if (waiter == NULL) {
        status = ISLES_TIMED_OUT;
    } else {
        status = enlist(&queue->readers, waiter, NULL);
        *waits = status == 0;
    }
    isles_mutex_unlock(&queue->lock);
    tell(settled);
    return status;
}

int
isles_queue_put(struct isles_queue *queue, struct isles_parcel **parcels, int64_t deadline)
{
    struct waiter self = {.pending = NULL};
    bool waits;
    int status = begin_put(queue, parcels, deadline == ISLES_FULL_OR_NOT,
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
    struct waiter self = {.pending = NULL};
    bool waits;
    int status = begin_get(queue, max, parcels, deadline == ISLES_AT_ONCE ? NULL : &self, &waits);
    if (waits) {
        status = park(queue, &self, deadline);
        *parcels = self.parcels;
    }
    return status;
}

/* ---- without a thread ---- */

static void
pending_unref(struct isles_pending *pending)
{
    /* As isles_shared_unref(). */
    if (atomic_fetch_sub_explicit(&pending->refs, 1, memory_order_acq_rel) == 1) {
        isles_shared_unref(&pending->notifier->shared);
        free(pending);
    }
}

static struct isles_pending *
pending_of(const struct isles_note *note)
{
    return (struct isles_pending *)((char *)note - offsetof(struct isles_pending, note));
}

static void
pending_drop(struct isles_note *note)
{
    pending_unref(pending_of(note));
}

static struct isles_pending *
pending_new(struct isles_notifier *notifier, void *tag)
{
    struct isles_pending *pending = malloc(sizeof(*pending));
    if (pending != NULL) {
        isles_shared_ref(&notifier->shared);
        pending->notifier = notifier;
        pending->waiter.pending = pending;
        pending->note = (struct isles_note){.drop = pending_drop, .tag = tag};
        atomic_init(&pending->refs, 2);
    }
    return pending;
}

/* Gives what its beginning came to: it goes, if it need not wait. */
static int
began(struct isles_pending *pending, int status, bool waits, struct isles_pending **out)
{
    if (!waits) {
        pending_unref(pending); /* the list's */
        pending_unref(pending);
    }
    *out = waits ? pending : NULL;
    return status;
}

int
isles_queue_put_pending(struct isles_queue *queue, struct isles_parcel **parcels,
                        struct isles_notifier *notifier, void *tag, struct isles_pending **out)
{
    bool waits;
    struct isles_pending *pending = pending_new(notifier, tag);
    if (pending == NULL) {
        return ISLES_NO_MEMORY;
    }
    int status = begin_put(queue, parcels, false, &pending->waiter, &waits);
    if (waits) {
        *parcels = NULL; /* it has them, or whoever has put them */
    }
    return began(pending, status, waits, out);
}

int
isles_queue_get_pending(struct isles_queue *queue, struct isles_parcel **parcels,
                        struct isles_notifier *notifier, void *tag, struct isles_pending **out)
{
    bool waits;
    struct isles_pending *pending = pending_new(notifier, tag);
    if (pending == NULL) {
        return ISLES_NO_MEMORY;
    }
    int status = begin_get(queue, 1, parcels, &pending->waiter, &waits);
    return began(pending, status, waits, out);
}

int
isles_pending_end(struct isles_pending *pending, struct isles_queue *queue,
                  struct isles_parcel **parcels)
{
    struct waiter *waiter = &pending->waiter;
    pending->note.tag = NULL;
    if (leave(queue, waiter)) {
        waiter->status = ISLES_TIMED_OUT;
        pending_unref(pending); /* the list's */
    }
    /* Decided under the lock that leave() had: all of it is there. */
    int status = waiter->status;
    *parcels = waiter->parcels;
    pending_unref(pending);
    return status;
}

int
isles_pending_status(const struct isles_note *note)
{
    return pending_of(note)->waiter.status;
}

/* ---- other ways to be served ---- */

void
isles_queue_put_back(struct isles_queue *queue, struct isles_parcel *parcels)
{
    struct waiter *reader, *settled = NULL;
    struct isles_parcel *last = parcels;
    size_t count = 1;
    for (; last->next != NULL; last = last->next) {
        count++;
    }
    isles_mutex_lock(&queue->lock);
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
    isles_mutex_unlock(&queue->lock);
    tell(settled);
    if (dropped) {
        isles_parcels_free(parcels);
    }
}

void
isles_queue_shut_down(struct isles_queue *queue, bool immediate)
{
    struct waiter *settled = NULL;
    struct isles_parcel *dropped = NULL;
    isles_mutex_lock(&queue->lock);
    queue->shut_down = true;
    if (immediate) {
        queue->emptied = true;
        dropped = take_some(queue, SIZE_MAX);
    }
    settle_all(&queue->readers, ISLES_SHUT_DOWN, &settled);
    settle_all(&queue->writers, ISLES_SHUT_DOWN, &settled);
    wake_watches(queue);
    isles_mutex_unlock(&queue->lock);
    tell(settled);
    isles_parcels_free(dropped);
}

size_t
isles_queue_count(struct isles_queue *queue)
{
    isles_mutex_lock(&queue->lock);
    size_t count = queue->count;
    isles_mutex_unlock(&queue->lock);
    return count;
}

bool
isles_queue_is_full(struct isles_queue *queue)
{
    isles_mutex_lock(&queue->lock);
    bool full = !has_room(queue);
    isles_mutex_unlock(&queue->lock);
    return full;
}

/* ---- several queues ---- */

static bool
watch_all(struct isles_watch *watches, size_t count, atomic_uint *word)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct isles_queue *queue = watches[i].queue;
        watches[i].word = word;
        isles_mutex_lock(&queue->lock);
        list_append(&queue->watches, &watches[i].link);
        any = any || queue->first != NULL || queue->shut_down;
        isles_mutex_unlock(&queue->lock);
    }
    return any;
}

static bool
unwatch_all(struct isles_watch *watches, size_t count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct isles_queue *queue = watches[i].queue;
        isles_mutex_lock(&queue->lock);
        list_remove(&watches[i].link);
        watches[i].ready = queue->first != NULL || queue->shut_down;
        isles_mutex_unlock(&queue->lock);
        any = any || watches[i].ready;
    }
    return any;
}

int
isles_queues_wait(struct isles_watch *watches, size_t count, int64_t deadline)
{
    for (;;) {
        atomic_uint word = 0;
        int status = deadline == ISLES_AT_ONCE ? ISLES_TIMED_OUT : ISLES_OK;
        bool any = watch_all(watches, count, &word);
        /* Asked once we are on the lists, as in enlist(). */
        if (status == 0 && isles_registry_exiting()) {
            status = ISLES_EXITING;
        }
        while (!any && status == 0 && atomic_load_explicit(&word, memory_order_acquire) == 0) {
            status = isles_thread_wait(&word, deadline);
        }
        if (unwatch_all(watches, count)) {
            return ISLES_OK;
        }
        if (status < 0) {
            return status;
        }
        /* What woke us, another reader took. */
    }
}

/* ---- ends ---- */

static void
sweep(struct isles_queue *queue, int64_t sender)
{
    struct isles_message stale[BATCH];
    struct isles_parcel *removed = NULL;
    size_t used;
    do {
        struct waiter *settled = NULL;
        isles_mutex_lock(&queue->lock);
        used = unbind(queue, sender, stale, &removed);
        refill(queue, &settled);
        isles_mutex_unlock(&queue->lock);
        tell(settled);
        for (size_t i = 0; i < used; i++) {
            isles_message_fini(&stale[i]);
        }
    } while (used == BATCH);
    isles_parcels_free(removed);
}

void
isles_queues_sweep(int64_t sender)
{
    struct isles_queue *queue = NULL;
    while ((queue = isles_queue_next(queue)) != NULL) {
        sweep(queue, sender);
    }
}

void
isles_queues_exit(void)
{
    isles_mutex_lock(&all_lock);
    for (struct isles_link *link = all.next; link != &all; link = link->next) {
        struct isles_queue *queue = at_place(link);
        struct waiter *settled = NULL;
        isles_mutex_lock(&queue->lock);
        settle_all(&queue->readers, ISLES_EXITING, &settled);
        settle_all(&queue->writers, ISLES_EXITING, &settled);
        wake_watches(queue);
        isles_mutex_unlock(&queue->lock);
        tell(settled);
    }
    isles_mutex_unlock(&all_lock);
}
