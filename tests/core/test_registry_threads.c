/* The registry from many threads at once, with random yields: one inside at a time, one closer
 * wins, nothing is freed under anybody, no seat is lost. */
#include <stdbool.h>

#include "check.h"
#include "os.h"
#include "registry.h"
#include "registry_interps.h"
#include "registry_seats.h"
#include "registry_threads.h"
#include "status.h"

static void
no_fork(void)
{
}

enum { THREADS = 8, ROUNDS = 3000, SHARED = 4 };

static atomic_llong next_id = 1;

static struct isles_interp *
add(void)
{
    struct isles_interp *interp = NULL;
    int64_t id = atomic_fetch_add(&next_id, 1);
    CHECK(isles_registry_add(id, &next_id, true, &interp) == 0);
    isles_interp_close_cancel(interp);
    return interp;
}

static long
free_seats(struct isles_seat *seat)
{
    long count = 0;
    while (seat != NULL) {
        struct isles_seat *next = seat->next;
        free(seat);
        seat = next;
        count++;
    }
    return count;
}

static uint32_t
seed_of(void *arg)
{
    return (uint32_t)(intptr_t)arg * 2654435761u + 12345;
}

/* ---- one inside at a time ---- */

static struct isles_interp *shared[SHARED];
static long inside[SHARED]; /* plain: whoever is inside owns it, and TSan watches */
static atomic_long entered, closings;

static void
stay(int i, uint32_t *seed)
{
    long before = inside[i]++;
    random_yield(seed);
    CHECK(inside[i] == before + 1);
}

static void *
contend(void *arg)
{
    uint32_t seed = seed_of(arg);
    struct isles_thread *thread = isles_thread_self();
    for (int round = 0; round < ROUNDS; round++) {
        int i = random_next(&seed) % SHARED;
        if (random_next(&seed) % 4 == 0) {
            if (isles_interp_close_begin(shared[i], isles_thread_self()) == 0) {
                CHECK(isles_interp_has_ended(shared[i]));
                stay(i, &seed);
                atomic_fetch_add(&closings, 1);
                isles_interp_close_cancel(shared[i]);
            }
        } else {
            int status = isles_interp_begin(shared[i], thread);
            CHECK(status == 0 || status == ISLES_BUSY || status == ISLES_NOT_FOUND);
            if (status == 0) {
                CHECK(isles_interp_is_running(shared[i]));
                stay(i, &seed);
                atomic_fetch_add(&entered, 1);
                isles_interp_finish(shared[i]);
            }
        }
        random_yield(&seed);
    }
    return NULL;
}

static void
test_one_inside(void)
{
    for (int i = 0; i < SHARED; i++) {
        shared[i] = add();
    }
    run_threads(THREADS, contend);
    long total = 0;
    for (int i = 0; i < SHARED; i++) {
        total += inside[i];
        CHECK(isles_interp_close_begin(shared[i], isles_thread_self()) == 0);
        isles_interp_close_commit(shared[i]);
        isles_interp_unref(shared[i]);
    }
    CHECK(total == entered + closings && entered > 0 && closings > 0);
}

/* ---- many close the same one ---- */

static struct isles_interp *victim;
static atomic_int winners, losers;
static pthread_barrier_t barrier;

static void *
close_it(void *arg)
{
    uint32_t seed = seed_of(arg);
    isles_interp_ref(victim);
    pthread_barrier_wait(&barrier);
    random_yield(&seed);
    int status = isles_interp_close_begin(victim, isles_thread_self());
    if (status == 0) {
        random_yield(&seed);
        isles_interp_close_commit(victim);
        atomic_fetch_add(&winners, 1);
    } else {
        CHECK(status == ISLES_NOT_FOUND);
        atomic_fetch_add(&losers, 1);
    }
    isles_interp_unref(victim);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void
test_one_closer_wins(void)
{
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int round = 0; round < 100; round++) {
        victim = add();
        int64_t id = victim->id;
        winners = losers = 0;
        run_threads(THREADS, close_it);
        CHECK(winners == 1 && losers == THREADS - 1);
        CHECK(isles_registry_find(id) == NULL);
        isles_interp_unref(victim);
    }
    pthread_barrier_destroy(&barrier);
}

