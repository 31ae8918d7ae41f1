/* Notes from many threads to one that polls: each comes once, each thread's in order, none is left
 * behind while it sleeps, and none outlives a notifier that is closed or gone. */
#include <poll.h>
#include <unistd.h>

#include "check.h"
#include "notifier.h"
#include "status.h"

enum { POSTERS = 4, NOTES = 20000 };

struct numbered {
    struct isles_note note;
    int poster, number;
};

static struct isles_notifier *notifier;
static atomic_int dropped;

static void
drop(struct isles_note *note)
{
    atomic_fetch_add(&dropped, 1);
    free(note);
}

static void
post(int poster, int number)
{
    struct numbered *numbered = malloc(sizeof(*numbered));
    CHECK(numbered != NULL);
    *numbered = (struct numbered){{.drop = drop}, poster, number};
    isles_notifier_post(notifier, &numbered->note);
}

static bool
is_readable(int timeout)
{
    struct pollfd fd = {.fd = notifier->fd, .events = POLLIN};
    int count = poll(&fd, 1, timeout);
    CHECK(count >= 0);
    return count == 1;
}

/* Drops them all and gives how many they were. */
static int
drop_all(struct isles_note *note)
{
    int count = 0;
    for (; note != NULL; count++) {
        struct isles_note *next = note->next;
        note->drop(note);
        note = next;
    }
    return count;
}

static void
test_one_thread(void)
{
    CHECK(isles_notifier_new(&notifier) == 0);
    CHECK(!is_readable(0) && isles_notifier_take(notifier) == NULL);
    for (int i = 0; i < 3; i++) {
        post(0, i);
    }
    CHECK(is_readable(0));
    struct isles_note *note = isles_notifier_take(notifier);
    const struct isles_note *at = note;
    for (int i = 0; i < 3; i++, at = at->next) {
        CHECK(((const struct numbered *)at)->number == i);
    }
    CHECK(at == NULL && drop_all(note) == 3 && !is_readable(0));
    isles_notifier_ring(notifier);
    CHECK(is_readable(0) && isles_notifier_take(notifier) == NULL && !is_readable(0));
    post(0, 3);
    post(0, 4);
    CHECK(drop_all(isles_notifier_close(notifier)) == 2);
    dropped = 0;
    post(0, 5); /* too late */
    CHECK(dropped == 1 && isles_notifier_take(notifier) == NULL);
    CHECK(isles_notifier_close(notifier) == NULL);
    isles_shared_unref(&notifier->shared);
    CHECK(isles_notifier_new(&notifier) == 0);
    post(0, 6);
    isles_shared_unref(&notifier->shared); /* never taken */
    CHECK(dropped == 2);
}

static void
poll_all(void)
{
    int next[POSTERS] = {0};
    for (int left = POSTERS * NOTES; left > 0;) {
        CHECK(is_readable(60000)); /* a wake-up that is lost would take that long */
        struct isles_note *note = isles_notifier_take(notifier);
        for (const struct isles_note *at = note; at != NULL; at = at->next) {
            const struct numbered *numbered = (const struct numbered *)at;
            CHECK(numbered->number == next[numbered->poster]++);
        }
        left -= drop_all(note);
    }
}

static void *
take_part(void *arg)
{
    int me = (int)(intptr_t)arg;
    uint32_t seed = ((uint32_t)me + 1) * 2654435761u;
    if (me == POSTERS) {
        poll_all();
        return NULL;
    }
    for (int i = 0; i < NOTES; i++) {
        post(me, i);
        random_yield(&seed);
    }
    return NULL;
}

static void
test_many_threads(void)
{
    CHECK(isles_notifier_new(&notifier) == 0);
    dropped = 0;
    run_threads(POSTERS + 1, take_part);
    CHECK(dropped == POSTERS * NOTES);
    isles_shared_unref(&notifier->shared);
}

/* ---- closed while others post ---- */

static void *
post_or_close(void *arg)
{
    if (arg == NULL) {
        sched_yield();
        drop_all(isles_notifier_close(notifier));
    } else {
        for (int i = 0; i < 100; i++) {
            post(0, i);
        }
    }
    return NULL;
}

static void
test_closing(void)
{
    for (int round = 0; round < 200; round++) {
        CHECK(isles_notifier_new(&notifier) == 0);
        dropped = 0;
        run_threads(4, post_or_close);
        CHECK(dropped == 300);
        isles_shared_unref(&notifier->shared);
    }
}

static void
test_descriptors(void)
{
    int before = dup(0);
    CHECK(before >= 0 && close(before) == 0);
    for (int i = 0; i < 100; i++) {
        CHECK(isles_notifier_new(&notifier) == 0);
        isles_shared_unref(&notifier->shared);
    }
    int after = dup(0);
    CHECK(after == before && close(after) == 0);
}

int
main(void)
{
    test_one_thread();
    test_many_threads();
    test_closing();
    test_descriptors();
    return 0;
}
