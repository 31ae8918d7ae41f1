#include <stdlib.h>
#include <string.h>

#include "registry_parts.h"

struct isles_thread isles__marks[5];

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
    isles_mutex_lock(&isles__registry_lock);
    char *before = interp->name;
    interp->name = copy;
    isles_mutex_unlock(&isles__registry_lock);
    free(before);
    return ISLES_OK;
}

int
isles_interp_name(struct isles_interp *interp, char **out)
{
    isles_mutex_lock(&isles__registry_lock);
    bool given = interp->name != NULL;
    char *copy = given ? strdup(interp->name) : NULL;
    isles_mutex_unlock(&isles__registry_lock);
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
    if (found == ISLES_MARK_ENDED) {
        return interp->forked ? ISLES_FORKED : ISLES_NOT_FOUND;
    }
    if (isles__runner_is_over(found)) {
        return ISLES_NOT_FOUND;
    }
    return found == ISLES_MARK_SETTLING ? ISLES_SETTLING : ISLES_BUSY;
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
    isles_perhaps_yield();
    /* After the change: an exit that begins now either is seen here, or sees us inside. */
    if (isles__refused_by_exit()) {
        isles_interp_finish(interp);
        return ISLES_EXITING;
    }
    /* Release: who sees the number sees the ident of the stay before gone, and not ours yet. */
    uint64_t stay = atomic_load_explicit(&interp->stay, memory_order_relaxed) + 1;
    atomic_store_explicit(&interp->stay, stay, memory_order_release);
    isles_perhaps_yield();
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
    return begin(interp, thread, ISLES_MARK_SETTLING);
}

void
isles_interp_finish(struct isles_interp *interp)
{
    set_runner_ident(interp, 0);
    isles_perhaps_yield();
    /* Sequentially consistent: the leaver then reads `holders`, while who drops the last hold
     * writes that and then tries to close: one of them does.  And `wanted`: isles_interp_want(). */
    atomic_store(&interp->runner, NULL);
}

int
isles_interp_close_begin(struct isles_interp *interp, struct isles_thread *thread)
{
    int status = leave_idle(interp, ISLES_MARK_ENDING);
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
    atomic_store_explicit(&interp->runner, ISLES_MARK_ENDED, memory_order_release);
    isles_registry_forget(interp);
}

void
isles_interp_close_park(struct isles_interp *interp)
{
    set_runner_ident(interp, 0);
    /* Sequentially consistent: against isles_block_return, as isles_interp_finish. */
    atomic_store(&interp->runner, ISLES_MARK_PARKED);
}

int
isles_interp_reclaim_begin(struct isles_interp *interp)
{
    struct isles_thread *found = ISLES_MARK_PARKED;
    bool done = atomic_compare_exchange_strong(&interp->runner, &found, ISLES_MARK_ENDING);
    return done ? ISLES_OK : ISLES_NOT_FOUND;
}

void
isles_interp_shelve(struct isles_interp *interp)
{
    set_runner_ident(interp, 0);
    atomic_store(&interp->runner, ISLES_MARK_SHELVED);
}

int
isles_interp_unshelve(struct isles_interp *interp, const struct isles_thread *thread)
{
    struct isles_thread *found = ISLES_MARK_SHELVED;
    if (!atomic_compare_exchange_strong(&interp->runner, &found, ISLES_MARK_ENDING)) {
        return ISLES_NOT_FOUND;
    }
    /* After the change, as in begin(). */
    if (isles__refused_by_exit()) {
        isles_interp_shelve(interp);
        return ISLES_EXITING;
    }
    set_runner_ident(interp, thread->ident);
    return ISLES_OK;
}

void
isles_interp_abandon(struct isles_interp *interp)
{
    atomic_store(&interp->runner, ISLES_MARK_ENDED);
    isles_registry_forget(interp);
}

int
isles_interp_pin(struct isles_interp *interp)
{
    atomic_fetch_add(&interp->pins, 1);
    isles_perhaps_yield();
    /* Either the closer sees the pin and waits, or we see that it is ending. */
    struct isles_thread *found = atomic_load(&interp->runner);
    if (isles__runner_is_over(found)) {
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
    isles_perhaps_yield();
    /* As above; and an exit that begins now either sees the pin, or is seen here. */
    const struct isles_thread *found = atomic_load(&interp->runner);
    bool gone = found == ISLES_MARK_PARKED || found == ISLES_MARK_ENDED;
    bool open = found == ISLES_MARK_ENDING ? atomic_load(&interp->winding_down)
                                           : !atomic_load(&isles__exiting);
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
    return isles__runner_is_inside(found);
}

bool
isles_interp_has_ended(struct isles_interp *interp)
{
    struct isles_thread *found = atomic_load_explicit(&interp->runner, memory_order_acquire);
    return isles__runner_is_over(found);
}

bool
isles_interp_is_shown(struct isles_interp *interp, const struct isles_interp *here)
{
    bool hidden = atomic_load(&interp->hidden) != ISLES_SHOWN && interp != here;
    return !hidden && !isles_interp_has_ended(interp);
}