/* ---- pins against the end ---- */

static struct isles_interp *pinned;
static int alive; /* plain: a visitor reads it only with a pin, the closer writes it after */
static atomic_int visits;

static void *
pin_or_end(void *arg)
{
    uint32_t seed = seed_of(arg);
    if (arg == NULL) {
        while (atomic_load(&visits) < 20) {
            sched_yield();
        }
        CHECK(isles_interp_close_begin(pinned, isles_thread_self()) == 0);
        while (atomic_load(&pinned->pins) > 0) {
            sched_yield();
        }
        alive = 0;
        isles_interp_close_commit(pinned);
        return NULL;
    }
    while (isles_interp_pin(pinned) == 0) {
        random_yield(&seed);
        CHECK(alive == 1);
        atomic_fetch_add(&visits, 1);
        isles_interp_unpin(pinned);
        random_yield(&seed);
    }
    return NULL;
}

static void
test_pins_hold(void)
{
    for (int round = 0; round < 100; round++) {
        pinned = add();
        alive = 1;
        visits = 0;
        run_threads(4, pin_or_end);
        CHECK(alive == 0 && atomic_load(&pinned->pins) == 0);
        isles_interp_unref(pinned);
    }
}

/* ---- made, found, listed and ended at once; threads come and go ---- */

static atomic_long seats_made, seats_freed;

static void
enter(struct isles_interp *interp, struct isles_thread *thread)
{
    if (isles_interp_begin(interp, thread) < 0) {
        return;
    }
    if (isles_seat_find(thread, interp) == NULL) {
        void *ts = (char *)thread + interp->id;
        CHECK(isles_seat_add(thread, interp, ts) == 0);
        CHECK(isles_seat_find(thread, interp) == ts && isles_seat_is_kept(interp, ts));
        atomic_fetch_add(&seats_made, 1);
    }
    if (atomic_load(&interp->has_orphans)) {
        atomic_fetch_add(&seats_freed, free_seats(isles_seats_take_orphans(interp)));
    }
    isles_interp_finish(interp);
}

static void
end(struct isles_interp *interp)
{
    if (isles_interp_close_begin(interp, isles_thread_self()) == 0) {
        atomic_fetch_add(&seats_freed, free_seats(isles_seats_take_all(interp)));
        isles_interp_close_commit(interp);
    }
}

static void
visit_all(struct isles_thread *thread, uint32_t *seed)
{
    int64_t at = 0;
    struct isles_interp *interp;
    while ((interp = isles_registry_next(at)) != NULL) {
        CHECK(interp->id > at);
        at = interp->id;
        random_yield(seed);
        enter(interp, thread);
        if (random_next(seed) % 16 == 0) {
            end(interp);
        }
        isles_interp_unref(interp);
    }
}

static void *
live(void *arg)
{
    uint32_t seed = seed_of(arg);
    struct isles_thread *thread = isles_thread_self();
    CHECK(thread != NULL && thread->depth == 0 && thread->top == NULL);
    for (int round = 0; round < 40; round++) {
        struct isles_interp *interp = add();
        enter(interp, thread);
        visit_all(thread, &seed);
        struct isles_interp *found = isles_registry_find(interp->id);
        CHECK(found == NULL || found == interp);
        if (found != NULL) {
            isles_interp_unref(found);
        }
        if (random_next(&seed) % 2) {
            end(interp);
        }
        isles_interp_unref(interp);
    }
    return NULL;
}

static void
test_everything_at_once(void)
{
    for (int generation = 0; generation < 6; generation++) {
        run_threads(THREADS, live); /* their seats in what stays are orphans now */
    }
    struct isles_interp *interp;
    while ((interp = isles_registry_next(0)) != NULL) {
        end(interp);
        isles_interp_unref(interp);
    }
    CHECK(seats_made > 0 && seats_made == seats_freed);
}

/* ---- thousands of short threads ---- */

static struct isles_interp *place;
static atomic_int missed;

