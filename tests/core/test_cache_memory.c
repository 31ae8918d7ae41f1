/* Every allocation of the cache failed once: each operation says so, changes nothing, and goes
 * through the next time. */
#include "folder.h"

#include "failing_alloc.h"

#include "cache.c" /* NOLINT: so that its allocations can fail */
#define compare compare_used
#include "cache_trim.c" /* NOLINT */

static struct isles_fault why;

/* Does it until it succeeds, with the first allocation failing, then the second, and so on. */
#define UNTIL_IT_SUCCEEDS(expression, unchanged, failures)                                         \
    do {                                                                                           \
        for (long failing = 0;; failing++) {                                                       \
            CHECK(failing < 100);                                                                  \
            allocations_left = failing;                                                            \
            int result = (expression);                                                             \
            bool all_went = allocations_left >= 0;                                                 \
            allocations_left = -1;                                                                 \
            if (result == ISLES_OK) {                                                              \
                CHECK(all_went && failing == (failures));                                          \
                break;                                                                             \
            }                                                                                      \
            CHECK(result == ISLES_NO_MEMORY);                                                      \
            CHECK(unchanged);                                                                      \
        }                                                                                          \
    } while (0)

static int
open_descriptors(void)
{
    return names_in("/proc/self/fd");
}

static void
test_all(void)
{
    enum { COUNT = 130 }; /* the list of entries grows twice */
    struct isles_cache *cache = NULL;
    char *path = NULL;
    int before = open_descriptors();
    UNTIL_IT_SUCCEEDS(isles_cache_open(under_base("cache"), &cache, &why),
                      cache == NULL && why.error == ENOMEM && open_descriptors() == before, 1);
    before = open_descriptors();
    for (uint64_t i = 0; i < COUNT; i++) {
        UNTIL_IT_SUCCEEDS(isles_cache_store(cache, key_of(i), "m", "12345", 5, &path, &why),
                          path == NULL && why.error == ENOMEM, 1);
        free(path);
        path = NULL;
        UNTIL_IT_SUCCEEDS(isles_cache_find(cache, key_of(i), "m", &path, &why),
                          path == NULL && why.error == ENOMEM, 2);
        age(path, 1000);
        free(path);
        path = NULL;
    }
    CHECK(open_descriptors() == before && names_in(under_base("cache/new")) == 0);
    UNTIL_IT_SUCCEEDS(isles_cache_trim(cache, 0, &why), names_in(under_base("cache")) == COUNT + 2,
                      3);
    CHECK(names_in(under_base("cache")) == 2);
    CHECK(open_descriptors() == before);
    isles_cache_close(cache);
}

/* The one that is in the way when storing has to be read, which takes memory. */
static void
test_store_where_one_is(void)
{
    struct isles_cache *cache = cache_in(under_base("cache"));
    char *path = NULL;
    CHECK(isles_cache_store(cache, key_of(1), "m", "12345", 5, &path, &why) == 0);
    free(path);
    path = NULL;
    UNTIL_IT_SUCCEEDS(isles_cache_store(cache, key_of(1), "m", "12345", 5, &path, &why),
                      path == NULL && names_in(under_base("cache/new")) == 0, 2);
    free(path);
    isles_cache_close(cache);
}

int
main(void)
{
    base_make();
    test_all();
    test_store_where_one_is();
    base_remove();
    CHECK(allocations_failed > 0);
    return 0;
}
