/* Queues from many threads at once, with random timeouts, signals and yields: nothing is lost or
 * comes twice, each writer's items stay in order, nobody sleeps on. */
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "parcel.h"

enum { WRITERS = 4, READERS = 4, ITEMS = 4000 };
#define ALL (WRITERS * (int64_t)ITEMS)

static struct isles_queue *queue;
static atomic_llong received, sum;
static atomic_int writers_left;

static uint32_t
seed_of(void *arg)
{
    return ((uint32_t)(intptr_t)arg + 1) * 2654435761u;
}

/* Never, at once, or so soon that the deadline often meets what it waits for. */
static int64_t
some_deadline(uint32_t *seed)
{
    switch (random_next(seed) % 4) {
    case 0:
        return ISLES_AT_ONCE;
    case 1:
        return ISLES_NEVER;
    default:
        return isles_now() + random_next(seed) % 60000;
    }
}

/* ---- put and get ---- */

static void
write_items(int64_t writer, uint32_t *seed)
{
    for (int64_t i = 0; i < ITEMS;) {
        int count = 1 + (int)(random_next(seed) % 3);
        if (count > ITEMS - i) {
            count = (int)(ITEMS - i);
        }
        struct isles_parcel *chain = chain_of(writer << 32 | i, count);
        i += count;
        while (chain != NULL) {
            int status = isles_queue_put(queue, &chain, some_deadline(seed));
            CHECK(status == 0 || status == ISLES_TIMED_OUT || status == ISLES_INTERRUPTED);
            CHECK((status == 0) == (chain == NULL));
            random_yield(seed);
        }
    }
    if (atomic_fetch_sub(&writers_left, 1) == 1) {
        isles_queue_shut_down(queue, false);
    }
}

static void
read_items(uint32_t *seed)
{
    int64_t last[WRITERS];
    memset(last, -1, sizeof(last));
    for (;;) {
        struct isles_parcel *parcels;
        size_t max = 1 + random_next(seed) % 3;
        int status = isles_queue_get(queue, max, &parcels, some_deadline(seed));
        if (status == ISLES_SHUT_DOWN) {
            return;
        }
        CHECK(status == 0 || status == ISLES_TIMED_OUT || status == ISLES_INTERRUPTED);
        CHECK((status == 0) == (parcels != NULL));
        for (const struct isles_parcel *p = parcels; p != NULL; p = p->next, max--) {
            int64_t number = number_in(p), writer = number >> 32, item = number & 0xffffffff;
            CHECK(max > 0 && item > last[writer]);
            last[writer] = item;
            atomic_fetch_add(&received, 1);
            atomic_fetch_add(&sum, item);
        }
        isles_parcels_free(parcels);
        random_yield(seed);
    }
}

static void *
take_part(void *arg)
{
    uint32_t seed = seed_of(arg);
    if ((intptr_t)arg < WRITERS) {
        write_items((intptr_t)arg, &seed);
    } else {
        read_items(&seed);
    }
    return NULL;
}

static void
on_signal(int number)
{
    (void)number;
}

static atomic_bool calm;

/* Interrupts waits; the signal goes to whichever thread the kernel picks. */
static void *
disturb(void *arg)
{
    uint32_t seed = seed_of(arg);
    while (!atomic_load(&calm)) {
        kill(getpid(), SIGUSR1);
        isles_sleep(random_next(&seed) % 100000);
    }
    return NULL;
}

static void
test_nothing_lost(int64_t maxsize)
{
    pthread_t disturber;
    queue = isles_queue_new(maxsize, ISLES_UNBOUND_REPLACE);
    received = sum = 0;
    writers_left = WRITERS;
    calm = false;
    CHECK(pthread_create(&disturber, NULL, disturb, NULL) == 0);
    run_threads(WRITERS + READERS, take_part);
    calm = true;
    CHECK(pthread_join(disturber, NULL) == 0);
    CHECK(received == ALL && sum == WRITERS * (int64_t)ITEMS * (ITEMS - 1) / 2);
    CHECK(isles_queue_count(queue) == 0);
    isles_shared_unref(&queue->shared);
}

/* ---- there and back, each with no deadline: a lost wake-up would hang ---- */

static struct isles_queue *there, *back;

static void *
echo(void *arg)
{
    int64_t number;
    for (int i = 0; i < 20000; i++) {
        if (arg == NULL) {
            CHECK(put_number(there, i, ISLES_NEVER) == 0);
            CHECK(get_number(back, &number, ISLES_NEVER) == 0 && number == i);
        } else {
            CHECK(get_number(there, &number, ISLES_NEVER) == 0 && number == i);
            CHECK(put_number(back, number, ISLES_NEVER) == 0);
        }
    }
    return NULL;
}

static void
test_there_and_back(void)
{
    there = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
    back = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
    run_threads(2, echo);
    isles_shared_unref(&there->shared);
    isles_shared_unref(&back->shared);
}

