#include <stdlib.h>

#include "../core/status.h"
#include "errors.h"
#include "queues_parts.h"
#include "signals.h"

int
isles__queue_wait(int (*attempt)(void *, int64_t), void *arg, int64_t deadline)
{
    int status;
    do {
        isles__signals_parked(true);
        Py_BEGIN_ALLOW_THREADS
            status = attempt(arg, deadline);
        Py_END_ALLOW_THREADS
        isles__signals_parked(false);
    } while (status == ISLES_INTERRUPTED && isles__signals_check() == 0);
    return status;
}

/* ---- several queues ---- */

struct watching {
    struct isles_watch *watches;
    size_t count;
};

static int
watch_attempt(void *arg, int64_t deadline)
{
    const struct watching *watching = arg;
    return isles_queues_wait(watching->watches, watching->count, deadline);
}

/* A watch for each of a list of queues, in memory of malloc; NULL with an exception. */
static struct isles_watch *
watches_for(const struct isles_state *state, PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    struct isles_watch *watches = calloc((size_t)count, sizeof(*watches));
    if (watches == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GET_ITEM(list, i);
        if (!Py_IS_TYPE(item, state->queue_type)) {
            PyErr_Format(PyExc_TypeError, "wait() needs queues, not %T", item);
            free(watches);
            return NULL;
        }
        watches[i].queue = isles__queue_of(item);
    }
    return watches;
}

static PyObject *
ready_ones(PyObject *list, const struct isles_watch *watches)
{
    PyObject *ready = PyList_New(0);
    for (Py_ssize_t i = 0; ready != NULL && i < PyList_GET_SIZE(list); i++) {
        if (watches[i].ready && PyList_Append(ready, PyList_GET_ITEM(list, i)) < 0) {
            Py_CLEAR(ready);
        }
    }
    return ready;
}

PyObject *
isles__queues_ready(struct isles_state *state, PyObject *list, int64_t deadline)
{
    struct watching watching = {watches_for(state, list), (size_t)PyList_GET_SIZE(list)};
    PyObject *ready = NULL;
    if (watching.watches != NULL) {
        int status = isles__queue_attempt(watch_attempt, &watching, deadline);
        if (status == 0 || status == ISLES_TIMED_OUT) {
            ready = ready_ones(list, watching.watches);
        } else if (status != ISLES_INTERRUPTED) {
            isles__raise_status(state, status, -1);
        }
    }
    free(watching.watches);
    return ready;
}
