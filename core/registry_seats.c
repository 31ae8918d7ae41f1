#include <stdlib.h>
#include <string.h>

#include "registry_parts.h"

void *
isles_seat_find(const struct isles_thread *thread, const struct isles_interp *interp)
{
    if (interp->slot >= thread->entries_size) {
        return NULL;
    }
    const struct isles_thread_entry *entry = &thread->entries[interp->slot];
    return entry->id == interp->id ? entry->seat->ts : NULL;
}

static int
reserve_entry(struct isles_thread *thread, uint32_t slot)
{
    if (slot < thread->entries_size) {
        return ISLES_OK;
    }
    uint32_t size = thread->entries_size ? thread->entries_size : 8;
    while (size <= slot) {
        size *= 2;
    }
    struct isles_thread_entry *entries = realloc(thread->entries, size * sizeof(*entries));
    if (entries == NULL) {
        return ISLES_NO_MEMORY;
    }
    memset(entries + thread->entries_size, 0, (size - thread->entries_size) * sizeof(*entries));
    thread->entries = entries;
    thread->entries_size = size;
    return ISLES_OK;
}

int
isles_seat_reserve(struct isles_thread *thread, const struct isles_interp *interp)
{
    if (thread->spare == NULL) {
        thread->spare = malloc(sizeof(*thread->spare));
    }
    return thread->spare == NULL ? ISLES_NO_MEMORY : reserve_entry(thread, interp->slot);
}

int
isles_seat_add(struct isles_thread *thread, struct isles_interp *interp, void *ts)
{
    if (isles_seat_reserve(thread, interp) < 0) {
        return ISLES_NO_MEMORY;
    }
    struct isles_seat *seat = thread->spare;
    thread->spare = NULL;
    *seat = (struct isles_seat){.ts = ts, .thread = thread};
    isles_mutex_lock(&isles__registry_lock);
    seat->next = interp->seats;
    interp->seats = seat;
    isles_mutex_unlock(&isles__registry_lock);
    thread->entries[interp->slot] = (struct isles_thread_entry){.id = interp->id, .seat = seat};
    return ISLES_OK;
}

void
isles_seat_drop(struct isles_thread *thread, struct isles_interp *interp)
{
    if (isles_seat_find(thread, interp) == NULL) {
        return;
    }
    struct isles_thread_entry *entry = &thread->entries[interp->slot];
    isles_mutex_lock(&isles__registry_lock);
    struct isles_seat **link = &interp->seats;
    while (*link != entry->seat) {
        link = &(*link)->next;
    }
    *link = entry->seat->next;
    isles_mutex_unlock(&isles__registry_lock);
    free(entry->seat);
    *entry = (struct isles_thread_entry){0};
}

static struct isles_seat *
take_seats(struct isles_interp *interp, bool all)
{
    struct isles_seat *taken = NULL;
    isles_mutex_lock(&isles__registry_lock);
    atomic_store_explicit(&interp->has_orphans, false, memory_order_relaxed);
    struct isles_seat **link = &interp->seats;
    while (*link != NULL) {
        struct isles_seat *seat = *link;
        if (!all && !seat->orphan) {
            link = &seat->next;
            continue;
        }
        *link = seat->next;
        seat->next = taken;
        taken = seat;
    }
    isles_mutex_unlock(&isles__registry_lock);
    return taken;
}

struct isles_seat *
isles_seats_take_orphans(struct isles_interp *interp)
{
    return take_seats(interp, false);
}

struct isles_seat *
isles_seats_take_all(struct isles_interp *interp)
{
    return take_seats(interp, true);
}

bool
isles_seat_is_kept(struct isles_interp *interp, const void *ts)
{
    bool kept = false;
    isles_mutex_lock(&isles__registry_lock);
    for (const struct isles_seat *seat = interp->seats; seat != NULL; seat = seat->next) {
        kept = kept || seat->ts == ts;
    }
    isles_mutex_unlock(&isles__registry_lock);
    return kept;
}

void
isles__seats_orphan(const struct isles_thread *thread)
{
    isles_mutex_lock(&isles__registry_lock);
    for (uint32_t slot = 0; slot < thread->entries_size; slot++) {
        const struct isles_thread_entry *entry = &thread->entries[slot];
        if (entry->id == 0) {
            continue;
        }
        struct isles_interp *interp = isles__registry_look(entry->id);
        for (struct isles_seat *seat = interp ? interp->seats : NULL; seat; seat = seat->next) {
            if (seat == entry->seat) {
                seat->orphan = true;
                atomic_store_explicit(&interp->has_orphans, true, memory_order_relaxed);
            }
        }
    }
    isles_mutex_unlock(&isles__registry_lock);
}

void
isles__seats_forget(struct isles_thread *thread)
{
    memset(thread->entries, 0, thread->entries_size * sizeof(*thread->entries));
}
