/* Every allocation failed once while a file and what it needs is copied, memory is lent, and a
 * notifier made: each reports it, and goes through the next time.  The argument is the module of
 * tests/core/copies/. */
#define key_of key_of_entry /* copies.c has one too */
#include "folder.h"
#undef key_of

#include <dlfcn.h>

#include "failing_alloc.h"

#include "block.c"            /* NOLINT: so that its allocations can fail */
#include "copies.c"           /* NOLINT: likewise */
#include "copies_made.c"      /* NOLINT */
#include "copies_originals.c" /* NOLINT */
#include "copies_store.c"     /* NOLINT */
#include "libraries.c"        /* NOLINT */
#include "notifier.c"         /* NOLINT */

int PyProbe_Value(void);

int
PyProbe_Value(void)
{
    return 1000;
}

/* Does it until it succeeds, with the first allocation failing, then the second, and so on.  How
 * many failed. */
#define UNTIL_IT_SUCCEEDS(count, expression)                                                       \
    do {                                                                                           \
        for (count = 0;; count++) {                                                                \
            CHECK(count < 100);                                                                    \
            allocations_left = count;                                                              \
            int status_ = (expression);                                                            \
            bool all_went = allocations_left >= 0;                                                 \
            allocations_left = -1;                                                                 \
            if (all_went) {                                                                        \
                CHECK(status_ == ISLES_OK);                                                        \
                break;                                                                             \
            }                                                                                      \
            CHECK(status_ == ISLES_NO_MEMORY);                                                     \
        }                                                                                          \
    } while (0)

static struct isles_fault fault;

static void
test_copy(const char *file)
{
    struct isles_original module;
    long count;
    UNTIL_IT_SUCCEEDS(count, isles_original_open(&module, file, &fault));
    CHECK(count >= 1);
    unsigned slot = isles_copies_slot();
    char *path;
    int status = ISLES_NO_MEMORY;
    long failed = 0;
    for (long left = 0; status < 0; left++, failed++) {
        CHECK(left < 200 && status == ISLES_NO_MEMORY);
        allocations_left = left; /* what can be done without may fail unseen */
        status = isles_copies_make(&module, slot, &path, &fault);
        allocations_left = -1;
    }
    CHECK(failed > 3);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(handle != NULL);
    int (*value)(void);
    *(void **)&value = dlsym(handle, "module_value");
    CHECK(value != NULL && value() == 1001);
    isles_copies_loaded(slot);
    free(path);
    isles_original_close(&module);
}

static int
block(size_t size)
{
    struct isles_block *made = isles_block_new(size);
    if (made == NULL) {
        return ISLES_NO_MEMORY;
    }
    isles_shared_unref(&made->shared);
    return ISLES_OK;
}

static int
a_notifier(void)
{
    struct isles_notifier *made;
    int status = isles_notifier_new(&made);
    if (status == ISLES_OK) {
        CHECK(isles_notifier_close(made) == NULL);
        isles_shared_unref(&made->shared);
    }
    return status;
}

int
main(int argc, char **argv)
{
    CHECK(argc == 2);
    base_make();
    CHECK(setenv("ISLES_CACHE_DIR", under_base("cache"), 1) == 0);
    CHECK(isles_copies_init() == 0);
    test_copy(argv[1]);
    CHECK(setenv("ISLES_CACHE", "memory", 1) == 0);
    test_copy(argv[1]);
    long count;
    UNTIL_IT_SUCCEEDS(count, block(100));
    CHECK(count == 2);
    UNTIL_IT_SUCCEEDS(count, a_notifier());
    CHECK(count == 1);
    base_remove();
    return 0;
}
