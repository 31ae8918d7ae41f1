#include <stdlib.h>

#include "notifier.h"
#include "registry_parts.h"

static _Thread_local struct isles_thread *self;

/* The thread ends; its loops may not have been closed. */
static void
leave_loops(const struct isles_thread *thread)
{
    isles_mutex_lock(&isles__registry_lock);
    for (struct isles_notifier *loop = thread->loops; loop != NULL; loop = loop->next) {
        loop->thread = NULL;
    }
    isles_mutex_unlock(&isles__registry_lock);
}

void
isles__thread_ended(void *value)
{
    struct isles_thread *thread = value;
    leave_loops(thread);
    isles__seats_orphan(thread); /* takes the lock: from then on nobody looks at this thread */
    free(thread->spare);
    free(thread->entries);
    free(thread);
    self = NULL;
}

struct isles_thread *
isles_thread_self(void)
{
    if (self != NULL) {
        return self;
    }
    struct isles_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL || isles_at_thread_end(thread) < 0) {
        free(thread);
        return NULL;
    }
    self = thread;
    return thread;
}

struct isles_thread *
isles__thread_known(void)
{
    return self;
}

/* ---- event loops ---- */

void
isles_thread_add_loop(struct isles_thread *thread, struct isles_notifier *notifier)
{
    isles_mutex_lock(&isles__registry_lock);
    notifier->thread = thread;
    notifier->next = thread->loops;
    thread->loops = notifier;
    isles_mutex_unlock(&isles__registry_lock);
}

void
isles_loop_forget(struct isles_notifier *notifier)
{
    isles_mutex_lock(&isles__registry_lock);
    if (notifier->thread != NULL) {
        struct isles_notifier **link = &notifier->thread->loops;
        while (*link != notifier) {
            link = &(*link)->next;
        }
        *link = notifier->next;
        notifier->thread = NULL;
    }
    isles_mutex_unlock(&isles__registry_lock);
}

/* ---- waiting and waking ---- */

/* Whether it was rung; not any more.  `word` is what it waits for from now on, or NULL. */
static bool
park(atomic_uint *word)
{
    isles_mutex_lock(&isles__registry_lock);
    bool rung = self->rung;
    self->rung = false;
    self->parked = rung ? NULL : word;
    isles_mutex_unlock(&isles__registry_lock);
    return rung;
}

int
isles_thread_wait(atomic_uint *word, int64_t deadline)
{
    if (self == NULL) {
        return isles_futex_wait(word, 0, deadline);
    }
    if (park(word)) {
        return ISLES_INTERRUPTED;
    }
    int status = isles_futex_wait(word, 0, deadline);
    (void)park(NULL);
    /* Nobody rings this word any more.  What was waited for may have come on top. */
    unsigned found = ISLES_RUNG;
    return atomic_compare_exchange_strong(word, &found, 0) ? ISLES_INTERRUPTED : status;
}

int64_t
isles_interp_ring(struct isles_interp *interp)
{
    int64_t where = -1;
    isles_mutex_lock(&isles__registry_lock);
    struct isles_thread *runner = atomic_load(&interp->runner);
    /* While we hold the lock a thread that is inside can't go: isles__thread_ended() takes it. */
    if (isles__runner_is_inside(runner)) {
        where = atomic_load_explicit(&runner->where, memory_order_relaxed);
        runner->rung = true;
        for (struct isles_notifier *loop = runner->loops; loop != NULL; loop = loop->next) {
            isles_notifier_ring(loop);
        }
        unsigned found = 0;
        if (runner->parked != NULL
            && atomic_compare_exchange_strong(runner->parked, &found, ISLES_RUNG)) {
            isles_futex_wake(runner->parked);
        }
    }
    isles_mutex_unlock(&isles__registry_lock);
    return where;
}
