#include "message.h"
#include "registry_parts.h"

static atomic_int wanted; /* stays that are to be interrupted */

/* The number of the stay that is going on, if it is that thread's; else 0.  Under the lock. */
static uint64_t
current_stay(struct isles_interp *interp, unsigned long ident)
{
    uint64_t stay = atomic_load_explicit(&interp->stay, memory_order_acquire);
    const struct isles_thread *runner = atomic_load(&interp->runner);
    unsigned long found = atomic_load_explicit(&interp->runner_ident, memory_order_acquire);
    bool inside = isles__runner_is_inside(runner);
    bool same = stay == atomic_load_explicit(&interp->stay, memory_order_acquire);
    return inside && same && found != 0 && (ident == 0 || ident == found) ? stay : 0;
}

/* Under the lock. */
static void
want(struct isles_interp *interp, uint64_t stay, struct isles_parcel *reason)
{
    interp->reason = reason;
    atomic_fetch_add(&wanted, 1);
    isles_perhaps_yield();
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
    isles_mutex_lock(&isles__registry_lock);
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
    isles_mutex_unlock(&isles__registry_lock);
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
    isles_mutex_lock(&isles__registry_lock);
    bool found = stay != 0 && atomic_load(&interp->wanted) == stay;
    *reason = found ? unwant(interp) : NULL;
    isles_mutex_unlock(&isles__registry_lock);
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
    return isles__registry_next(after, true);
}

void
isles__stays_forget(void)
{
    atomic_store(&wanted, 0);
}
