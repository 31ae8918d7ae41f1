/* What every core test uses: a check that stays in release builds, and threads in a line.
 *
 * A test is a program: 0 passes; a check that fails prints where and aborts. */
#ifndef ISLES_TESTS_CHECK_H
#define ISLES_TESTS_CHECK_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A small generator for each thread: repeatable, and without the lock of rand(). */
static inline uint32_t
random_next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Lets other threads in at a place where a race would show, now and then. */
static inline void
random_yield(uint32_t *seed)
{
    if (random_next(seed) % 4 == 0) {
        sched_yield();
    }
}

/* Runs body(its number) on `count` threads at once and waits for them. */
static inline void
run_threads(int count, void *(*body)(void *))
{
    pthread_t threads[64];
    CHECK(count <= 64);
    for (int i = 0; i < count; i++) {
        CHECK(pthread_create(&threads[i], NULL, body, (void *)(intptr_t)i) == 0);
    }
    for (int i = 0; i < count; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

#endif
