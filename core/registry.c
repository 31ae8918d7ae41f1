#include "registry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "status.h"

#define BUCKETS 1024

static isles_mutex lock = ISLES_MUTEX_INIT;
static isles_mutex making = ISLES_MUTEX_INIT; /* outermost: isles_registry_make_alone() */

/* All under the lock. */
static struct isles_interp *buckets[BUCKETS];
static uint32_t *free_slots; /* a stack of slots that ended interpreters gave back */
static uint32_t free_slots_count;
static uint32_t free_slots_size;
static uint32_t next_slot;

static int generation;      /* written in a forked child's only thread */
static atomic_int creating; /* interpreters that are being made */
static atomic_int wanted;   /* stays that are to be interrupted */
static atomic_bool exiting;
static struct isles_thread *exiting_thread; /* written before `exiting` */
static _Thread_local struct isles_thread *self;

/* Never dereferenced. */
static struct isles_thread settling_mark, ending_mark, ended_mark, parked_mark, shelved_mark;
#define SETTLING (&settling_mark)
#define ENDING (&ending_mark)
#define ENDED (&ended_mark)
#define PARKED (&parked_mark)
#define SHELVED (&shelved_mark)

/* For everybody but who closes it. */
static bool
is_over(const struct isles_thread *runner)
{
    return runner == ENDING || runner == PARKED || runner == SHELVED || runner == ENDED;
}

/* Under the lock. */
static struct isles_interp *
find(int64_t id)
{
    struct isles_interp *interp = buckets[id % BUCKETS];
    while (interp != NULL && interp->id != id) {
        interp = interp->next;
    }
    return interp;
}

/* ---- threads ---- */

/* Hands the seats of a thread that ends to whoever enters or closes next: freeing a thread state
 * takes the interpreter's GIL, and a thread that ends must not wait for it. */
static void
orphan_seats(const struct isles_thread *thread)
{
    isles_mutex_lock(&lock);
    for (uint32_t slot = 0; slot < thread->entries_size; slot++) {
        const struct isles_thread_entry *entry = &thread->entries[slot];
        if (entry->id == 0) {
            continue;
        }
        struct isles_interp *interp = find(entry->id);
        for (struct isles_seat *seat = interp ? interp->seats : NULL; seat; seat = seat->next) {
            if (seat == entry->seat) {
                seat->orphan = true;
                atomic_store_explicit(&interp->has_orphans, true, memory_order_relaxed);
            }
        }
    }
    isles_mutex_unlock(&lock);
}

void
isles_thread_add_loop(struct isles_thread *thread, struct isles_notifier *notifier)
{
    isles_mutex_lock(&lock);
    notifier->thread = thread;
    notifier->next = thread->loops;
    thread->loops = notifier;
    isles_mutex_unlock(&lock);
}

void
isles_loop_forget(struct isles_notifier *notifier)
{
    isles_mutex_lock(&lock);
    if (notifier->thread != NULL) {
        struct isles_notifier **link = &notifier->thread->loops;
        while (*link != notifier) {
            link = &(*link)->next;
        }
        *link = notifier->next;
        notifier->thread = NULL;
    }
    isles_mutex_unlock(&lock);
}

/* The thread ends; its loops may not have been closed. */
static void
leave_loops(const struct isles_thread *thread)
{
    isles_mutex_lock(&lock);
    for (struct isles_notifier *loop = thread->loops; loop != NULL; loop = loop->next) {
        loop->thread = NULL;
    }
    isles_mutex_unlock(&lock);
}

static void
thread_ended(void *value)
{
    struct isles_thread *thread = value;
    leave_loops(thread);
    orphan_seats(thread); /* takes the lock: from then on nobody looks at this thread */
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

/* ---- fork ---- */

static void (*tell_forked)(void);

/* In the child CPython deletes every interpreter but main; so do we.  Their memory stays, as that
 * of the threads that didn't come along does. */
static void
forked_child(void)
{
    isles_mutex_reset(&lock);
    isles_mutex_reset(&making);
    generation++;
    atomic_store(&wanted, 0);
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
            atomic_store(&interp->runner, ENDED);
        }
    }
    if (self != NULL) {
        memset(self->entries, 0, self->entries_size * sizeof(*self->entries));
        self->is_main = isles_is_main_thread();
    }
    tell_forked();
}

