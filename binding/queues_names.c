#include "../core/status.h"
#include "errors.h"
#include "queues_parts.h"

PyObject *
isles__queue_named(struct isles_state *state, const char *name)
{
    if (state->queues_module == NULL) {
        state->queues_module = PyImport_ImportModule("isles.queues");
    }
    return state->queues_module ? PyObject_GetAttrString(state->queues_module, name) : NULL;
}

static void
raise_named(struct isles_state *state, const char *name, const struct isles_queue *queue,
            const char *what)
{
    PyObject *type = isles__queue_named(state, name);
    if (type != NULL) {
        PyErr_Format(type, "queue %lld %s", (long long)queue->id, what);
        Py_DECREF(type);
    }
}

PyObject *
isles__queue_raise(struct isles_state *state, int status, const struct isles_queue *queue,
                   bool putting)
{
    switch (status) {
    case ISLES_INTERRUPTED: /* what the signal's handler raised is set */
        break;
    case ISLES_TIMED_OUT:
        raise_named(state, putting ? "QueueFull" : "QueueEmpty", queue,
                    putting ? "is full" : "is empty");
        break;
    case ISLES_SHUT_DOWN:
        raise_named(state, "ShutDown", queue, isles_status_text(status));
        break;
    default:
        isles__raise_status(state, status, -1);
    }
    return NULL;
}

/* The constants by what they stand for in core/. */
static const char *const unbound_names[] = {
    [ISLES_UNBOUND_REMOVE] = "UNBOUND_REMOVE",
    [ISLES_UNBOUND_ERROR] = "UNBOUND_ERROR",
    [ISLES_UNBOUND_REPLACE] = "UNBOUND",
};

PyObject *
isles__queue_unbound_constant(struct isles_state *state, int unbound)
{
    return isles__queue_named(state, unbound_names[unbound]);
}

int
isles__queue_unbound(struct isles_state *state, PyObject *object, bool or_none, int *unbound)
{
    if (object == NULL || (or_none && object == Py_None)) {
        return 0;
    }
    for (int i = ISLES_UNBOUND_REMOVE; i <= ISLES_UNBOUND_REPLACE; i++) {
        PyObject *constant = isles__queue_unbound_constant(state, i);
        if (constant == NULL) {
            return -1;
        }
        Py_DECREF(constant);
        if (constant == object) {
            *unbound = i;
            return 0;
        }
    }
    PyErr_Format(PyExc_NotImplementedError, "unsupported unbound replacement op %R", object);
    return -1;
}
