/* A queue on one thread: what the assertions find, order, bounds, shutting down, putting back,
 * items whose interpreter has ended, ids and references, allocations that fail. */
#include "parcel.h"

#include "failing_alloc.h"
#include "queue_all.c"     /* NOLINT: so that its allocations can fail */
#include "queue_pending.c" /* NOLINT: likewise */

static void
check_empty(struct isles_queue *queue)
{
    struct isles_parcel *parcels;
    CHECK(isles_queue_count(queue) == 0);
    CHECK(isles_queue_get(queue, 5, &parcels, ISLES_AT_ONCE) == ISLES_TIMED_OUT);
    CHECK(parcels == NULL);
}

static void
check_gets(struct isles_queue *queue, int64_t from, int64_t to)
{
    for (int64_t number, expected = from; expected < to; expected++) {
        CHECK(get_number(queue, &number, ISLES_AT_ONCE) == 0 && number == expected);
    }
}

static void
test_order(void)
{
    struct isles_queue *queue = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    check_empty(queue);
    for (int i = 0; i < 100; i++) {
        CHECK(put_number(queue, i, ISLES_AT_ONCE) == 0);
    }
    CHECK(isles_queue_count(queue) == 100 && !isles_queue_is_full(queue));
    check_gets(queue, 0, 40);
    struct isles_parcel *parcels;
    CHECK(isles_queue_get(queue, 20, &parcels, ISLES_NEVER) == 0);
    int64_t expected = 40;
    for (const struct isles_parcel *p = parcels; p != NULL; p = p->next) {
        CHECK(number_in(p) == expected++);
    }
    CHECK(expected == 60);
    isles_parcels_free(parcels);
    check_gets(queue, 60, 90);
    CHECK(isles_queue_get(queue, 1000, &parcels, ISLES_AT_ONCE) == 0);
    CHECK(number_in(parcels) == 90);
    isles_parcels_free(parcels);
    check_empty(queue);
    CHECK(put_number(queue, 7, ISLES_AT_ONCE) == 0);
    check_gets(queue, 7, 8);
    isles_shared_unref(&queue->shared);
}

/* Each way to be broken is found, and the queue is whole again. */
#define BREAK(what, how, mend)                                                                     \
    do {                                                                                           \
        CHECK(isles__queue_is_valid(queue));                                                       \
        how;                                                                                       \
        CHECK(!isles__queue_is_valid(queue));                                                      \
        mend;                                                                                      \
        CHECK(isles__queue_is_valid(queue));                                                       \
    } while (0)

static void
test_validator(void)
{
    struct isles_queue *queue = isles_queue_new(2, ISLES_UNBOUND_REPLACE);
    struct isles_waiter waiter = {.listed = true};
    CHECK(isles__queue_is_valid(queue));
    BREAK("count", queue->count = 1, queue->count = 0);
    BREAK("emptied, but open", queue->emptied = true, queue->emptied = false);
    isles__list_append(&queue->readers, &waiter.link);
    BREAK("decided, but listed", waiter.listed = false, waiter.listed = true);
    BREAK("waits for nothing", queue->shut_down = true, queue->shut_down = false);
    BREAK("link", waiter.link.prev = NULL, waiter.link.prev = &queue->readers);
    isles__list_remove(&waiter.link);
    CHECK(put_number(queue, 1, ISLES_AT_ONCE) == 0 && put_number(queue, 2, ISLES_AT_ONCE) == 0);
    struct isles_parcel *last = queue->last;
    BREAK("last", queue->last = queue->first, queue->last = last);
    BREAK("a reader beside items", isles__list_append(&queue->readers, &waiter.link),
          isles__list_remove(&waiter.link));
    BREAK("a writer with nothing", isles__list_append(&queue->writers, &waiter.link),
          isles__list_remove(&waiter.link));
    waiter.parcels = last;
    isles__list_append(&queue->writers, &waiter.link);
    BREAK("a writer beside room", queue->maxsize = 3, queue->maxsize = 2);
    isles__list_remove(&waiter.link);
    for (int i = 0; i < 100; i++) {
        struct isles_parcel *more = chain_of(i, i + 1);
        CHECK(isles_queue_put(queue, &more, ISLES_FULL_OR_NOT) == 0);
    }
    last = queue->last;
    BREAK("last of many", queue->last = queue->first, queue->last = last);
    isles_shared_unref(&queue->shared);
}

