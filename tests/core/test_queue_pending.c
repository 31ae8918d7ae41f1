/* Puts and gets that wait without a thread, beside threads that do: the same order for all, nothing
 * is lost or comes twice however they end, and each that was decided is told once. */
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parcel.h"
#include "registry.h"

static struct isles_queue *queue;
static struct isles_notifier *notifier;
static int tags[8];

static void
begin(int64_t maxsize)
{
    queue = isles_queue_new(maxsize, ISLES_UNBOUND_REPLACE);
    CHECK(queue != NULL && isles_notifier_new(&notifier) == 0);
}

static void
close_notifier(struct isles_notifier *closing)
{
    struct isles_note *note = isles_notifier_close(closing);
    while (note != NULL) {
        struct isles_note *next = note->next;
        note->drop(note);
        note = next;
    }
    isles_shared_unref(&closing->shared);
}

static void
end(void)
{
    isles_shared_unref(&queue->shared);
    close_notifier(notifier);
}

/* A get that has to wait. */
static struct isles_pending *
pending_get(int tag)
{
    struct isles_pending *pending;
    struct isles_parcel *parcels;
    CHECK(isles_queue_get_pending(queue, &parcels, notifier, &tags[tag], &pending) == 0);
    CHECK(parcels == NULL && pending != NULL);
    return pending;
}

static struct isles_pending *
pending_put(int tag, int64_t number, int count)
{
    struct isles_pending *pending;
    struct isles_parcel *chain = chain_of(number, count);
    CHECK(isles_queue_put_pending(queue, &chain, notifier, &tags[tag], &pending) == 0);
    CHECK(chain == NULL && pending != NULL);
    return pending;
}

/* Takes the notes; they are to be those of `first` to `last`, in that order. */
static void
check_told(int first, int last, int status)
{
    struct isles_note *note = isles_notifier_take(notifier);
    for (; first <= last; first++) {
        struct isles_note *next = note->next;
        CHECK(note->tag == &tags[first] && isles_pending_status(note) == status);
        note->drop(note);
        note = next;
    }
    CHECK(note == NULL);
}

/* Ends a get. */
static void
check_got(struct isles_pending *pending, int64_t number)
{
    struct isles_parcel *parcels;
    CHECK(isles_pending_end(pending, queue, &parcels) == 0);
    CHECK(number_in(parcels) == number && parcels->next == NULL);
    isles_parcels_free(parcels);
}

static void
check_ends(struct isles_pending *pending, int status, int64_t left)
{
    struct isles_parcel *parcels;
    CHECK(isles_pending_end(pending, queue, &parcels) == status);
    CHECK(left < 0 ? parcels == NULL : number_in(parcels) == left);
    isles_parcels_free(parcels);
}

static void
check_gets(int64_t from, int64_t to)
{
    for (int64_t number; from < to; from++) {
        CHECK(get_number(queue, &number, ISLES_AT_ONCE) == 0 && number == from);
    }
}

static void
test_get(void)
{
    struct isles_pending *pending;
    struct isles_parcel *parcels;
    begin(0);
    CHECK(put_number(queue, 1, ISLES_AT_ONCE) == 0);
    CHECK(isles_queue_get_pending(queue, &parcels, notifier, NULL, &pending) == 0);
    CHECK(pending == NULL && number_in(parcels) == 1);
    isles_parcels_free(parcels);

    struct isles_pending *first = pending_get(0), *second = pending_get(1);
    CHECK(put_number(queue, 2, ISLES_AT_ONCE) == 0 && put_number(queue, 3, ISLES_AT_ONCE) == 0);
    CHECK(isles_queue_count(queue) == 0);
    check_told(0, 1, ISLES_OK);
    check_got(first, 2);
    check_got(second, 3);

    first = pending_get(0); /* leaves before anything came */
    check_ends(first, ISLES_TIMED_OUT, -1);
    CHECK(put_number(queue, 4, ISLES_AT_ONCE) == 0 && isles_queue_count(queue) == 1);
    check_gets(4, 5);

    first = pending_get(0); /* leaves with what it was given, and puts it back */
    second = pending_get(1);
    CHECK(put_number(queue, 5, ISLES_AT_ONCE) == 0);
    CHECK(isles_pending_end(first, queue, &parcels) == 0);
    isles_queue_put_back(queue, parcels);
    struct isles_note *note = isles_notifier_take(notifier);
    CHECK(note->tag == NULL && note->next->tag == &tags[1] && note->next->next == NULL);
    note->next->drop(note->next);
    note->drop(note);
    check_got(second, 5);
    end();
}