static int init_status;

static void
init_once(void)
{
    init_status = isles_thread_end_hook(thread_ended);
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

/* ---- the table ---- */

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

static bool
refused_by_exit(void)
{
    return atomic_load(&exiting) && self != exiting_thread;
}

static struct isles_interp *
interp_new(int64_t id, void *state, bool ours)
{
    struct isles_interp *interp = calloc(1, sizeof(*interp));
    if (interp != NULL) {
        interp->id = id;
        interp->ours = ours;
        atomic_init(&interp->state, state);
        atomic_init(&interp->runner, ours ? ENDING : NULL);
        atomic_init(&interp->refs, 1);
    }
    return interp;
}

/* Under the lock. */
static int
insert(struct isles_interp *interp)
{
    int status = refused_by_exit() ? ISLES_EXITING : take_slot(&interp->slot);
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
        atomic_store(&known->runner, ENDING);
    }
}

int
isles_registry_add(int64_t id, void *state, bool ours, struct isles_interp **out)
{
    struct isles_interp *interp = interp_new(id, state, ours);
    if (interp == NULL) {
        return ISLES_NO_MEMORY;
    }
    isles_mutex_lock(&lock);
    struct isles_interp *known = find(id);
    int status = ISLES_OK;
    if (known == NULL) {
        status = insert(interp);
    } else {
        isles_interp_ref(known);
        adopt(known, ours);
    }
    isles_mutex_unlock(&lock);
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
    isles_mutex_lock(&lock);
    struct isles_interp *interp = find(id);
    if (interp != NULL) {
        isles_interp_ref(interp);
    }
    isles_mutex_unlock(&lock);
    return interp;
}

static struct isles_interp *
next_interp(int64_t after, bool only_wanted)
{
    struct isles_interp *best = NULL;
    isles_mutex_lock(&lock);
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
    isles_mutex_unlock(&lock);
    return best;
}

struct isles_interp *
isles_registry_next(int64_t after)
{
    return next_interp(after, false);
}

void
isles_registry_forget(struct isles_interp *interp)
{
    isles_mutex_lock(&lock);
    struct isles_interp **link = &buckets[interp->id % BUCKETS];
    while (*link != NULL && *link != interp) {
        link = &(*link)->next;
    }
    bool found = *link == interp;
    if (found) {
        *link = interp->next;
        free_slots[free_slots_count++] = interp->slot;
    }
    isles_mutex_unlock(&lock);
    if (found) {
        isles_interp_unref(interp);
    }
}

int
isles_registry_generation(void)
{
    return generation;
}

void
isles_registry_exit_begin(void)
{
    exiting_thread = isles_thread_self();
    atomic_store(&exiting, true);
}

bool
isles_registry_exiting(void)
{
    return refused_by_exit();
}

