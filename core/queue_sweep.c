#include "queue_parts.h"

static bool
is_from(const struct isles_parcel *parcel, int64_t sender)
{
    return sender == ISLES_ALL_BUT_MAIN ? parcel->sender > 0 : parcel->sender == sender;
}

size_t
isles__queue_unbind(struct isles_queue *queue, int64_t sender, struct isles_message *stale,
                    struct isles_parcel **removed)
{
    size_t used = 0;
    struct isles_parcel **link = &queue->first;
    while (*link != NULL) {
        struct isles_parcel *parcel = *link;
        if (is_from(parcel, sender) && used < ISLES_SWEEP_BATCH) {
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

static void
sweep(struct isles_queue *queue, int64_t sender)
{
    struct isles_message stale[ISLES_SWEEP_BATCH];
    struct isles_parcel *removed = NULL;
    size_t used;
    do {
        struct isles_waiter *settled = NULL;
        isles__queue_lock(queue);
        used = isles__queue_unbind(queue, sender, stale, &removed);
        isles__queue_refill(queue, &settled);
        isles__queue_unlock(queue);
        isles__waiters_tell(settled);
        for (size_t i = 0; i < used; i++) {
            isles_message_fini(&stale[i]);
        }
    } while (used == ISLES_SWEEP_BATCH);
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