static void
test_put(void)
{
    struct isles_pending *pending;
    struct isles_parcel *chain = chain_of(0, 1);
    begin(1);
    CHECK(isles_queue_put_pending(queue, &chain, notifier, NULL, &pending) == 0);
    CHECK(pending == NULL && chain == NULL);
    struct isles_pending *first = pending_put(0, 1, 2), *second = pending_put(1, 3, 2);
    check_gets(0, 2);
    check_told(0, 0, ISLES_OK);
    check_ends(first, ISLES_OK, -1);
    check_gets(2, 3);
    check_ends(second, ISLES_TIMED_OUT, 4); /* half of it was put */
    check_gets(3, 4);
    CHECK(isles_queue_count(queue) == 0);
    check_told(0, -1, ISLES_OK);
    end();
}

static void
test_shut_down(void)
{
    struct isles_pending *pending;
    struct isles_parcel *parcels;
    begin(1);
    struct isles_pending *first = pending_get(0), *second = pending_get(1);
    isles_queue_shut_down(queue, false);
    check_told(0, 1, ISLES_SHUT_DOWN);
    check_ends(first, ISLES_SHUT_DOWN, -1);
    check_ends(second, ISLES_SHUT_DOWN, -1);
    CHECK(isles_queue_get_pending(queue, &parcels, notifier, NULL, &pending) == ISLES_SHUT_DOWN);
    CHECK(pending == NULL);
    end();
    begin(1);
    CHECK(put_number(queue, 0, ISLES_AT_ONCE) == 0);
    first = pending_put(0, 1, 1);
    isles_queue_shut_down(queue, true);
    check_ends(first, ISLES_SHUT_DOWN, 1); /* before its note is taken */
    parcels = chain_of(2, 1);
    CHECK(isles_queue_put_pending(queue, &parcels, notifier, NULL, &pending) == ISLES_SHUT_DOWN);
    CHECK(pending == NULL && number_in(parcels) == 2);
    isles_parcels_free(parcels);
    end(); /* with the note */
}

/* A loop that is closed while something is pending, decided or not. */
static void
test_closed(void)
{
    begin(0);
    struct isles_pending *first = pending_get(0), *second = pending_get(1);
    CHECK(put_number(queue, 1, ISLES_AT_ONCE) == 0);
    struct isles_note *note = isles_notifier_close(notifier);
    CHECK(note->tag == &tags[0] && note->next == NULL);
    note->drop(note);
    CHECK(put_number(queue, 2, ISLES_AT_ONCE) == 0);
    check_got(second, 2);
    check_got(first, 1);
    end();
}

/* ---- pending ones and threads, served in the order in which they came ---- */

static size_t
waiting(const struct isles_queue *of)
{
    size_t count = 0;
    isles_mutex_lock(&queue->lock);
    for (const struct isles_link *link = of->readers.next; link != &of->readers;
         link = link->next) {
        count++;
    }
    isles_mutex_unlock(&queue->lock);
    return count;
}

static void *
get_second(void *arg)
{
    int64_t number;
    if (arg != NULL) {
        while (waiting(queue) < 1) {
            sched_yield();
        }
        CHECK(get_number(queue, &number, ISLES_NEVER) == 0 && number == 1);
        return NULL;
    }
    struct isles_pending *first = pending_get(0);
    while (waiting(queue) < 2) {
        sched_yield();
    }
    struct isles_pending *third = pending_get(1);
    struct isles_parcel *chain = chain_of(0, 3);
    CHECK(isles_queue_put(queue, &chain, ISLES_AT_ONCE) == 0);
    check_told(0, 1, ISLES_OK);
    check_got(first, 0);
    check_got(third, 2);
    return NULL;
}

