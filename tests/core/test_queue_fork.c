/* fork() while other threads put, get and wait: the child finds every queue whole, nobody waiting,
 * and only main's items as they were. */
#include <sys/wait.h>
#include <unistd.h>

#include "parcel.h"

static struct isles_queue *busy, *empty, *full, *mixed;
static atomic_bool stop;

/* In the queue's lock most of the time. */
static void
use_busily(void)
{
    struct isles_parcel *parcels = NULL;
    for (int i = 0; i < 1000; i++) {
        (void)isles_queue_get(busy, 200, &parcels, ISLES_AT_ONCE);
        parcels = parcels ? parcels : chain_of(1, 200);
        CHECK(isles_queue_put(busy, &parcels, ISLES_AT_ONCE) == 0);
    }
}

static void *
use(void *arg)
{
    int64_t number;
    struct isles_watch watch = {.queue = empty};
    while (!atomic_load(&stop)) {
        switch ((intptr_t)arg) {
        case 0:
            (void)get_number(empty, &number, isles_now() + 3000000);
            break;
        case 1:
            (void)put_number(full, 1, isles_now() + 3000000);
            break;
        case 2:
            (void)isles_queues_wait(&watch, 1, isles_now() + 3000000);
            break;
        case 3:
            use_busily();
            break;
        default:
            isles_shared_unref(&isles_queue_new(0, ISLES_UNBOUND_REPLACE)->shared);
        }
    }
    return NULL;
}

static void
check_mixed(bool child)
{
    static const int64_t senders[] = {0, 0, ISLES_SENDER_ENDED, ISLES_SENDER_ENDED, 0};
    struct isles_parcel *parcels;
    CHECK(isles_queue_count(mixed) == (child ? 5 : 6));
    CHECK(isles_queue_get(mixed, 9, &parcels, ISLES_AT_ONCE) == 0);
    int i = 0;
    for (const struct isles_parcel *p = parcels; p != NULL; p = p->next, i++) {
        CHECK(!child || p->sender == senders[i]);
    }
    CHECK(i == (child ? 5 : 6));
    isles_parcels_free(parcels);
}

static void
check_child(void)
{
    int64_t number;
    struct isles_parcel *all;
    /* Whole: what is counted is what is there, and more fits behind it. */
    size_t count = isles_queue_count(busy);
    if (isles_queue_get(busy, SIZE_MAX, &all, ISLES_AT_ONCE) == 0) {
        for (const struct isles_parcel *p = all; p != NULL; p = p->next) {
            CHECK(number_in(p) >= 1 && number_in(p) <= 200);
            count--;
        }
        isles_parcels_free(all);
    }
    CHECK(count == 0 && put_number(busy, 77, ISLES_AT_ONCE) == 0);
    CHECK(get_number(busy, &number, ISLES_AT_ONCE) == 0 && number == 77);
    /* Nobody of the parent is served. */
    CHECK(put_number(empty, 5, ISLES_AT_ONCE) == 0 && isles_queue_count(empty) == 1);
    CHECK(get_number(empty, &number, ISLES_AT_ONCE) == 0 && number == 5);
    CHECK(get_number(full, &number, ISLES_AT_ONCE) == 0 && number == 0);
    CHECK(isles_queue_count(full) == 0);
    CHECK(get_number(full, &number, isles_now() + 1000000) == ISLES_TIMED_OUT);
    check_mixed(true);
    struct isles_queue *fresh = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    CHECK(fresh != NULL);
    isles_shared_unref(&fresh->shared);
}

static void
fork_once(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        alarm(20); /* a mutex that is held for ever would hang here */
        check_child();
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
put_mixed(void)
{
    static const struct {
        int64_t sender;
        int unbound;
    } items[] = {{0, ISLES_UNBOUND_REPLACE}, {0, ISLES_UNBOUND_REMOVE}, {1, ISLES_UNBOUND_ERROR},
                 {2, ISLES_UNBOUND_REPLACE}, {0, ISLES_UNBOUND_ERROR},  {3, ISLES_UNBOUND_REMOVE}};
    for (int i = 0; i < 6; i++) {
        struct isles_parcel *parcel = parcel_of(i);
        parcel->sender = items[i].sender;
        parcel->unbound = items[i].unbound;
        CHECK(isles_queue_put(mixed, &parcel, ISLES_AT_ONCE) == 0);
    }
}

int
main(void)
{
    busy = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    empty = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    full = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
    mixed = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    CHECK(put_number(full, 0, ISLES_AT_ONCE) == 0);
    put_mixed();
    pthread_t threads[6];
    for (int i = 0; i < 6; i++) {
        CHECK(pthread_create(&threads[i], NULL, use, (void *)(intptr_t)i) == 0);
    }
    for (int i = 0; i < 60; i++) {
        fork_once();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 6; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    check_mixed(false); /* the parent noticed nothing */
    isles_shared_unref(&busy->shared);
    isles_shared_unref(&empty->shared);
    isles_shared_unref(&full->shared);
    isles_shared_unref(&mixed->shared);
    return 0;
}
