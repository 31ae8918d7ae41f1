/* Allocations that fail on demand.  Include it, then the .c file of core/ under test: that file's
 * calls come here, and the library's copy of it is not linked. */
#ifndef ISLES_TESTS_FAILING_ALLOC_H
#define ISLES_TESTS_FAILING_ALLOC_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long allocations_left = -1; /* the next one after these fails, once; -1: none does */
static long allocations_failed;

static bool
allocation_fails(void)
{
    if (allocations_left < 0 || allocations_left-- > 0) {
        return false;
    }
    allocations_failed++;
    return true;
}

static inline void *
failing_malloc(size_t size)
{
    return allocation_fails() ? NULL : malloc(size);
}

static inline void *
failing_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : calloc(count, size);
}

static inline void *
failing_realloc(void *old, size_t size)
{
    return allocation_fails() ? NULL : realloc(old, size);
}

static inline char *
failing_strdup(const char *text)
{
    return allocation_fails() ? NULL : strdup(text);
}

#define asprintf(...) (allocation_fails() ? -1 : asprintf(__VA_ARGS__))
#define strdup failing_strdup
#define malloc failing_malloc
#define calloc failing_calloc
#define realloc failing_realloc

#endif