static void
test_in_turn(void)
{
    begin(0);
    for (int round = 0; round < 50; round++) {
        run_threads(2, get_second);
    }
    end();
}

/* ---- many, which end when they like ---- */

enum { LOOPS = 3, THREADS = 3, SLOTS = 20, ITEMS = 3000 };
#define ALL ((LOOPS + THREADS) * (int64_t)ITEMS)

static atomic_llong received, sum;
static atomic_int writers_left;

static void
receive(struct isles_parcel *parcels)
{
    for (const struct isles_parcel *p = parcels; p != NULL; p = p->next) {
        atomic_fetch_add(&received, 1);
        atomic_fetch_add(&sum, number_in(p));
    }
    isles_parcels_free(parcels);
}

/* What one loop has going on: a put or a get in each slot. */
struct slot {
    struct isles_pending *pending;
    bool puts;
    struct isles_parcel *left; /* of a put that ended early */
};

struct loop {
    struct isles_notifier *notifier;
    struct slot slots[SLOTS];
    int next, put; /* the next item, and how many are put for good */
    bool shut_down;
    uint32_t seed;
};

static void
finish(struct loop *loop, struct slot *slot)
{
    struct isles_parcel *parcels;
    int status = isles_pending_end(slot->pending, queue, &parcels);
    slot->pending = NULL;
    if (slot->puts) {
        CHECK((status == 0) == (parcels == NULL) && (status == 0 || status == ISLES_TIMED_OUT));
        loop->put += status == 0;
        slot->left = parcels;
        return;
    }
    CHECK((status == 0) == (parcels != NULL));
    loop->shut_down = loop->shut_down || status == ISLES_SHUT_DOWN;
    if (status == 0 && random_next(&loop->seed) % 4 == 0) {
        isles_queue_put_back(queue, parcels); /* cancelled with its item */
    } else if (status == 0) {
        receive(parcels);
    }
}

static void
start(struct loop *loop, struct slot *slot)
{
    struct isles_parcel *parcels;
    if (slot->puts && slot->left == NULL && loop->next == ITEMS) {
        slot->puts = false;
    }
    if (slot->puts) {
        parcels = slot->left ? slot->left : parcel_of(loop->next++);
        slot->left = NULL;
        CHECK(isles_queue_put_pending(queue, &parcels, loop->notifier, slot, &slot->pending) == 0);
        CHECK(parcels == NULL);
        loop->put += slot->pending == NULL;
        return;
    }
    int status = isles_queue_get_pending(queue, &parcels, loop->notifier, slot, &slot->pending);
    loop->shut_down = loop->shut_down || status == ISLES_SHUT_DOWN;
    receive(parcels);
}

static void
take_notes(struct loop *loop, int timeout)
{
    struct pollfd fd = {.fd = loop->notifier->fd, .events = POLLIN};
    if (poll(&fd, 1, timeout) == 0) {
        return;
    }
    struct isles_note *note = isles_notifier_take(loop->notifier);
    while (note != NULL) {
        struct isles_note *next = note->next;
        struct slot *slot = note->tag;
        if (slot != NULL) {
            finish(loop, slot);
        }
        note->drop(note);
        note = next;
    }
}

static void
writer_done(void)
{
    if (atomic_fetch_sub(&writers_left, 1) == 1) {
        /* What is put back now and then is in nobody's hands for a moment, so no emptiness means
         * the end: the count does. */
        while (atomic_load(&received) < ALL) {
            sched_yield();
        }
        isles_queue_shut_down(queue, false);
    }
}

