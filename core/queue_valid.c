#include "queue_parts.h"

enum { MOST = 64 }; /* items that are looked at one by one */

static bool
links_are_valid(const struct isles_link *list)
{
    const struct isles_link *link = list;
    do {
        if (link->next->prev != link) {
            return false;
        }
        link = link->next;
    } while (link != list);
    return true;
}

/* Waiters are listed while nothing is decided: a writer still has what he wants to put. */
static bool
waiters_are_valid(const struct isles_link *list, bool have_parcels)
{
    if (!links_are_valid(list)) {
        return false;
    }
    for (const struct isles_link *link = list->next; link != list; link = link->next) {
        const struct isles_waiter *waiter = (const struct isles_waiter *)link;
        if (!waiter->listed || (waiter->parcels != NULL) != have_parcels) {
            return false;
        }
    }
    return true;
}

static bool
items_are_valid(const struct isles_queue *queue)
{
    if (queue->first == NULL) {
        return queue->count == 0;
    }
    if (queue->count > MOST) {
        return queue->first->next != NULL && queue->last->next == NULL;
    }
    const struct isles_parcel *last = queue->first;
    size_t count = 1;
    for (; last->next != NULL && count <= MOST; last = last->next) {
        count++;
    }
    return count == queue->count && last == queue->last;
}

bool
isles__queue_is_valid(const struct isles_queue *queue)
{
    bool readers = !isles__list_is_empty(&queue->readers);
    bool writers = !isles__list_is_empty(&queue->writers);
    return items_are_valid(queue) && waiters_are_valid(&queue->readers, false)
           && waiters_are_valid(&queue->writers, true) && links_are_valid(&queue->watches)
           && (!readers || (queue->first == NULL && !queue->shut_down))
           && (!writers || (!isles__queue_has_room(queue) && !queue->shut_down))
           && (!queue->emptied || (queue->shut_down && queue->first == NULL));
}