bool
isles_registry_create_begin(void)
{
    atomic_fetch_add(&creating, 1);
    if (refused_by_exit()) {
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

/* ---- an interpreter ---- */

void
isles_interp_ref(struct isles_interp *interp)
{
    atomic_fetch_add_explicit(&interp->refs, 1, memory_order_relaxed);
}

void
isles_interp_unref(struct isles_interp *interp)
{
    /* Release: what this thread did to it happens before the free by the last one (acquire). */
    if (atomic_fetch_sub_explicit(&interp->refs, 1, memory_order_acq_rel) == 1) {
        free(interp->name);
        free(interp);
    }
}

int
isles_interp_set_name(struct isles_interp *interp, const char *name)
{
    char *copy = strdup(name);
    if (copy == NULL) {
        return ISLES_NO_MEMORY;
    }
    isles_mutex_lock(&lock);
    char *before = interp->name;
    interp->name = copy;
    isles_mutex_unlock(&lock);
    free(before);
    return ISLES_OK;
}

int
isles_interp_name(struct isles_interp *interp, char **out)
{
    isles_mutex_lock(&lock);
    bool given = interp->name != NULL;
    char *copy = given ? strdup(interp->name) : NULL;
    isles_mutex_unlock(&lock);
    if (given && copy == NULL) {
        return ISLES_NO_MEMORY;
    }
    *out = copy;
    return ISLES_OK;
}

/* IDLE -> `to`.  Sequentially consistent: against the release in isles_interp_finish and
 * _close_cancel, so that `state` and `local` are seen as the last one inside left them; and
 * against `exiting` and `pins`, where each side writes its own word and then reads the other's. */
static int
leave_idle(struct isles_interp *interp, struct isles_thread *to)
{
    struct isles_thread *found = NULL;
    if (atomic_compare_exchange_strong(&interp->runner, &found, to)) {
        return ISLES_OK;
    }
    if (found == ENDED) {
        return interp->forked ? ISLES_FORKED : ISLES_NOT_FOUND;
    }
    if (is_over(found)) {
        return ISLES_NOT_FOUND;
    }
    return found == SETTLING ? ISLES_SETTLING : ISLES_BUSY;
}

static void
set_runner_ident(struct isles_interp *interp, unsigned long ident)
{
    atomic_store_explicit(&interp->runner_ident, ident, memory_order_relaxed);
}

static int
begin(struct isles_interp *interp, const struct isles_thread *thread, struct isles_thread *runner)
{
    int status = leave_idle(interp, runner);
    if (status < 0) {
        return status;
    }
    /* After the change: an exit that begins now either is seen here, or sees us inside. */
    if (refused_by_exit()) {
        isles_interp_finish(interp);
        return ISLES_EXITING;
    }
    /* Release: who sees the number sees the ident of the stay before gone, and not ours yet. */
    uint64_t stay = atomic_load_explicit(&interp->stay, memory_order_relaxed) + 1;
    atomic_store_explicit(&interp->stay, stay, memory_order_release);
    atomic_store_explicit(&interp->runner_ident, thread->ident, memory_order_release);
    return ISLES_OK;
}

int
isles_interp_begin(struct isles_interp *interp, struct isles_thread *thread)
{
    return begin(interp, thread, thread);
}

int
isles_interp_settle_begin(struct isles_interp *interp, struct isles_thread *thread)
{
    return begin(interp, thread, SETTLING);
}

void
isles_interp_finish(struct isles_interp *interp)
{
    set_runner_ident(interp, 0);
    /* Sequentially consistent: the leaver then reads `holders`, while who drops the last hold
     * writes that and then tries to close: one of them does.  And `wanted`: isles_interp_want(). */
    atomic_store(&interp->runner, NULL);
}

int
isles_interp_close_begin(struct isles_interp *interp, struct isles_thread *thread)
{
    int status = leave_idle(interp, ENDING);
    if (status == 0) {
        set_runner_ident(interp, thread->ident);
    }
    return status;
}

void
isles_interp_close_cancel(struct isles_interp *interp)
{
    set_runner_ident(interp, 0);
    atomic_store(&interp->runner, NULL); /* as isles_interp_finish, for `returned` */
}

void
isles_interp_close_commit(struct isles_interp *interp)
{
    interp->state = NULL;
    atomic_store_explicit(&interp->runner, ENDED, memory_order_release);
    isles_registry_forget(interp);
}

void
isles_interp_close_park(struct isles_interp *interp)
{
    set_runner_ident(interp, 0);
    /* Sequentially consistent: against isles_block_return, as isles_interp_finish. */
    atomic_store(&interp->runner, PARKED);
}

int
isles_interp_reclaim_begin(struct isles_interp *interp)
{
    struct isles_thread *found = PARKED;
    bool done = atomic_compare_exchange_strong(&interp->runner, &found, ENDING);
    return done ? ISLES_OK : ISLES_NOT_FOUND;
}

void
isles_interp_shelve(struct isles_interp *interp)
{
    set_runner_ident(interp, 0);
    atomic_store(&interp->runner, SHELVED);
}

int
isles_interp_unshelve(struct isles_interp *interp, const struct isles_thread *thread)
{
    struct isles_thread *found = SHELVED;
    if (!atomic_compare_exchange_strong(&interp->runner, &found, ENDING)) {
        return ISLES_NOT_FOUND;
    }
    /* After the change, as in begin(). */
    if (refused_by_exit()) {
        isles_interp_shelve(interp);
        return ISLES_EXITING;
    }
    set_runner_ident(interp, thread->ident);
    return ISLES_OK;
}

void
isles_interp_abandon(struct isles_interp *interp)
{
    atomic_store(&interp->runner, ENDED);
    isles_registry_forget(interp);
}

int
isles_interp_pin(struct isles_interp *interp)
{
    atomic_fetch_add(&interp->pins, 1);
    /* Either the closer sees the pin and waits, or we see that it is ending. */
    struct isles_thread *found = atomic_load(&interp->runner);
    if (is_over(found)) {
        isles_interp_unpin(interp);
        return ISLES_NOT_FOUND;
    }
    return ISLES_OK;
}

int
isles_interp_visit(struct isles_interp *interp)
{
    atomic_store(&interp->visited, true);
    atomic_fetch_add(&interp->pins, 1);
    /* As above; and an exit that begins now either sees the pin, or is seen here. */
    const struct isles_thread *found = atomic_load(&interp->runner);
    bool gone = found == PARKED || found == ENDED;
    bool open = found == ENDING ? atomic_load(&interp->winding_down) : !atomic_load(&exiting);
    if (!gone && open) {
        return ISLES_OK;
    }
    isles_interp_unpin(interp);
    return gone ? ISLES_NOT_FOUND : ISLES_BUSY;
}

void
isles_interp_wind_down(struct isles_interp *interp, bool winding_down)
{
    atomic_store(&interp->winding_down, winding_down);
}

void
isles_interp_unpin(struct isles_interp *interp)
{
    atomic_fetch_sub(&interp->pins, 1);
}

bool
isles_interp_is_running(struct isles_interp *interp)
{
    struct isles_thread *found = atomic_load_explicit(&interp->runner, memory_order_relaxed);
    return found != NULL && found != SETTLING && !is_over(found);
}

bool
isles_interp_has_ended(struct isles_interp *interp)
{
    struct isles_thread *found = atomic_load_explicit(&interp->runner, memory_order_acquire);
    return is_over(found);
}

bool
isles_interp_is_shown(struct isles_interp *interp, const struct isles_interp *here)
{
    bool hidden = atomic_load(&interp->hidden) != ISLES_SHOWN && interp != here;
    return !hidden && !isles_interp_has_ended(interp);
}

/* ---- stays that are to be interrupted ---- */

/* The number of the stay that is going on, if it is that thread's; else 0.  Under the lock. */
static uint64_t
current_stay(struct isles_interp *interp, unsigned long ident)
{
    uint64_t stay = atomic_load_explicit(&interp->stay, memory_order_acquire);
    const struct isles_thread *runner = atomic_load(&interp->runner);
    unsigned long found = atomic_load_explicit(&interp->runner_ident, memory_order_acquire);
    bool inside = runner != NULL && runner != SETTLING && !is_over(runner);
    bool same = stay == atomic_load_explicit(&interp->stay, memory_order_acquire);
    return inside && same && found != 0 && (ident == 0 || ident == found) ? stay : 0;
}

/* Under the lock. */
static void
want(struct isles_interp *interp, uint64_t stay, struct isles_parcel *reason)
{
    interp->reason = reason;
    atomic_fetch_add(&wanted, 1);
    /* Sequentially consistent, and then current_stay(): either that sees that the thread has left,
     * or the thread, which writes `runner` and then reads `wanted`, sees this. */
    atomic_store(&interp->wanted, stay);
}

/* Under the lock. */
static struct isles_parcel *
unwant(struct isles_interp *interp)
{
    struct isles_parcel *reason = interp->reason;
    interp->reason = NULL;
    atomic_store(&interp->wanted, 0);
    atomic_fetch_sub(&wanted, 1);
    return reason;
}

bool
isles_interp_want(struct isles_interp *interp, unsigned long ident, struct isles_parcel **reason)
{
    isles_mutex_lock(&lock);
    uint64_t stay = current_stay(interp, ident), before = atomic_load(&interp->wanted);
    bool inside = stay != 0;
    if (inside && before != stay) {
        /* That one is over, and its thread about to drop the wish. */
        struct isles_parcel *late = before == 0 ? NULL : unwant(interp);
        want(interp, stay, *reason);
        inside = current_stay(interp, ident) == stay;
        *reason = inside ? NULL : unwant(interp);
        if (late != NULL) {
            late->next = *reason;
            *reason = late;
        }
    }
    isles_mutex_unlock(&lock);
    return inside;
}

bool
isles_interp_is_wanted(const struct isles_interp *interp)
{
    uint64_t stay = atomic_load(&interp->wanted);
    return stay != 0 && stay == atomic_load(&interp->stay);
}

bool
isles_interp_unwant(struct isles_interp *interp, uint64_t stay, struct isles_parcel **reason)
{
    isles_mutex_lock(&lock);
    bool found = stay != 0 && atomic_load(&interp->wanted) == stay;
    *reason = found ? unwant(interp) : NULL;
    isles_mutex_unlock(&lock);
    return found;
}

int
isles_registry_wanted(void)
{
    return atomic_load(&wanted);
}

struct isles_interp *
isles_registry_next_wanted(int64_t after)
{
    return next_interp(after, true);
}

int64_t
isles_interp_ring(struct isles_interp *interp)
{
    int64_t where = -1;
    isles_mutex_lock(&lock);
    struct isles_thread *runner = atomic_load(&interp->runner);
    /* While we hold the lock a thread that is inside can't go: thread_ended() takes it. */
    if (runner != NULL && runner != SETTLING && !is_over(runner)) {
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
    isles_mutex_unlock(&lock);
    return where;
}

/* Whether it was rung; not any more.  `word` is what it waits for from now on, or NULL. */
static bool
park(atomic_uint *word)
{
    isles_mutex_lock(&lock);
    bool rung = self->rung;
    self->rung = false;
    self->parked = rung ? NULL : word;
    isles_mutex_unlock(&lock);
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

/* ---- seats ---- */

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
isles_seat_add(struct isles_thread *thread, struct isles_interp *interp, void *ts)
{
    struct isles_seat *seat = malloc(sizeof(*seat));
    if (seat == NULL || reserve_entry(thread, interp->slot) < 0) {
        free(seat);
        return ISLES_NO_MEMORY;
    }
    *seat = (struct isles_seat){.ts = ts, .thread = thread};
    isles_mutex_lock(&lock);
    seat->next = interp->seats;
    interp->seats = seat;
    isles_mutex_unlock(&lock);
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
    isles_mutex_lock(&lock);
    struct isles_seat **link = &interp->seats;
    while (*link != entry->seat) {
        link = &(*link)->next;
    }
    *link = entry->seat->next;
    isles_mutex_unlock(&lock);
    free(entry->seat);
    *entry = (struct isles_thread_entry){0};
}

static struct isles_seat *
take_seats(struct isles_interp *interp, bool all)
{
    struct isles_seat *taken = NULL;
    isles_mutex_lock(&lock);
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
    isles_mutex_unlock(&lock);
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
    isles_mutex_lock(&lock);
    for (const struct isles_seat *seat = interp->seats; seat != NULL; seat = seat->next) {
        kept = kept || seat->ts == ts;
    }
    isles_mutex_unlock(&lock);
    return kept;
}