static void
run_loop(int me)
{
    struct loop loop = {.seed = ((uint32_t)me + 1) * 2654435761u};
    bool done = false;
    CHECK(isles_notifier_new(&loop.notifier) == 0);
    for (int i = 0; i < SLOTS; i++) {
        loop.slots[i].puts = i % 2;
    }
    while (!loop.shut_down) {
        for (int i = 0; i < SLOTS; i++) {
            struct slot *slot = &loop.slots[i];
            if (slot->pending == NULL) {
                start(&loop, slot);
            } else if (random_next(&loop.seed) % 16 == 0) {
                finish(&loop, slot); /* cancelled */
            }
        }
        take_notes(&loop, 1);
        if (!done && loop.put == ITEMS) {
            done = true;
            atomic_fetch_sub(&writers_left, 1);
        }
    }
    for (int i = 0; i < SLOTS; i++) {
        if (loop.slots[i].pending != NULL) {
            finish(&loop, &loop.slots[i]);
        }
        CHECK(loop.slots[i].left == NULL);
    }
    close_notifier(loop.notifier);
}

static void
use_threads(int me)
{
    uint32_t seed = ((uint32_t)me + 1) * 2654435761u;
    int64_t number;
    int status, i = 0;
    for (status = 0; status != ISLES_SHUT_DOWN;) {
        if (i < ITEMS && put_number(queue, i, isles_now() + random_next(&seed) % 60000) == 0) {
            if (++i == ITEMS) {
                atomic_fetch_sub(&writers_left, 1);
            }
        }
        status = get_number(queue, &number, isles_now() + random_next(&seed) % 60000);
        if (status == 0) {
            atomic_fetch_add(&received, 1);
            atomic_fetch_add(&sum, number);
        }
    }
}

static void *
take_part(void *arg)
{
    int me = (int)(intptr_t)arg;
    if (me < LOOPS) {
        run_loop(me);
    } else if (me < LOOPS + THREADS) {
        use_threads(me);
    } else {
        while (atomic_load(&writers_left) > 1) {
            isles_sleep(1000000);
        }
        writer_done();
    }
    return NULL;
}

static void
test_nothing_lost(int64_t maxsize)
{
    queue = isles_queue_new(maxsize, ISLES_UNBOUND_REPLACE);
    received = sum = 0;
    writers_left = LOOPS + THREADS + 1;
    run_threads(LOOPS + THREADS + 1, take_part);
    CHECK(received == ALL && sum == (LOOPS + THREADS) * (int64_t)ITEMS * (ITEMS - 1) / 2);
    CHECK(isles_queue_count(queue) == 0);
    isles_shared_unref(&queue->shared);
}

/* ---- a forked child, and the exit ---- */

static void
test_fork(void)
{
    int status;
    begin(1);
    struct isles_pending *first = pending_get(0), *second = pending_get(1);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        CHECK(put_number(queue, 7, ISLES_AT_ONCE) == 0 && isles_queue_count(queue) == 1);
        struct isles_pending *third = pending_put(2, 8, 1);
        check_gets(7, 9); /* nobody of the parent is served */
        check_told(2, 2, ISLES_OK);
        check_ends(third, ISLES_OK, -1);
        check_ends(first, ISLES_FORKED, -1);
        check_ends(second, ISLES_FORKED, -1);
        end();
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(put_number(queue, 1, ISLES_AT_ONCE) == 0);
    check_told(0, 0, ISLES_OK);
    check_got(first, 1);
    check_ends(second, ISLES_TIMED_OUT, -1);
    end();
}

static void
no_fork(void)
{
}

static void *
wait_at_the_exit(void *arg)
{
    (void)arg;
    struct isles_pending *pending;
    struct isles_parcel *parcels;
    CHECK(isles_queue_get_pending(queue, &parcels, notifier, NULL, &pending) == ISLES_EXITING);
    CHECK(pending == NULL && parcels == NULL);
    return NULL;
}

static void
test_exit(void)
{
    CHECK(isles_registry_init(no_fork) == 0);
    begin(0);
    struct isles_pending *first = pending_get(0);
    isles_registry_exit_begin();
    isles_queues_exit();
    check_told(0, 0, ISLES_EXITING);
    check_ends(first, ISLES_EXITING, -1);
    run_threads(1, wait_at_the_exit);
    end();
}

int
main(void)
{
    test_get();
    test_put();
    test_shut_down();
    test_closed();
    test_in_turn();
    test_nothing_lost(0);
    test_nothing_lost(1);
    test_nothing_lost(5);
    test_fork();
    test_exit();
    return 0;
}