static void *
short_life(void *arg)
{
    uint32_t seed = seed_of(arg);
    struct isles_thread *thread = isles_thread_self();
    for (int status; (status = isles_interp_begin(place, thread)) != 0;) {
        CHECK(status == ISLES_BUSY);
        atomic_fetch_add(&missed, 1);
        random_yield(&seed);
    }
    CHECK(isles_seat_find(thread, place) == NULL);
    CHECK(isles_seat_add(thread, place, thread) == 0);
    if (atomic_load(&place->has_orphans)) {
        free_seats(isles_seats_take_orphans(place));
    }
    isles_interp_finish(place);
    return NULL;
}

static void
test_short_threads_leave_nothing(void)
{
    place = add();
    for (int round = 0; round < 250; round++) {
        run_threads(THREADS, short_life);
    }
    struct isles_seat *rest = isles_seats_take_orphans(place);
    CHECK(free_seats(rest) <= THREADS);
    CHECK(isles_interp_close_begin(place, isles_thread_self()) == 0);
    CHECK(isles_seats_take_all(place) == NULL);
    isles_interp_close_commit(place);
    isles_interp_unref(place);
}

/* ---- a wish is about one stay ---- */

/* What is wanted names the stay that was going on when it was written; a thread that leaves has met
 * it or drops it.  Nothing is left in the end, and a wait that is rung ends. */

static struct isles_interp *wished;
static atomic_bool wishing;
static atomic_long met, dropped, meant, rung;

static void
take_off(uint64_t stay, atomic_long *count)
{
    struct isles_parcel *reason;
    if (isles_interp_unwant(wished, stay, &reason)) {
        CHECK(reason == NULL);
        atomic_fetch_add(count, 1);
    }
}

static void *
come_and_go(void *arg)
{
    uint32_t seed = seed_of(arg);
    struct isles_thread *thread = isles_thread_self();
    thread->ident = (unsigned long)(intptr_t)arg + 1;
    for (int round = 0; round < ROUNDS; round++) {
        if (isles_interp_begin(wished, thread) < 0) {
            random_yield(&seed);
            continue;
        }
        uint64_t stay = atomic_load(&wished->stay);
        random_yield(&seed);
        if (round % 64 == 0) {
            atomic_uint word = 0;
            int status = isles_thread_wait(&word, isles_now() + 100000);
            CHECK(word == 0);
            CHECK(status == ISLES_INTERRUPTED || status == ISLES_TIMED_OUT || status == 0);
            atomic_fetch_add(&rung, status == ISLES_INTERRUPTED);
        }
        if (isles_interp_is_wanted(wished)) {
            CHECK(atomic_load(&wished->wanted) == stay);
            take_off(stay, &met);
        }
        random_yield(&seed);
        isles_interp_finish(wished);
        if (atomic_load(&wished->wanted) != 0) {
            take_off(stay, &dropped);
        }
    }
    return NULL;
}

static void *
wish(void *arg)
{
    uint32_t seed = seed_of(arg);
    while (atomic_load(&wishing)) {
        struct isles_parcel *reason = NULL;
        unsigned long ident = random_next(&seed) % 3;
        bool inside = isles_interp_want(wished, ident, &reason);
        CHECK(reason == NULL);
        atomic_fetch_add(&meant, inside);
        (void)isles_interp_ring(wished);
        random_yield(&seed);
    }
    return NULL;
}

static void
test_wishes(void)
{
    wished = add();
    atomic_store(&wishing, true);
    pthread_t wishers[2];
    for (intptr_t i = 0; i < 2; i++) {
        CHECK(pthread_create(&wishers[i], NULL, wish, (void *)(i + 100)) == 0);
    }
    run_threads(4, come_and_go);
    atomic_store(&wishing, false);
    for (int i = 0; i < 2; i++) {
        pthread_join(wishers[i], NULL);
    }
    CHECK(isles_registry_wanted() == 0);
    CHECK(atomic_load(&wished->wanted) == 0);
    CHECK(atomic_load(&met) > 0);
    CHECK(atomic_load(&meant) >= atomic_load(&met) + atomic_load(&dropped));
    CHECK(atomic_load(&rung) > 0);
    isles_interp_unref(wished);
}

int
main(void)
{
    CHECK(isles_registry_init(no_fork) == 0);
    test_one_inside();
    test_one_closer_wins();
    test_pins_hold();
    test_everything_at_once();
    test_short_threads_leave_nothing();
    test_wishes();
    return 0;
}
