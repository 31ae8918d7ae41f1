/* The registry on one thread: ids, state changes, pins, seats, slots. */
#include <string.h>

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

static int64_t last_id;

/* An interpreter of ours, idle; the caller's reference. */
static struct isles_interp *
add(void)
{
    struct isles_interp *interp = NULL;
    CHECK(isles_registry_add(++last_id, &last_id, true, &interp) == 0);
    CHECK(interp != NULL && interp->id == last_id && interp->ours);
    isles_interp_close_cancel(interp);
    return interp;
}

static void
end(struct isles_interp *interp)
{
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == 0);
    for (struct isles_seat *seat = isles_seats_take_all(interp), *next; seat; seat = next) {
        next = seat->next;
        free(seat);
    }
    isles_interp_close_commit(interp);
    isles_interp_unref(interp);
}

static void
test_init_twice(void)
{
    CHECK(isles_registry_init(no_fork) == 0);
    CHECK(isles_registry_init(no_fork) == 0);
    CHECK(isles_thread_self() != NULL && isles_thread_self() == isles_thread_self());
    CHECK(isles_registry_generation() == 0 && !isles_registry_exiting());
}

static void
test_drop_seat(void)
{
    struct isles_interp *interp = add(), *other = add();
    struct isles_thread *thread = isles_thread_self();
    int ts[2];
    isles_seat_drop(thread, interp); /* there is none */
    CHECK(isles_seat_add(thread, interp, &ts[0]) == 0);
    CHECK(isles_seat_add(thread, other, &ts[1]) == 0);
    isles_seat_drop(thread, interp);
    CHECK(isles_seat_find(thread, interp) == NULL && !isles_seat_is_kept(interp, &ts[0]));
    CHECK(isles_seat_find(thread, other) == &ts[1]);
    CHECK(isles_seat_add(thread, interp, &ts[0]) == 0);
    CHECK(isles_seat_find(thread, interp) == &ts[0]);
    end(interp);
    end(other);
}

static void
test_shelve(void)
{
    struct isles_interp *interp = add();
    struct isles_thread *thread = isles_thread_self();
    CHECK(isles_interp_unshelve(interp, thread) == ISLES_NOT_FOUND);
    CHECK(isles_interp_close_begin(interp, thread) == 0);
    isles_interp_shelve(interp);
    CHECK(isles_interp_has_ended(interp) && !isles_interp_is_running(interp));
    CHECK(!isles_interp_is_shown(interp, NULL) && isles_interp_pin(interp) == ISLES_NOT_FOUND);
    CHECK(isles_interp_begin(interp, thread) == ISLES_NOT_FOUND);
    CHECK(isles_interp_close_begin(interp, thread) == ISLES_NOT_FOUND);
    CHECK(isles_interp_reclaim_begin(interp) == ISLES_NOT_FOUND);
    CHECK(isles_interp_unshelve(interp, thread) == 0);
    CHECK(isles_interp_unshelve(interp, thread) == ISLES_NOT_FOUND); /* once */
    atomic_store(&interp->hidden, ISLES_UNUSED);
    isles_interp_close_cancel(interp);
    CHECK(!isles_interp_is_shown(interp, NULL) && isles_interp_is_shown(interp, interp));
    atomic_store(&interp->hidden, ISLES_SHOWN);
    CHECK(isles_interp_is_shown(interp, NULL));
    end(interp);
}

static void
test_find(void)
{
    CHECK(isles_registry_find(1) == NULL);
    CHECK(isles_registry_find(0) == NULL);
    CHECK(isles_registry_find(-1) == NULL);
    CHECK(isles_registry_find(INT64_MIN) == NULL);
    CHECK(isles_registry_find(INT64_MAX) == NULL);
    struct isles_interp *interp = add(), *found = isles_registry_find(interp->id);
    CHECK(found == interp);
    isles_interp_unref(found);
    /* Same bucket, another id. */
    CHECK(isles_registry_find(interp->id + 1024) == NULL);
    int64_t id = interp->id;
    end(interp);
    CHECK(isles_registry_find(id) == NULL);
}

