#include <stdlib.h>

#include "queue_parts.h"

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
    int status = isles__queue_begin_put(queue, parcels, false, &pending->waiter, &waits);
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
    int status = isles__queue_begin_get(queue, 1, parcels, &pending->waiter, &waits);
    return began(pending, status, waits, out);
}

int
isles_pending_end(struct isles_pending *pending, struct isles_queue *queue,
                  struct isles_parcel **parcels)
{
    struct isles_waiter *waiter = &pending->waiter;
    pending->note.tag = NULL;
    if (isles__waiter_leave(queue, waiter)) {
        waiter->status = ISLES_TIMED_OUT;
        pending_unref(pending); /* the list's */
    }
    /* Decided under the lock that isles__waiter_leave() had: all of it is there. */
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
