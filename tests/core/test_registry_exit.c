/* The exit flag, which is for good: a program of its own. */
#include "check.h"
#include "registry.h"
#include "registry_interps.h"
#include "registry_threads.h"
#include "status.h"

static void
no_fork(void)
{
}

static struct isles_interp *idle, *held;
static atomic_int waiting, go;

static void *
other_thread(void *arg)
{
    (void)arg;
    struct isles_thread *thread = isles_thread_self();
    struct isles_interp *none = NULL;
    CHECK(isles_interp_begin(held, thread) == 0);
    atomic_store(&waiting, 1);
    while (!atomic_load(&go)) {
        sched_yield();
    }
    CHECK(isles_registry_exiting());
    CHECK(isles_interp_begin(idle, thread) == ISLES_EXITING);
    CHECK(!isles_interp_is_running(idle)); /* undone */
    CHECK(isles_registry_add(77, &none, true, &none) == ISLES_EXITING && none == NULL);
    CHECK(isles_registry_find(77) == NULL);
    /* What is known is still found, and who is inside may leave. */
    CHECK(isles_registry_add(idle->id, &none, true, &none) == 0 && none == idle);
    isles_interp_unref(none);
    isles_interp_finish(held);
    return NULL;
}

/* Either the exit sees somebody inside, or nobody gets in: never both a false. */
static atomic_int racing;

static void *
race(void *arg)
{
    (void)arg;
    struct isles_thread *thread = isles_thread_self();
    atomic_fetch_add(&racing, 1);
    for (;;) {
        int status = isles_interp_begin(idle, thread);
        CHECK(status == 0 || status == ISLES_BUSY || status == ISLES_EXITING);
        if (status == ISLES_EXITING) {
            return NULL;
        }
        if (status == 0) {
            isles_interp_finish(idle);
        }
    }
}

int
main(void)
{
    CHECK(isles_registry_init(no_fork) == 0);
    CHECK(isles_registry_add(1, &idle, true, &idle) == 0);
    CHECK(isles_registry_add(2, &held, true, &held) == 0);
    isles_interp_close_cancel(idle);
    isles_interp_close_cancel(held);

    pthread_t threads[5];
    CHECK(pthread_create(&threads[4], NULL, other_thread, NULL) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, race, NULL) == 0);
    }
    while (!atomic_load(&waiting) || atomic_load(&racing) < 4) {
        sched_yield();
    }
    CHECK(!isles_registry_exiting());
    isles_registry_exit_begin();
    CHECK(!isles_registry_exiting());
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(!isles_interp_is_running(idle));
    atomic_store(&go, 1);
    CHECK(pthread_join(threads[4], NULL) == 0);

    /* The exiting thread alone may still enter, add and close. */
    struct isles_interp *late = NULL;
    CHECK(isles_interp_begin(idle, isles_thread_self()) == 0);
    isles_interp_finish(idle);
    CHECK(isles_registry_add(78, &late, false, &late) == 0);
    isles_registry_forget(late);
    isles_interp_unref(late);
    CHECK(isles_interp_close_begin(idle, isles_thread_self()) == 0);
    isles_interp_close_commit(idle);
    isles_interp_unref(idle);
    isles_interp_abandon(held);
    isles_interp_unref(held);
    return 0;
}