static void
test_add_finds_the_known_one(void)
{
    struct isles_interp *first = NULL, *second = NULL;
    int64_t id = ++last_id;
    CHECK(isles_registry_add(id, &first, false, &first) == 0);
    /* Not ours: nobody sets it up, so it starts idle. */
    CHECK(!isles_interp_has_ended(first) && !isles_interp_is_running(first));
    CHECK(isles_registry_add(id, &second, false, &second) == 0);
    CHECK(first == second && !second->ours && second->state == (void *)&first);
    isles_interp_unref(second);
    /* Registered by itself while it was made: now its maker claims it, and opens it later. */
    CHECK(isles_registry_add(id, &second, true, &second) == 0);
    CHECK(first == second && second->ours && second->state == (void *)&first);
    CHECK(isles_interp_begin(first, isles_thread_self()) == ISLES_NOT_FOUND);
    isles_interp_close_cancel(first);
    CHECK(isles_interp_begin(first, isles_thread_self()) == 0);
    isles_interp_finish(first);
    isles_registry_forget(first);
    isles_registry_forget(first); /* twice: no harm */
    isles_interp_unref(first);
    isles_interp_unref(second);
}

static void
test_ids_far_apart(void)
{
    static const int64_t ids[] = {INT64_MAX, INT64_MAX - 1024, 1, 1 + 1024, 1 + 2048, 0};
    enum { COUNT = sizeof(ids) / sizeof(ids[0]) };
    struct isles_interp *all[COUNT];
    for (int i = 0; i < COUNT; i++) {
        CHECK(isles_registry_add(ids[i] ? ids[i] : 7, &all, false, &all[i]) == 0);
    }
    static const int64_t order[] = {1, 7, 1025, 2049, INT64_MAX - 1024, INT64_MAX};
    int64_t at = 0;
    for (int i = 0; i < COUNT; i++) {
        struct isles_interp *next = isles_registry_next(at);
        CHECK(next != NULL && next->id == order[i]);
        at = next->id;
        isles_interp_unref(next);
    }
    CHECK(isles_registry_next(at) == NULL);
    for (int i = 0; i < COUNT; i++) { /* out of the middle of a bucket as well */
        isles_registry_forget(all[i]);
        CHECK(isles_registry_find(all[i]->id) == NULL);
        isles_interp_unref(all[i]);
    }
    CHECK(isles_registry_next(0) == NULL);
}

static void
test_new_one_is_closed_to_others(void)
{
    struct isles_interp *interp = NULL;
    CHECK(isles_registry_add(++last_id, &last_id, true, &interp) == 0);
    CHECK(isles_interp_has_ended(interp) && !isles_interp_is_running(interp));
    CHECK(isles_interp_begin(interp, isles_thread_self()) == ISLES_NOT_FOUND);
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == ISLES_NOT_FOUND);
    CHECK(isles_interp_pin(interp) == ISLES_NOT_FOUND);
    isles_interp_close_cancel(interp);
    CHECK(!isles_interp_has_ended(interp));
    end(interp);
}

static void
test_states(void)
{
    struct isles_thread *thread = isles_thread_self();
    struct isles_interp *interp = add();
    thread->ident = 4711;
    CHECK(isles_interp_begin(interp, thread) == 0);
    CHECK(isles_interp_is_running(interp) && !isles_interp_has_ended(interp));
    CHECK(atomic_load(&interp->runner_ident) == 4711);
    CHECK(isles_interp_begin(interp, thread) == ISLES_BUSY);
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == ISLES_BUSY);
    isles_interp_finish(interp);
    CHECK(!isles_interp_is_running(interp) && atomic_load(&interp->runner_ident) == 0);

    CHECK(isles_interp_settle_begin(interp, thread) == 0);
    CHECK(!isles_interp_is_running(interp) && !isles_interp_has_ended(interp));
    CHECK(atomic_load(&interp->runner_ident) == 4711);
    CHECK(isles_interp_begin(interp, thread) == ISLES_SETTLING);
    CHECK(isles_interp_settle_begin(interp, thread) == ISLES_SETTLING);
    CHECK(isles_interp_close_begin(interp, thread) == ISLES_SETTLING);
    isles_interp_finish(interp);

    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == 0);
    CHECK(isles_interp_has_ended(interp) && !isles_interp_is_running(interp));
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == ISLES_NOT_FOUND);
    CHECK(isles_interp_begin(interp, thread) == ISLES_NOT_FOUND);
    isles_interp_close_cancel(interp);
    CHECK(isles_interp_begin(interp, thread) == 0);
    isles_interp_finish(interp);

    isles_interp_ref(interp);
    end(interp);
    CHECK(isles_interp_has_ended(interp) && interp->state == NULL);
    CHECK(isles_interp_begin(interp, thread) == ISLES_NOT_FOUND);
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == ISLES_NOT_FOUND);
    CHECK(isles_interp_pin(interp) == ISLES_NOT_FOUND && atomic_load(&interp->pins) == 0);
    isles_interp_unref(interp);
}