static void
test_bounds(void)
{
    struct isles_queue *queue = isles_queue_new(3, ISLES_UNBOUND_REPLACE);
    struct isles_parcel *chain = chain_of(0, 5);
    CHECK(isles_queue_put(queue, &chain, ISLES_AT_ONCE) == ISLES_TIMED_OUT);
    CHECK(number_in(chain) == 3 && number_in(chain->next) == 4 && chain->next->next == NULL);
    CHECK(isles_queue_is_full(queue) && isles_queue_count(queue) == 3);
    CHECK(isles_queue_put(queue, &chain, isles_now() + 1000000) == ISLES_TIMED_OUT);
    check_gets(queue, 0, 1);
    CHECK(isles_queue_put(queue, &chain, isles_now() + 1000000) == ISLES_TIMED_OUT);
    CHECK(number_in(chain) == 4 && chain->next == NULL);
    check_gets(queue, 1, 4);
    CHECK(isles_queue_put(queue, &chain, ISLES_AT_ONCE) == 0 && chain == NULL);
    check_gets(queue, 4, 5);
    check_empty(queue);
    isles_shared_unref(&queue->shared);
}

static void
test_full_or_not(void)
{
    struct isles_queue *queue = isles_queue_new(2, ISLES_UNBOUND_REPLACE);
    struct isles_parcel *chain = chain_of(0, 5);
    CHECK(isles_queue_put(queue, &chain, ISLES_FULL_OR_NOT) == 0 && chain == NULL);
    CHECK(isles_queue_is_full(queue) && isles_queue_count(queue) == 5);
    CHECK(put_number(queue, 9, ISLES_AT_ONCE) == ISLES_TIMED_OUT);
    check_gets(queue, 0, 4);
    CHECK(put_number(queue, 5, ISLES_AT_ONCE) == 0);
    check_gets(queue, 4, 6);
    isles_queue_shut_down(queue, false);
    CHECK(put_number(queue, 6, ISLES_FULL_OR_NOT) == ISLES_SHUT_DOWN);
    isles_shared_unref(&queue->shared);
}

static void
test_deadlines(void)
{
    struct isles_queue *queue = isles_queue_new(1, ISLES_UNBOUND_REPLACE);
    int64_t number, start = isles_now();
    CHECK(get_number(queue, &number, start + 20000000) == ISLES_TIMED_OUT);
    CHECK(isles_now() - start >= 20000000);
    CHECK(get_number(queue, &number, 1) == ISLES_TIMED_OUT); /* long past */
    CHECK(put_number(queue, 1, ISLES_NEVER) == 0);
    start = isles_now();
    CHECK(put_number(queue, 2, start + 20000000) == ISLES_TIMED_OUT);
    CHECK(isles_now() - start >= 20000000 && isles_queue_count(queue) == 1);
    isles_shared_unref(&queue->shared);
}

static void
test_shut_down(void)
{
    struct isles_queue *queue = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    int64_t number;
    CHECK(put_number(queue, 0, ISLES_AT_ONCE) == 0 && put_number(queue, 1, ISLES_AT_ONCE) == 0);
    isles_queue_shut_down(queue, false);
    CHECK(put_number(queue, 2, ISLES_NEVER) == ISLES_SHUT_DOWN);
    check_gets(queue, 0, 1);
    struct isles_parcel *back;
    CHECK(isles_queue_get(queue, 1, &back, ISLES_NEVER) == 0);
    isles_queue_put_back(queue, back);
    check_gets(queue, 1, 2);
    CHECK(get_number(queue, &number, ISLES_NEVER) == ISLES_SHUT_DOWN);
    isles_queue_shut_down(queue, true);
    CHECK(get_number(queue, &number, ISLES_AT_ONCE) == ISLES_SHUT_DOWN);
    isles_shared_unref(&queue->shared);
}

static void
test_shut_down_at_once(void)
{
    struct isles_queue *queue = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    struct isles_parcel *taken;
    int64_t number;
    CHECK(put_number(queue, 0, ISLES_AT_ONCE) == 0 && put_number(queue, 1, ISLES_AT_ONCE) == 0);
    CHECK(isles_queue_get(queue, 1, &taken, ISLES_AT_ONCE) == 0);
    isles_queue_shut_down(queue, true);
    CHECK(isles_queue_count(queue) == 0);
    isles_queue_put_back(queue, taken);
    CHECK(get_number(queue, &number, ISLES_NEVER) == ISLES_SHUT_DOWN);
    isles_shared_unref(&queue->shared);
}

