/* Eight threads and four processes store, find and trim the same and different entries: whatever
 * anybody is given has the right bytes, and at the end the folder holds whole entries only. */
#include "folder.h"

#include <stdatomic.h>
#include <sys/wait.h>

#include "os.h"

enum {
    PROCESSES = 4,
    THREADS = 8,
    ROUNDS = 400, /* of each thread */
    KEYS = 12,    /* all at the same ones, and each at its own */
    LARGEST = 60000,
};

static struct isles_cache *shared;
static _Atomic uint32_t found, made, gone;
static uint32_t process;

static size_t
size_of(uint64_t number)
{
    return (size_t)(number * 7919 % LARGEST);
}

/* What was given is there and right, unless somebody trimmed it right away: he may, once it isn't
 * in use any more, but here everybody who lives keeps it in use. */
static void
check_given(char *path, uint64_t number)
{
    unsigned char *bytes = bytes_of(number, size_of(number));
    CHECK(file_begins_with(path, bytes, size_of(number)));
    free(bytes);
    free(path);
}

static void
find_or_make(struct isles_cache *cache, uint64_t number)
{
    char *path;
    struct isles_fault fault;
    int status = isles_cache_find(cache, key_of(number), "m", &path, &fault);
    CHECK(status == 0 || status == ISLES_NOT_FOUND);
    if (status == 0) {
        atomic_fetch_add(&found, 1);
    } else {
        unsigned char *bytes = bytes_of(number, size_of(number));
        CHECK(isles_cache_store(cache, key_of(number), "m", bytes, size_of(number), &path, &fault)
              == 0);
        free(bytes);
        atomic_fetch_add(&made, 1);
    }
    check_given(path, number);
}

/* Makes one that was long not used; only such ones go. */
static void
make_old(struct isles_cache *cache, uint64_t number)
{
    char *path;
    struct isles_fault fault;
    CHECK(isles_cache_store(cache, key_of(number), "old", "old", 3, &path, &fault) == 0);
    struct timespec long_ago[2] = {{1000, 0}, {1000, 0}};
    if (utimensat(AT_FDCWD, path, long_ago, 0) < 0) {
        CHECK(errno == ENOENT); /* a sibling made it older, and a third trimmed it */
        atomic_fetch_add(&gone, 1);
    }
    free(path);
}

static void *
take_part(void *arg)
{
    uint32_t seed = (uint32_t)((intptr_t)arg + 1) * 2654435761u + process * 40503u;
    uint64_t own = 1000 + process * 100 + (uint64_t)(intptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct isles_fault fault;
        switch (random_next(&seed) % 12) {
        case 0:
            CHECK(isles_cache_trim(shared, random_next(&seed) % 100000, &fault) == 0);
            break;
        case 1:
        case 2:
            make_old(shared, random_next(&seed) % KEYS);
            break;
        case 3:
            find_or_make(shared, own);
            break;
        case 4: { /* one more who comes and goes */
            struct isles_cache *another = cache_in(under_base("cache"));
            find_or_make(another, random_next(&seed) % KEYS);
            isles_cache_close(another);
            break;
        }
        default:
            find_or_make(shared, random_next(&seed) % KEYS);
        }
        random_yield(&seed);
    }
    return NULL;
}

/* ---- nobody is there yet: everybody stores the same ---- */

static void *
store_the_same(void *arg)
{
    char *path;
    struct isles_fault fault;
    (void)arg;
    for (uint64_t i = 100; i < 140; i++) {
        unsigned char *bytes = bytes_of(i, size_of(i));
        CHECK(isles_cache_store(shared, key_of(i), "m", bytes, size_of(i), &path, &fault) == 0);
        free(bytes);
        check_given(path, i);
    }
    return NULL;
}

static void
be_a_process(uint32_t number)
{
    process = number;
    shared = cache_in(under_base("cache"));
    run_threads(THREADS, store_the_same);
    run_threads(THREADS, take_part);
    isles_cache_close(shared);
}

int
main(void)
{
    base_make();
    pid_t children[PROCESSES - 1];
    for (uint32_t i = 1; i < PROCESSES; i++) {
        children[i - 1] = fork();
        if (children[i - 1] == 0) {
            be_a_process(i);
            fflush(NULL);
            _exit(0);
        }
    }
    be_a_process(0);
    for (int i = 0; i < PROCESSES - 1; i++) {
        int status;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    CHECK(found + made > 0);
    CHECK(names_in(under_base("cache/users")) == 0 && names_in(under_base("cache/new")) == 0);

    /* What was in use was never removed: each process has made or found all the common ones. */
    shared = cache_in(under_base("cache"));
    for (uint64_t i = 100; i < 140; i++) {
        CHECK(find_number(shared, i, "m", size_of(i)) == 0);
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        int status = find_number(shared, i, "m", size_of(i));
        CHECK(status == 0);
    }
    isles_cache_close(shared);
    base_remove();
    return 0;
}