static void
test_abandon(void)
{
    struct isles_interp *interp = add();
    int64_t id = interp->id;
    CHECK(isles_interp_begin(interp, isles_thread_self()) == 0);
    isles_interp_abandon(interp); /* with somebody inside */
    CHECK(isles_interp_has_ended(interp) && isles_registry_find(id) == NULL);
    isles_interp_abandon(interp);
    isles_interp_unref(interp);
}

static void
test_pins(void)
{
    struct isles_interp *interp = add();
    CHECK(isles_interp_pin(interp) == 0 && isles_interp_pin(interp) == 0);
    CHECK(atomic_load(&interp->pins) == 2);
    CHECK(isles_interp_begin(interp, isles_thread_self()) == 0);
    CHECK(isles_interp_pin(interp) == 0); /* also while it runs */
    isles_interp_finish(interp);
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == 0);
    CHECK(isles_interp_pin(interp) == ISLES_NOT_FOUND);
    CHECK(atomic_load(&interp->pins) == 3); /* the closer still sees the others */
    for (int i = 0; i < 3; i++) {
        isles_interp_unpin(interp);
    }
    isles_interp_close_cancel(interp);
    end(interp);
}

/* Threads of extension modules: also while it is wound down, and told whether to wait. */
static void
test_visits(void)
{
    struct isles_interp *interp = add();
    CHECK(isles_interp_visit(interp) == 0 && atomic_load(&interp->visited));
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == 0);
    CHECK(isles_interp_visit(interp) == ISLES_BUSY);
    isles_interp_wind_down(interp, true);
    CHECK(isles_interp_visit(interp) == 0 && isles_interp_pin(interp) == ISLES_NOT_FOUND);
    isles_interp_wind_down(interp, false);
    CHECK(isles_interp_visit(interp) == ISLES_BUSY && atomic_load(&interp->pins) == 2);
    isles_interp_close_cancel(interp);
    CHECK(isles_interp_visit(interp) == 0);
    for (int i = 0; i < 3; i++) {
        isles_interp_unpin(interp);
    }
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == 0);
    isles_interp_close_park(interp);
    CHECK(isles_interp_visit(interp) == ISLES_NOT_FOUND);
    CHECK(isles_interp_reclaim_begin(interp) == 0);
    isles_interp_close_commit(interp);
    CHECK(isles_interp_visit(interp) == ISLES_NOT_FOUND && atomic_load(&interp->pins) == 0);
    isles_interp_unref(interp);
}

static void
test_seats(void)
{
    struct isles_thread *thread = isles_thread_self();
    struct isles_interp *one = add(), *two = add();
    int a, b;
    CHECK(isles_seat_find(thread, one) == NULL);
    CHECK(isles_seat_add(thread, one, &a) == 0);
    CHECK(isles_seat_find(thread, one) == &a && isles_seat_find(thread, two) == NULL);
    CHECK(isles_seat_add(thread, two, &b) == 0);
    CHECK(isles_seat_find(thread, one) == &a && isles_seat_find(thread, two) == &b);
    CHECK(isles_seat_is_kept(one, &a) && !isles_seat_is_kept(one, &b));
    CHECK(!isles_seat_is_kept(one, NULL));
    CHECK(!atomic_load(&one->has_orphans) && isles_seats_take_orphans(one) == NULL);
    CHECK(isles_seat_find(thread, one) == &a);
    end(one);
    CHECK(isles_seat_find(thread, two) == &b);
    end(two);
}

