/* fork() while other threads use the registry: the child finds a working one, and all of the
 * parent's interpreters refused. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "registry.h"
#include "registry_interps.h"
#include "registry_seats.h"
#include "registry_threads.h"
#include "status.h"

static int told;

static void
count_fork(void)
{
    told++;
}

static atomic_bool stop;
static struct isles_interp *idle, *held, *closing, *main_interp;

static void *
use(void *arg)
{
    uint32_t seed = (uint32_t)(intptr_t)arg + 1;
    while (!atomic_load(&stop)) {
        struct isles_interp *interp = isles_registry_next((int64_t)(random_next(&seed) % 4));
        if (interp != NULL) {
            isles_interp_unref(interp);
        }
        interp = isles_registry_find(1);
        CHECK(interp == idle);
        isles_interp_unref(interp);
        if (isles_interp_begin(idle, isles_thread_self()) == 0) {
            isles_interp_finish(idle);
        }
    }
    return NULL;
}

static void
check_refused(struct isles_interp *interp)
{
    struct isles_thread *thread = isles_thread_self();
    CHECK(interp->forked && isles_interp_has_ended(interp));
    CHECK(!isles_interp_is_running(interp));
    CHECK(isles_interp_begin(interp, thread) == ISLES_FORKED);
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == ISLES_FORKED);
    CHECK(isles_interp_pin(interp) < 0);
    CHECK(isles_seat_find(thread, interp) == NULL);
    CHECK(isles_seats_take_all(interp) == NULL);
    CHECK(interp->state == NULL && interp->local == NULL);
    struct isles_interp *found = isles_registry_find(interp->id);
    CHECK(found == interp);
    isles_interp_unref(found);
}

static void
check_new_one(int64_t id)
{
    struct isles_thread *thread = isles_thread_self();
    struct isles_interp *interp = NULL;
    int token;
    CHECK(isles_registry_add(id, &token, true, &interp) == 0);
    isles_interp_close_cancel(interp);
    CHECK(isles_interp_begin(interp, thread) == 0);
    CHECK(isles_seat_find(thread, interp) == NULL);
    CHECK(isles_seat_add(thread, interp, &token) == 0);
    CHECK(isles_seat_find(thread, interp) == &token);
    isles_interp_finish(interp);
    CHECK(isles_interp_close_begin(interp, isles_thread_self()) == 0);
    free(isles_seats_take_all(interp));
    isles_interp_close_commit(interp);
    isles_interp_unref(interp);
}

static void
check_child(int generation)
{
    CHECK(isles_registry_generation() == generation);
    check_refused(idle);
    check_refused(held);
    check_refused(closing);
    /* Main goes on in the child. */
    CHECK(!main_interp->forked && !isles_interp_has_ended(main_interp));
    CHECK(main_interp->state != NULL);
    for (int64_t id = 100; id < 200; id++) {
        check_new_one(id);
    }
}

static void
check_ended_well(pid_t child)
{
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
fork_once(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(20); /* a mutex that is held for ever would hang here */
        check_child(1);
        CHECK(told == 1);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            check_child(2);
            _exit(0);
        }
        check_ended_well(grandchild);
        _exit(0);
    }
    check_ended_well(child);
    CHECK(isles_registry_generation() == 0);
}

static struct isles_interp *
add(int64_t id, bool ours)
{
    struct isles_interp *interp = NULL;
    CHECK(isles_registry_add(id, &idle, ours, &interp) == 0);
    if (ours) {
        isles_interp_close_cancel(interp);
    }
    return interp;
}

int
main(void)
{
    CHECK(isles_registry_init(count_fork) == 0);
    main_interp = add(0, false);
    idle = add(1, true);
    held = add(2, true);
    closing = add(3, true);
    static int token;
    CHECK(isles_seat_add(isles_thread_self(), idle, &token) == 0);
    CHECK(isles_interp_begin(held, isles_thread_self()) == 0);
    CHECK(isles_interp_close_begin(closing, isles_thread_self()) == 0);

    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, use, (void *)(intptr_t)i) == 0);
    }
    for (int i = 0; i < 60; i++) {
        fork_once();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }

    /* The parent noticed nothing. */
    CHECK(isles_seat_find(isles_thread_self(), idle) == &token);
    CHECK(isles_interp_is_running(held));
    isles_interp_finish(held);
    CHECK(isles_interp_close_begin(held, isles_thread_self()) == 0);
    CHECK(isles_interp_close_begin(idle, isles_thread_self()) == 0);
    free(isles_seats_take_all(idle));
    isles_interp_close_commit(held);
    isles_interp_close_commit(idle);
    isles_interp_close_commit(closing);
    isles_interp_unref(held);
    isles_interp_unref(idle);
    isles_interp_unref(closing);
    isles_registry_forget(main_interp);
    isles_interp_unref(main_interp);
    return 0;
}