/* ---- who waits is served in order ---- */

static atomic_int arrived;

static size_t
waiting(const struct isles_link *list)
{
    size_t count = 0;
    isles_mutex_lock(&queue->lock);
    for (const struct isles_link *link = list->next; link != list; link = link->next) {
        count++;
    }
    isles_mutex_unlock(&queue->lock);
    return count;
}

static void
wait_for_turn(const struct isles_link *list, intptr_t turn)
{
    while (waiting(list) != (size_t)turn) {
        sched_yield();
    }
}

static void *
get_in_turn(void *arg)
{
    int64_t number;
    if ((intptr_t)arg == READERS) { /* the writer */
        wait_for_turn(&queue->readers, READERS);
        struct isles_parcel *chain = chain_of(0, READERS);
        CHECK(isles_queue_put(queue, &chain, ISLES_AT_ONCE) == 0);
        return NULL;
    }
    wait_for_turn(&queue->readers, (intptr_t)arg);
    CHECK(get_number(queue, &number, ISLES_NEVER) == 0 && number == (intptr_t)arg);
    return NULL;
}

static void *
put_in_turn(void *arg)
{
    int64_t number;
    if ((intptr_t)arg == WRITERS) { /* the reader */
        wait_for_turn(&queue->writers, WRITERS);
        for (int64_t i = -1; i < WRITERS; i++) {
            CHECK(get_number(queue, &number, ISLES_NEVER) == 0 && number == i);
        }
        return NULL;
    }
    wait_for_turn(&queue->writers, (intptr_t)arg);
    CHECK(put_number(queue, (intptr_t)arg, ISLES_NEVER) == 0);
    return NULL;
}

static void
test_in_turn(void)
{
    for (int round = 0; round < 50; round++) {
        queue = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
        run_threads(READERS + 1, get_in_turn);
        CHECK(put_number(queue, -1, ISLES_AT_ONCE) == 0);
        run_threads(WRITERS + 1, put_in_turn);
        isles_shared_unref(&queue->shared);
    }
}

/* ---- other ways to be served ---- */

static void *
wait_for_what_comes_back(void *arg)
{
    int64_t number;
    if ((intptr_t)arg == 0) {
        wait_for_turn(&queue->readers, 2);
        isles_queue_put_back(queue, chain_of(1, 3));
    } else {
        CHECK(get_number(queue, &number, ISLES_NEVER) == 0 && (number == 1 || number == 2));
    }
    return NULL;
}

static void *
wait_for_what_is_removed(void *arg)
{
    if ((intptr_t)arg == 0) {
        wait_for_turn(&queue->writers, 1);
        isles_queues_sweep(1);
    } else {
        CHECK(put_number(queue, 4, ISLES_NEVER) == 0);
    }
    return NULL;
}

static void
test_other_ways(void)
{
    int64_t number;
    queue = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
    run_threads(3, wait_for_what_comes_back);
    CHECK(get_number(queue, &number, ISLES_AT_ONCE) == 0 && number == 3);
    struct isles_parcel *parcel = parcel_of(0);
    parcel->sender = 1;
    parcel->unbound = ISLES_UNBOUND_REMOVE;
    CHECK(isles_queue_put(queue, &parcel, ISLES_AT_ONCE) == 0);
    run_threads(2, wait_for_what_is_removed);
    CHECK(get_number(queue, &number, ISLES_AT_ONCE) == 0 && number == 4);
    isles_shared_unref(&queue->shared);
}

/* ---- shutting down wakes everybody ---- */

static atomic_int woken;
static bool at_once;

static void *
wait_for_the_end(void *arg)
{
    uint32_t seed = seed_of(arg);
    int64_t number;
    struct isles_watch watch = {.queue = there};
    switch ((intptr_t)arg) {
    case 0:
        while (atomic_load(&arrived) < 6) {
            sched_yield();
        }
        random_yield(&seed);
        isles_queue_shut_down(queue, at_once);
        isles_queue_shut_down(there, at_once);
        return NULL;
    case 1:
    case 2:
        atomic_fetch_add(&arrived, 1);
        CHECK(put_number(queue, 1, ISLES_NEVER) == ISLES_SHUT_DOWN); /* full */
        break;
    case 3:
    case 4:
        atomic_fetch_add(&arrived, 1);
        CHECK(get_number(there, &number, ISLES_NEVER) == ISLES_SHUT_DOWN); /* empty */
        break;
    default:
        atomic_fetch_add(&arrived, 1);
        CHECK(isles_queues_wait(&watch, 1, ISLES_NEVER) == 0 && watch.ready);
    }
    atomic_fetch_add(&woken, 1);
    return NULL;
}