/* The slot of an ended interpreter goes to the next one, which must not find the old seat. */
static void
test_slots_are_given_back(void)
{
    struct isles_thread *thread = isles_thread_self();
    uint32_t highest = 0;
    for (int i = 0; i < 3000; i++) {
        struct isles_interp *interp = add();
        highest = interp->slot > highest ? interp->slot : highest;
        CHECK(isles_seat_find(thread, interp) == NULL);
        CHECK(isles_seat_add(thread, interp, interp) == 0);
        CHECK(isles_seat_find(thread, interp) == interp);
        end(interp);
    }
    CHECK(highest < 16);
    CHECK(thread->entries_size <= 16);
}

static void
test_many_at_once(void)
{
    enum { COUNT = 3000 };
    static struct isles_interp *all[COUNT];
    struct isles_thread *thread = isles_thread_self();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            all[i] = add();
            CHECK(isles_seat_add(thread, all[i], all[i]) == 0);
        }
        for (int i = 0; i < COUNT; i++) {
            CHECK(isles_seat_find(thread, all[i]) == all[i]);
            struct isles_interp *found = isles_registry_find(all[i]->id);
            CHECK(found == all[i]);
            isles_interp_unref(found);
        }
        for (int i = COUNT - 1; i >= 0; i -= 2) {
            end(all[i]);
        }
        for (int i = 0; i < COUNT; i += 2) {
            end(all[i]);
        }
    }
    CHECK(thread->entries_size < 2 * 4096);
    CHECK(isles_registry_next(0) == NULL);
}

/* ---- threads that end ---- */

static struct isles_interp *visited[3];
static int tokens[3];

static void *
visit(void *arg)
{
    (void)arg;
    struct isles_thread *thread = isles_thread_self();
    for (int i = 0; i < 3; i++) {
        CHECK(isles_interp_begin(visited[i], thread) == 0);
        CHECK(isles_seat_add(thread, visited[i], &tokens[i]) == 0);
        isles_interp_finish(visited[i]);
    }
    return NULL;
}

static void
test_seats_of_ended_threads(void)
{
    struct isles_thread *thread = isles_thread_self();
    int mine;
    for (int i = 0; i < 3; i++) {
        visited[i] = add();
    }
    CHECK(isles_seat_add(thread, visited[0], &mine) == 0);
    run_threads(1, visit);
    for (int i = 0; i < 3; i++) {
        CHECK(atomic_load(&visited[i]->has_orphans));
        CHECK(isles_seat_is_kept(visited[i], &tokens[i]));
    }
    struct isles_seat *taken = isles_seats_take_orphans(visited[0]);
    CHECK(taken != NULL && taken->next == NULL && taken->ts == &tokens[0] && taken->orphan);
    free(taken);
    CHECK(!atomic_load(&visited[0]->has_orphans));
    CHECK(isles_seats_take_orphans(visited[0]) == NULL);
    CHECK(!isles_seat_is_kept(visited[0], &tokens[0]) && isles_seat_is_kept(visited[0], &mine));
    CHECK(isles_seat_find(thread, visited[0]) == &mine);
    for (int i = 0; i < 3; i++) {
        end(visited[i]); /* those not taken go with it */
    }
}

static void *
enter_and_outlive(void *arg)
{
    (void)arg;
    struct isles_interp *interp = add();
    CHECK(isles_seat_add(isles_thread_self(), interp, interp) == 0);
    end(interp);
    return NULL;
}

static void
test_interpreter_ends_before_its_thread(void)
{
    run_threads(1, enter_and_outlive); /* the seat is freed: the thread's end must not touch it */
    struct isles_interp *next = add(); /* in the same slot */
    CHECK(!atomic_load(&next->has_orphans));
    end(next);
}

int
main(void)
{
    test_init_twice();
    test_drop_seat();
    test_shelve();
    test_find();
    test_add_finds_the_known_one();
    test_ids_far_apart();
    test_new_one_is_closed_to_others();
    test_states();
    test_abandon();
    test_pins();
    test_visits();
    test_seats();
    test_slots_are_given_back();
    test_many_at_once();
    test_seats_of_ended_threads();
    test_interpreter_ends_before_its_thread();
    return 0;
}
