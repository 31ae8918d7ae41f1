#include <stdlib.h>

#include "../core/status.h"
#include "gate_parts.h"

void
isles__gate_close_unheld(struct isles_interp *interp)
{
    PyObject *error = PyErr_GetRaisedException();
    (void)isles__gate_close(interp); /* if somebody else got in, he does this when he leaves */
    PyErr_SetRaisedException(error);
}

void
isles__gate_hold(struct isles_interp *interp)
{
    atomic_fetch_add(&interp->holders, 1);
}

void
isles__gate_drop(struct isles_interp *interp)
{
    if (atomic_fetch_sub(&interp->holders, 1) == 1 && isles__gate_is_unheld(interp)) {
        isles__gate_close_unheld(interp);
    }
}

/* An interpreter that a message names: it must not end before the message is read. */
struct hold {
    struct isles_shared shared;
    struct isles_interp *interp; /* counted in its holders, and a reference */
};

static void
hold_gone(struct isles_shared *shared)
{
    struct hold *hold = (struct hold *)shared;
    isles__gate_drop(hold->interp);
    isles_interp_unref(hold->interp);
    free(hold);
}

int
isles__gate_attach(struct isles_interp *interp, struct isles_message *message, uint32_t *index)
{
    struct hold *hold = malloc(sizeof(*hold));
    if (hold == NULL) {
        return ISLES_NO_MEMORY;
    }
    isles_shared_init(&hold->shared, ISLES_HOLD, hold_gone);
    isles_interp_ref(interp);
    isles__gate_hold(interp);
    hold->interp = interp;
    int status = isles_message_attach(message, &hold->shared, index);
    if (status < 0) {
        isles_shared_unref(&hold->shared);
    }
    return status;
}