static void
test_shut_down_wakes_all(void)
{
    for (int round = 0; round < 200; round++) {
        queue = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
        there = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
        CHECK(put_number(queue, 0, ISLES_AT_ONCE) == 0);
        arrived = woken = 0;
        at_once = round % 2;
        run_threads(7, wait_for_the_end);
        CHECK(woken == 6);
        isles_shared_unref(&queue->shared);
        isles_shared_unref(&there->shared);
    }
}

/* ---- several queues ---- */

enum { SEVERAL = 3 };
static struct isles_queue *several[SEVERAL];

static void
write_to_several(uint32_t *seed)
{
    for (int i = 0; i < ITEMS; i++) {
        CHECK(put_number(several[random_next(seed) % SEVERAL], i, ISLES_NEVER) == 0);
        random_yield(seed);
    }
    if (atomic_fetch_sub(&writers_left, 1) == 1) {
        for (int i = 0; i < SEVERAL; i++) {
            isles_queue_shut_down(several[i], false);
        }
    }
}

static void
read_from_several(uint32_t *seed)
{
    struct isles_watch watches[SEVERAL];
    for (int open = SEVERAL; open > 0;) {
        for (int i = 0; i < SEVERAL; i++) {
            watches[i].queue = several[i];
        }
        int64_t deadline = random_next(seed) % 2 ? ISLES_NEVER : isles_now() + 50000;
        int status = isles_queues_wait(watches, SEVERAL, deadline);
        CHECK(status == 0 || (status == ISLES_TIMED_OUT && deadline != ISLES_NEVER));
        open = SEVERAL;
        for (int i = 0; i < SEVERAL; i++) {
            int64_t number;
            status =
                watches[i].ready ? get_number(several[i], &number, ISLES_AT_ONCE) : ISLES_TIMED_OUT;
            received += status == 0;
            open -= status == ISLES_SHUT_DOWN;
        }
    }
}

static void *
use_several(void *arg)
{
    uint32_t seed = seed_of(arg);
    if ((intptr_t)arg < 2) {
        write_to_several(&seed);
    } else {
        read_from_several(&seed);
    }
    return NULL;
}

static void
test_several(void)
{
    for (int i = 0; i < SEVERAL; i++) {
        several[i] = isles_queue_new(i == 0 ? 2 : 0, ISLES_UNBOUND_REPLACE);
    }
    received = 0;
    writers_left = 2;
    run_threads(4, use_several);
    CHECK(received == 2 * ITEMS);
    for (int i = 0; i < SEVERAL; i++) {
        isles_shared_unref(&several[i]->shared);
    }
}

/* ---- queues come and go, interpreters end, while others look ---- */

static void
be_busy(int64_t me, uint32_t *seed)
{
    struct isles_queue *mine = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    int64_t id = mine->id;
    for (int i = 0; i < 20; i++) {
        struct isles_parcel *parcel = parcel_of(i);
        parcel->sender = me;
        parcel->unbound = 1 + (int)(random_next(seed) % 3);
        CHECK(isles_queue_put(mine, &parcel, ISLES_NEVER) == 0);
        random_yield(seed);
    }
    struct isles_queue *found = isles_queue_find(id);
    CHECK(found == mine);
    isles_shared_unref(&found->shared);
    for (struct isles_queue *at = isles_queue_next(NULL); at != NULL; at = isles_queue_next(at)) {
        struct isles_parcel *parcels;
        if (isles_queue_get(at, 2, &parcels, ISLES_AT_ONCE) == 0) {
            CHECK(parcels->sender == ISLES_SENDER_ENDED || parcels->sender > 0);
            isles_parcels_free(parcels);
        }
    }
    isles_queues_sweep(me);
    struct isles_parcel *rest;
    if (isles_queue_get(mine, SIZE_MAX, &rest, ISLES_AT_ONCE) == 0) {
        for (const struct isles_parcel *p = rest; p != NULL; p = p->next) {
            CHECK(p->sender == ISLES_SENDER_ENDED && p->unbound != ISLES_UNBOUND_REMOVE);
        }
        isles_parcels_free(rest);
    }
    isles_shared_unref(&mine->shared);
    CHECK((found = isles_queue_find(id)) == NULL || found == mine);
    if (found != NULL) { /* another one holds it just now */
        isles_shared_unref(&found->shared);
    }
}

static void *
come_and_go(void *arg)
{
    uint32_t seed = seed_of(arg);
    for (int round = 0; round < 100; round++) {
        be_busy((intptr_t)arg + 1, &seed);
    }
    return NULL;
}

int
main(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    test_nothing_lost(0);
    test_nothing_lost(1);
    test_nothing_lost(5);
    test_there_and_back();
    test_in_turn();
    test_other_ways();
    test_shut_down_wakes_all();
    test_several();
    run_threads(6, come_and_go);
    CHECK(isles_queue_next(NULL) == NULL);
    return 0;
}