static void
test_put_back(void)
{
    struct isles_queue *queue = isles_queue_new(3, ISLES_UNBOUND_REPLACE);
    struct isles_parcel *chain = chain_of(0, 3), *taken;
    CHECK(isles_queue_put(queue, &chain, ISLES_AT_ONCE) == 0);
    CHECK(isles_queue_get(queue, 2, &taken, ISLES_AT_ONCE) == 0);
    CHECK(put_number(queue, 3, ISLES_AT_ONCE) == 0 && put_number(queue, 4, ISLES_AT_ONCE) == 0);
    isles_queue_put_back(queue, taken);
    CHECK(isles_queue_count(queue) == 5 && isles_queue_is_full(queue));
    check_gets(queue, 0, 2);
    CHECK(put_number(queue, 9, ISLES_AT_ONCE) == ISLES_TIMED_OUT);
    CHECK(isles_queue_get(queue, 9, &taken, ISLES_AT_ONCE) == 0);
    isles_queue_put_back(queue, taken);
    CHECK(put_number(queue, 9, ISLES_AT_ONCE) == ISLES_TIMED_OUT);
    check_gets(queue, 2, 5);
    check_empty(queue);
    isles_queue_put_back(queue, chain_of(5, 2)); /* into an empty one */
    CHECK(put_number(queue, 7, ISLES_AT_ONCE) == 0);
    check_gets(queue, 5, 8);
    check_empty(queue);
    isles_shared_unref(&queue->shared);
}

/* ---- interpreters that end ---- */

static int gone;

static void
count_gone(struct isles_shared *shared)
{
    (void)shared;
    gone++;
}

static struct isles_shared attached[50];

static void
put_from(struct isles_queue *queue, int64_t sender, int unbound, struct isles_shared *shared)
{
    struct isles_message message;
    uint32_t index;
    isles_message_init(&message);
    CHECK(isles_buffer_extend(&message.bytes, shared ? 1000 : 10) != NULL);
    if (shared != NULL) {
        isles_shared_init(shared, ISLES_BLOCK, count_gone);
        CHECK(isles_message_attach(&message, shared, &index) == 0);
    }
    struct isles_parcel *parcel = isles_message_pack(&message);
    parcel->sender = sender;
    parcel->unbound = unbound;
    CHECK(isles_queue_put(queue, &parcel, ISLES_AT_ONCE) == 0);
}

static void
test_sweep(void)
{
    static const int unbounds[] = {ISLES_UNBOUND_REMOVE, ISLES_UNBOUND_ERROR,
                                   ISLES_UNBOUND_REPLACE};
    struct isles_queue *queue = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    gone = 0;
    for (int i = 0; i < 150; i++) { /* senders 0, 1, 2; those of 1 hold something */
        put_from(queue, i % 3, unbounds[i / 3 % 3], i % 3 == 1 ? &attached[i / 3] : NULL);
    }
    isles_queues_sweep(1);
    CHECK(gone == 50);
    CHECK(isles_queue_count(queue) == 150 - 17);
    for (int i = 0; i < 150; i++) {
        struct isles_parcel *parcel;
        int unbound = unbounds[i / 3 % 3];
        if (i % 3 == 1 && unbound == ISLES_UNBOUND_REMOVE) {
            continue;
        }
        CHECK(isles_queue_get(queue, 1, &parcel, ISLES_AT_ONCE) == 0);
        CHECK(parcel->sender == (i % 3 == 1 ? ISLES_SENDER_ENDED : i % 3));
        CHECK(parcel->unbound == unbound);
        CHECK(parcel->contents.size == (i % 3 == 1 ? 0 : 10));
        isles_parcel_free(parcel);
    }
    check_empty(queue);
    isles_shared_unref(&queue->shared);
}

