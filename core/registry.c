#include <assert.h>
#include <stdlib.h>

#include "registry_parts.h"

#define BUCKETS 1024

isles_mutex isles__registry_lock = ISLES_MUTEX_INIT;
static isles_mutex making = ISLES_MUTEX_INIT; /* outermost: isles_registry_make_alone() */

/* All under the lock. */
static struct isles_interp *buckets[BUCKETS];
static uint32_t *free_slots; /* a stack of slots that ended interpreters gave back */
static uint32_t free_slots_count;
static uint32_t free_slots_size;
static uint32_t next_slot;

static int generation;      /* written in a forked child's only thread */
static atomic_int creating; /* interpreters that are being made */
atomic_bool isles__exiting;
static struct isles_thread *exiting_thread; /* written before `isles__exiting` */

/* Under the lock. */
struct isles_interp *
isles__registry_look(int64_t id)
{
    struct isles_interp *interp = buckets[id % BUCKETS];
    while (interp != NULL && interp->id != id) {
        interp = interp->next;
    }
    return interp;
}

/* ---- the table ---- */

bool
isles__registry_is_valid(void)
{
    uint32_t count = 0;
    for (int64_t i = 0; i < BUCKETS; i++) {
        for (const struct isles_interp *interp = buckets[i]; interp; interp = interp->next) {
            if (interp->id % BUCKETS != i || interp->slot >= next_slot
                || atomic_load_explicit(&interp->refs, memory_order_relaxed) < 1) {
                return false;
            }
            count++;
        }
    }
    return count + free_slots_count == next_slot && next_slot <= free_slots_size;
}

static int
take_slot(uint32_t *slot)
{
    if (free_slots_count > 0) {
        *slot = free_slots[--free_slots_count];
        return ISLES_OK;
    }
    /* Room to give every slot back is made here, so that ending can't fail. */
    if (next_slot == free_slots_size) {
        uint32_t size = free_slots_size ? free_slots_size * 2 : 64;
        uint32_t *slots = realloc(free_slots, size * sizeof(*slots));
        if (slots == NULL) {
            return ISLES_NO_MEMORY;
        }
        free_slots = slots;
        free_slots_size = size;
    }
    *slot = next_slot++;
    return ISLES_OK;
}

static struct isles_interp *
interp_new(int64_t id, void *state, bool ours)
{
    struct isles_interp *interp = calloc(1, sizeof(*interp));
    if (interp != NULL) {
        interp->id = id;
        interp->ours = ours;
        atomic_init(&interp->state, state);
        atomic_init(&interp->runner, ours ? ISLES_MARK_ENDING : NULL);
        atomic_init(&interp->refs, 1);
    }
    return interp;
}

/* Under the lock. */
static int
insert(struct isles_interp *interp)
{
    int status = isles__refused_by_exit() ? ISLES_EXITING : take_slot(&interp->slot);
    if (status == 0) {
        isles_interp_ref(interp); /* the table's */
        interp->next = buckets[interp->id % BUCKETS];
        buckets[interp->id % BUCKETS] = interp;
    }
    return status;
}

/* An interpreter whose site-packages import isles registers itself while it is being made, before
 * its maker can.  Nobody has entered: it was refused as not ours. */
static void
adopt(struct isles_interp *known, bool ours)
{
    if (ours && !known->ours) {
        known->ours = true;
        atomic_store(&known->runner, ISLES_MARK_ENDING);
    }
}

int
isles_registry_add(int64_t id, void *state, bool ours, struct isles_interp **out)
{
    struct isles_interp *interp = interp_new(id, state, ours);
    if (interp == NULL) {
        return ISLES_NO_MEMORY;
    }
    isles_mutex_lock(&isles__registry_lock);
    struct isles_interp *known = isles__registry_look(id);
    int status = ISLES_OK;
    if (known == NULL) {
        status = insert(interp);
    } else {
        isles_interp_ref(known);
        adopt(known, ours);
    }
    assert(isles__registry_is_valid());
    isles_mutex_unlock(&isles__registry_lock);
    if (known != NULL || status < 0) {
        isles_interp_unref(interp);
    }
    if (status == 0) {
        *out = known ? known : interp;
    }
    return status;
}

