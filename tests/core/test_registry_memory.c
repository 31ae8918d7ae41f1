/* Every allocation of the registry failed once: each operation reports it, changes nothing, and
 * goes through the next time. */
#include <string.h>

#include "check.h"
#include "failing_alloc.h"

#include "registry.c"         /* NOLINT: so that its allocations can fail */
#include "registry_interps.c" /* NOLINT: likewise */
#include "registry_threads.c" /* NOLINT */
#include "registry_seats.c"   /* NOLINT */

static void
no_fork(void)
{
}

enum { COUNT = 200 };

static struct isles_interp *all[COUNT];

/* Does it until it succeeds, with the first allocation failing, then the second, and so on. */
#define UNTIL_IT_SUCCEEDS(result, expression, unchanged)                                           \
    do {                                                                                           \
        for (long failing = 0;; failing++) {                                                       \
            CHECK(failing < 10);                                                                   \
            allocations_left = failing;                                                            \
            result = (expression);                                                                 \
            bool all_went = allocations_left >= 0;                                                 \
            allocations_left = -1;                                                                 \
            if (result == ISLES_OK) {                                                              \
                CHECK(all_went);                                                                   \
                break;                                                                             \
            }                                                                                      \
            CHECK(result == ISLES_NO_MEMORY);                                                      \
            CHECK(unchanged);                                                                      \
        }                                                                                          \
    } while (0)

static void
test_thread_record(void)
{
    allocations_left = 0;
    CHECK(isles_thread_self() == NULL);
    CHECK(allocations_failed == 1);
    allocations_left = -1;
    CHECK(isles_thread_self() != NULL);
    CHECK(isles_thread_self()->entries_size == 0);
}

static void
test_add(void)
{
    for (int i = 0; i < COUNT; i++) { /* enough for the slots to grow some times */
        int status;
        UNTIL_IT_SUCCEEDS(status, isles_registry_add(i + 1, all, true, &all[i]),
                          all[i] == NULL && isles_registry_find(i + 1) == NULL);
        CHECK(all[i] != NULL && all[i]->slot == (uint32_t)i);
        isles_interp_close_cancel(all[i]);
    }
    CHECK(allocations_failed > COUNT);
}

static void
test_seats(void)
{
    struct isles_thread *thread = isles_thread_self();
    for (int i = 0; i < COUNT; i++) {
        int status;
        UNTIL_IT_SUCCEEDS(status, isles_seat_add(thread, all[i], &all[i]),
                          isles_seat_find(thread, all[i]) == NULL && all[i]->seats == NULL);
        for (int j = 0; j <= i; j++) {
            CHECK(isles_seat_find(thread, all[j]) == &all[j]);
        }
    }
}

/* Ending needs no memory: it may not fail. */
static void
test_end(void)
{
    allocations_left = 0;
    for (int i = 0; i < COUNT; i++) {
        CHECK(isles_interp_begin(all[i], isles_thread_self()) == 0);
        isles_interp_finish(all[i]);
        CHECK(isles_interp_close_begin(all[i], isles_thread_self()) == 0);
        struct isles_seat *seats = isles_seats_take_all(all[i]);
        CHECK(seats != NULL && seats->next == NULL);
        free(seats);
        isles_interp_close_commit(all[i]);
        isles_interp_unref(all[i]);
    }
    CHECK(allocations_left == 0);
    allocations_left = -1;
    CHECK(free_slots_count == COUNT);
}

int
main(void)
{
    CHECK(isles_registry_init(no_fork) == 0);
    test_thread_record();
    test_add();
    test_seats();
    test_end();
    free(free_slots); /* else kept until the process ends */
    return 0;
}
