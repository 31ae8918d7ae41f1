/* The moments between two steps: of finding and trimming, storing and trimming, opening and
 * sweeping. */
#include "folder.h"

#include <stdatomic.h>
#include <sys/file.h>

#include "cache_parts.h"

static struct isles_cache *shared;
static atomic_bool stop;

/* ---- an entry's lock ---- */

static void
test_locked_entry(void)
{
    char path[PATH_MAX];
    struct isles_fault fault;
    struct isles_cache *cache = cache_in(under_base("cache"));
    strcpy(path, stored(cache, 1, "m", 100));
    age(path, 1000);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && flock(fd, LOCK_SH) == 0); /* as if somebody were finding it */
    CHECK(isles_cache_trim(cache, 0, &fault) == 0 && exists(path));
    CHECK(flock(fd, LOCK_EX) == 0); /* as if somebody were removing it */
    CHECK(find_number(cache, 1, "m", 100) == ISLES_NOT_FOUND && exists(path));
    CHECK(flock(fd, LOCK_UN) == 0);
    CHECK(find_number(cache, 1, "m", 100) == 0);
    /* Nobody removes a damaged one while another looks at it: that one will. */
    CHECK(flock(fd, LOCK_SH) == 0 && ftruncate(fd, 50) == 0);
    CHECK(find_number(cache, 1, "m", 100) == ISLES_NOT_FOUND && exists(path));
    close(fd);
    CHECK(find_number(cache, 1, "m", 100) == ISLES_NOT_FOUND && !exists(path));
    isles_cache_close(cache);
}

/* ---- finding against trimming ---- */

enum { ENTRIES = 16, ROUNDS = 150, FINDERS = 3, TRIMMERS = 2, SIZE = 20000 };

static atomic_bool seen[ENTRIES];
static atomic_uint trimmed;
static pthread_barrier_t together;

/* What was long not used is found at the very time at which it is removed: either, not both. */
static void *
find_or_trim(void *arg)
{
    struct isles_fault fault;
    int number = (int)(intptr_t)arg;
    uint32_t seed = (uint32_t)(number + 1) * 2654435761u;
    pthread_barrier_wait(&together);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        if (number < TRIMMERS) {
            CHECK(isles_cache_trim(shared, (ENTRIES - 1 - i) * (SIZE + 40), &fault) == 0);
            continue;
        }
        uint64_t entry = random_next(&seed) % ENTRIES;
        int status = find_number(shared, entry, "m", SIZE);
        CHECK(status == 0 || status == ISLES_NOT_FOUND);
        if (status == 0) {
            atomic_store(&seen[entry], true);
        }
    }
    return NULL;
}

static void
test_find_against_trim(void)
{
    char path[PATH_MAX], hex[ISLES_DIGEST_HEX + 1];
    CHECK(pthread_barrier_init(&together, NULL, FINDERS + TRIMMERS) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        shared = cache_in(under_base("cache"));
        for (uint64_t i = 0; i < ENTRIES; i++) {
            age(stored(shared, i, "m", SIZE), 1000 - (int64_t)i);
            seen[i] = false;
        }
        run_threads(FINDERS + TRIMMERS, find_or_trim);
        for (uint64_t i = 0; i < ENTRIES; i++) {
            isles_digest_hex(key_of(i), hex);
            snprintf(path, sizeof(path), "%s/%s/m", isles_cache_path(shared), hex);
            trimmed += !exists(path);
            CHECK(!seen[i] || exists(path));
        }
        isles_cache_close(shared);
    }
    CHECK(trimmed > 0);
    pthread_barrier_destroy(&together);
}

/* ---- storing against trimming: the key's folder comes and goes ---- */

static void *
store_or_trim(void *arg)
{
    struct isles_fault fault;
    char name[20];
    struct timespec long_ago[2] = {{1000, 0}, {1000, 0}};
    snprintf(name, sizeof(name), "%d", (int)(intptr_t)arg);
    for (int i = 0; i < 1500; i++) {
        char *path;
        if (arg == NULL) {
            CHECK(isles_cache_trim(shared, 0, &fault) == 0);
        } else {
            CHECK(isles_cache_store(shared, key_of(1), name, "x", 1, &path, &fault) == 0);
            CHECK(utimensat(AT_FDCWD, path, long_ago, 0) == 0);
            free(path);
        }
    }
    return NULL;
}

static void
test_store_against_trim(void)
{
    shared = cache_in(under_base("cache"));
    run_threads(3, store_or_trim);
    isles_cache_close(shared);
}

/* ---- opening against sweeping ---- */

static void *
open_or_sweep(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        struct stat stat;
        struct isles_cache *cache = cache_in(under_base("cache"));
        CHECK(fstat(cache->user, &stat) == 0 && stat.st_nlink == 1);
        isles_cache_close(cache);
    }
    return NULL;
}

static void
test_open_against_sweep(void)
{
    run_threads(4, open_or_sweep);
    CHECK(names_in(under_base("cache/users")) == 0);
}

/* ---- a damaged entry, and everybody who heals it ---- */

static void *
heal_or_damage(void *arg)
{
    struct isles_fault fault;
    unsigned char *bytes = bytes_of(1, SIZE);
    for (int i = 0; arg == NULL ? !atomic_load(&stop) : i < 300; i++) {
        char *path;
        int status = isles_cache_find(shared, key_of(1), "m", &path, &fault);
        if (status == ISLES_NOT_FOUND) {
            status = isles_cache_store(shared, key_of(1), "m", bytes, SIZE, &path, &fault);
        }
        CHECK(status == 0);
        CHECK(arg != NULL || truncate(path, SIZE / 2) == 0 || errno == ENOENT);
        free(path);
    }
    free(bytes);
    if (arg != NULL) {
        atomic_store(&stop, true);
    }
    return NULL;
}

static void
test_all_heal(void)
{
    shared = cache_in(under_base("cache"));
    run_threads(5, heal_or_damage);
    (void)stored(shared, 1, "m", SIZE);
    isles_cache_close(shared);
}

static void
run(void (*test)(void))
{
    base_make();
    test();
    base_remove();
}

int
main(void)
{
    run(test_locked_entry);
    run(test_find_against_trim);
    run(test_store_against_trim);
    run(test_open_against_sweep);
    run(test_all_heal);
    return 0;
}
