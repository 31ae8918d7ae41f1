#include "notifier.h"

#include <stdlib.h>

#include "os.h"
#include "status.h"

static struct isles_note closed; /* stands for: no list any more */

static void
notifier_gone(struct isles_shared *shared)
{
    struct isles_notifier *notifier = (struct isles_notifier *)shared;
    struct isles_note *note = isles_notifier_close(notifier);
    while (note != NULL) {
        struct isles_note *next = note->next;
        note->drop(note);
        note = next;
    }
    isles_event_close(notifier->fd);
    free(notifier);
}

int
isles_notifier_new(struct isles_notifier **out)
{
    struct isles_notifier *notifier = malloc(sizeof(*notifier));
    if (notifier == NULL) {
        return ISLES_NO_MEMORY;
    }
    int status = isles_event_open(&notifier->fd);
    if (status < 0) {
        free(notifier);
        return status;
    }
    isles_shared_init(&notifier->shared, ISLES_NOTIFIER, notifier_gone);
    atomic_init(&notifier->last, NULL);
    notifier->thread = NULL;
    notifier->next = NULL;
    *out = notifier;
    return ISLES_OK;
}

void
isles_notifier_post(struct isles_notifier *notifier, struct isles_note *note)
{
    /* The note may hold the last reference but this one, and be taken at once. */
    isles_shared_ref(&notifier->shared);
    struct isles_note *last = atomic_load_explicit(&notifier->last, memory_order_relaxed);
    do {
        if (last == &closed) {
            note->drop(note);
            isles_shared_unref(&notifier->shared);
            return;
        }
        note->next = last;
        /* Release, for the acquire of who takes it: what was brought about comes first. */
    } while (!atomic_compare_exchange_weak_explicit(&notifier->last, &last, note,
                                                    memory_order_release, memory_order_relaxed));
    if (last == NULL) {
        isles_event_set(notifier->fd);
    }
    isles_shared_unref(&notifier->shared);
}

void
isles_notifier_ring(struct isles_notifier *notifier)
{
    isles_event_set(notifier->fd);
}

/* The list with the oldest note first. */
static struct isles_note *
in_order(struct isles_note *note)
{
    struct isles_note *first = NULL;
    while (note != NULL) {
        struct isles_note *next = note->next;
        note->next = first;
        first = note;
        note = next;
    }
    return first;
}

struct isles_note *
isles_notifier_take(struct isles_notifier *notifier)
{
    isles_event_clear(notifier->fd);
    struct isles_note *last = atomic_load_explicit(&notifier->last, memory_order_relaxed);
    while (last != &closed
           && !atomic_compare_exchange_weak_explicit(&notifier->last, &last, NULL,
                                                     memory_order_acquire, memory_order_relaxed)) {
    }
    return last == &closed ? NULL : in_order(last);
}

struct isles_note *
isles_notifier_close(struct isles_notifier *notifier)
{
    struct isles_note *last =
        atomic_exchange_explicit(&notifier->last, &closed, memory_order_acquire);
    return last == &closed ? NULL : in_order(last);
}