static void
test_sweep_takes_the_last(void)
{
    struct isles_queue *queue = isles_queue_new(2, ISLES_UNBOUND_REPLACE);
    put_from(queue, 0, ISLES_UNBOUND_REMOVE, NULL);
    put_from(queue, 1, ISLES_UNBOUND_REMOVE, NULL);
    isles_queues_sweep(1);
    CHECK(isles_queue_count(queue) == 1 && !isles_queue_is_full(queue));
    put_from(queue, 2, ISLES_UNBOUND_REMOVE, NULL);
    isles_queues_sweep(2);
    CHECK(isles_queue_count(queue) == 1);
    put_from(queue, 3, ISLES_UNBOUND_REPLACE, NULL);
    struct isles_parcel *parcels;
    CHECK(isles_queue_get(queue, 9, &parcels, ISLES_AT_ONCE) == 0);
    CHECK(parcels->sender == 0 && parcels->next->sender == 3 && parcels->next->next == NULL);
    isles_parcels_free(parcels);
    put_from(queue, 1, ISLES_UNBOUND_REMOVE, NULL);
    isles_queues_sweep(1);
    check_empty(queue);
    CHECK(put_number(queue, 5, ISLES_AT_ONCE) == 0);
    check_gets(queue, 5, 6);
    isles_shared_unref(&queue->shared);
}

/* ---- ids and references ---- */

static void
test_ids(void)
{
    struct isles_queue *first = isles_queue_new(1, ISLES_UNBOUND_ERROR);
    struct isles_queue *second = isles_queue_new(-2, ISLES_UNBOUND_REMOVE);
    int64_t id = first->id;
    CHECK(id > 0 && second->id == id + 1);
    CHECK(isles_queue_find(id) == first);
    isles_shared_unref(&first->shared);
    CHECK(isles_queue_find(id + 2) == NULL && isles_queue_find(-1) == NULL);
    struct isles_queue *at = isles_queue_next(NULL);
    CHECK(at == first);
    at = isles_queue_next(at);
    CHECK(at == second);
    CHECK(isles_queue_next(at) == NULL);
    isles_shared_unref(&first->shared);
    CHECK(isles_queue_find(id) == NULL);
    CHECK(put_number(second, 1, ISLES_AT_ONCE) == 0); /* goes with the queue */
    isles_shared_unref(&second->shared);
    CHECK(isles_queue_next(NULL) == NULL);
}

static void
test_goes_with_what_it_holds(void)
{
    struct isles_queue *outer = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    struct isles_queue *inner = isles_queue_new(0, ISLES_UNBOUND_REPLACE);
    int64_t id = inner->id;
    struct isles_message message;
    uint32_t index;
    isles_message_init(&message);
    CHECK(isles_message_attach(&message, &inner->shared, &index) == 0); /* its only reference */
    struct isles_parcel *parcel = isles_message_pack(&message);
    CHECK(isles_queue_put(outer, &parcel, ISLES_AT_ONCE) == 0);
    CHECK(isles_queue_find(id) == inner);
    isles_shared_unref(&inner->shared);
    isles_queue_shut_down(outer, true);
    CHECK(isles_queue_find(id) == NULL);
    isles_shared_unref(&outer->shared);
}

static void
test_watch_on_one_thread(void)
{
    struct isles_queue *queues[2] = {isles_queue_new(0, 1), isles_queue_new(0, 1)};
    struct isles_watch watches[3] = {
        {.queue = queues[0]}, {.queue = queues[1]}, {.queue = queues[0]}};
    CHECK(isles_queues_wait(watches, 3, ISLES_AT_ONCE) == ISLES_TIMED_OUT);
    CHECK(isles_queues_wait(watches, 3, isles_now() + 1000000) == ISLES_TIMED_OUT);
    CHECK(!watches[0].ready && !watches[1].ready && !watches[2].ready);
    CHECK(put_number(queues[0], 1, ISLES_AT_ONCE) == 0);
    CHECK(isles_queues_wait(watches, 3, ISLES_NEVER) == 0);
    CHECK(watches[0].ready && !watches[1].ready && watches[2].ready);
    isles_queue_shut_down(queues[1], false);
    CHECK(isles_queues_wait(watches, 3, ISLES_AT_ONCE) == 0);
    CHECK(watches[0].ready && watches[1].ready);
    isles_shared_unref(&queues[0]->shared);
    isles_shared_unref(&queues[1]->shared);
}

static void
test_allocation_that_fails(void)
{
    allocations_left = 0;
    CHECK(isles_queue_new(0, ISLES_UNBOUND_REPLACE) == NULL);
    CHECK(allocations_failed == 1 && isles_queue_next(NULL) == NULL);
}

int
main(void)
{
    test_validator();
    test_order();
    test_bounds();
    test_full_or_not();
    test_deadlines();
    test_shut_down();
    test_shut_down_at_once();
    test_put_back();
    test_sweep();
    test_sweep_takes_the_last();
    test_ids();
    test_goes_with_what_it_holds();
    test_watch_on_one_thread();
    test_allocation_that_fails();
    return 0;
}
