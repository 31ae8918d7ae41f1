/* The process exits: who waits gets away, and nobody waits again but the exiting thread. */
#include "parcel.h"
#include "registry.h"

enum { THREADS = 6 };

static struct isles_queue *empty, *full;
static atomic_int arrived, away;

static void
no_fork(void)
{
}

static int
wait_on(intptr_t which)
{
    int64_t number;
    struct isles_watch watch = {.queue = empty};
    switch (which % 3) {
    case 0:
        return get_number(empty, &number, ISLES_NEVER);
    case 1:
        return put_number(full, 1, ISLES_NEVER);
    default:
        return isles_queues_wait(&watch, 1, ISLES_NEVER);
    }
}

static void *
wait_again_and_again(void *arg)
{
    atomic_fetch_add(&arrived, 1);
    CHECK(wait_on((intptr_t)arg) == ISLES_EXITING);
    CHECK(wait_on((intptr_t)arg) == ISLES_EXITING);
    CHECK(put_number(full, 1, ISLES_AT_ONCE) == ISLES_TIMED_OUT); /* what needs no waiting works */
    atomic_fetch_add(&away, 1);
    return NULL;
}

int
main(void)
{
    int64_t number;
    pthread_t threads[THREADS];
    CHECK(isles_registry_init(no_fork) == 0);
    empty = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    full = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
    CHECK(put_number(full, 0, ISLES_AT_ONCE) == 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, wait_again_and_again, (void *)(intptr_t)i) == 0);
        if (i == THREADS / 2) { /* some wait already, some don't yet */
            isles_sleep(20000000);
        }
    }
    while (atomic_load(&arrived) < THREADS) {
        sched_yield();
    }
    isles_registry_exit_begin();
    isles_queues_exit();
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(away == THREADS);
    CHECK(get_number(empty, &number, isles_now() + 1000000) == ISLES_TIMED_OUT);
    isles_shared_unref(&empty->shared);
    isles_shared_unref(&full->shared);
    return 0;
}