struct isles_interp *
isles_registry_find(int64_t id)
{
    if (id < 0) {
        return NULL;
    }
    isles_mutex_lock(&isles__registry_lock);
    struct isles_interp *interp = isles__registry_look(id);
    if (interp != NULL) {
        isles_interp_ref(interp);
    }
    isles_mutex_unlock(&isles__registry_lock);
    return interp;
}

struct isles_interp *
isles__registry_next(int64_t after, bool only_wanted)
{
    struct isles_interp *best = NULL;
    isles_mutex_lock(&isles__registry_lock);
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct isles_interp *interp = buckets[i]; interp; interp = interp->next) {
            bool fits = interp->id > after && (!only_wanted || atomic_load(&interp->wanted) != 0);
            if (fits && (best == NULL || interp->id < best->id)) {
                best = interp;
            }
        }
    }
    if (best != NULL) {
        isles_interp_ref(best);
    }
    isles_mutex_unlock(&isles__registry_lock);
    return best;
}

struct isles_interp *
isles_registry_next(int64_t after)
{
    return isles__registry_next(after, false);
}

void
isles_registry_forget(struct isles_interp *interp)
{
    isles_mutex_lock(&isles__registry_lock);
    struct isles_interp **link = &buckets[interp->id % BUCKETS];
    while (*link != NULL && *link != interp) {
        link = &(*link)->next;
    }
    bool found = *link == interp;
    if (found) {
        *link = interp->next;
        free_slots[free_slots_count++] = interp->slot;
    }
    assert(isles__registry_is_valid());
    isles_mutex_unlock(&isles__registry_lock);
    if (found) {
        isles_interp_unref(interp);
    }
}

/* ---- beginnings and ends ---- */

void
isles_registry_exit_begin(void)
{
    exiting_thread = isles_thread_self();
    atomic_store(&isles__exiting, true);
}

bool
isles_registry_exiting(void)
{
    return atomic_load(&isles__exiting) && isles__thread_known() != exiting_thread;
}

bool
isles_registry_create_begin(void)
{
    atomic_fetch_add(&creating, 1);
    if (isles__refused_by_exit()) {
        isles_registry_create_end();
        return false;
    }
    return true;
}

void
isles_registry_create_end(void)
{
    atomic_fetch_sub(&creating, 1);
}

void
isles_registry_make_alone(struct isles_thread *thread)
{
    if (thread->making++ == 0) {
        isles_mutex_lock(&making);
    }
}

void
isles_registry_made(struct isles_thread *thread)
{
    if (--thread->making == 0) {
        isles_mutex_unlock(&making);
    }
}

int
isles_registry_creating(void)
{
    return atomic_load(&creating);
}

/* ---- fork ---- */

int
isles_registry_generation(void)
{
    return generation;
}

static void (*tell_forked)(void);

/* In the child CPython deletes every interpreter but main; so do we.  Their memory stays, as that
 * of the threads that didn't come along does. */
static void
forked_child(void)
{
    isles_mutex_reset(&isles__registry_lock);
    isles_mutex_reset(&making);
    generation++;
    isles__stays_forget();
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct isles_interp *interp = buckets[i]; interp; interp = interp->next) {
            if (interp->id == 0) {
                continue;
            }
            interp->forked = true;
            interp->state = NULL;
            interp->local = NULL;
            interp->seats = NULL;
            atomic_store(&interp->wanted, 0);
            atomic_store(&interp->runner, ISLES_MARK_ENDED);
        }
    }
    struct isles_thread *self = isles__thread_known();
    if (self != NULL) {
        isles__seats_forget(self);
        self->is_main = isles_is_main_thread();
    }
    tell_forked();
}

static int init_status;

static void
init_once(void)
{
    init_status = isles_thread_end_hook(isles__thread_ended);
    if (init_status == 0) {
        init_status = isles_fork_hook(NULL, NULL, forked_child);
    }
}

int
isles_registry_init(void (*forked)(void))
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    tell_forked = forked; /* the same each time */
    (void)pthread_once(&once, init_once);
    return init_status;
}
