#include "queue_parts.h"
#include "registry.h"
#include "registry_threads.h"

static bool
watch_all(struct isles_watch *watches, size_t count, atomic_uint *word)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct isles_queue *queue = watches[i].queue;
        watches[i].word = word;
        isles__queue_lock(queue);
        isles__list_append(&queue->watches, &watches[i].link);
        any = any || queue->first != NULL || queue->shut_down;
        isles__queue_unlock(queue);
    }
    return any;
}

static bool
unwatch_all(struct isles_watch *watches, size_t count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct isles_queue *queue = watches[i].queue;
        isles__queue_lock(queue);
        isles__list_remove(&watches[i].link);
        watches[i].ready = queue->first != NULL || queue->shut_down;
        isles__queue_unlock(queue);
        any = any || watches[i].ready;
    }
    return any;
}

int
isles_queues_wait(struct isles_watch *watches, size_t count, int64_t deadline)
{
    for (;;) {
        atomic_uint word = 0;
        int status = deadline == ISLES_AT_ONCE ? ISLES_TIMED_OUT : ISLES_OK;
        bool any = watch_all(watches, count, &word);
        /* Asked once we are on the lists, as for one queue. */
        if (status == 0 && isles_registry_exiting()) {
            status = ISLES_EXITING;
        }
        while (!any && status == 0 && atomic_load_explicit(&word, memory_order_acquire) == 0) {
            status = isles_thread_wait(&word, deadline);
        }
        if (unwatch_all(watches, count)) {
            return ISLES_OK;
        }
        if (status < 0) {
            return status;
        }
        /* What woke us, another reader took. */
    }
}
