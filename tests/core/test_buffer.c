/* A buffer: growth, limits, every allocation failed once; and the reader. */
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "failing_alloc.h"

#include "buffer.c" /* NOLINT: so that its allocations can fail */

static unsigned char
pattern(size_t i)
{
    return (unsigned char)(i * 31 + i / 251);
}

static void
check_pattern(const struct isles_buffer *buffer)
{
    CHECK(isles_buffer_is_valid(buffer));
    for (size_t i = 0; i < buffer->size; i++) {
        CHECK(buffer->data[i] == pattern(i));
    }
}

static int
append_pattern(struct isles_buffer *buffer, size_t count)
{
    unsigned char bytes[4096];
    CHECK(count <= sizeof(bytes));
    for (size_t i = 0; i < count; i++) {
        bytes[i] = pattern(buffer->size + i);
    }
    return isles_buffer_append(buffer, bytes, count);
}

static void
test_small_stays_inside(void)
{
    struct isles_buffer buffer;
    isles_buffer_init(&buffer);
    CHECK(buffer.size == 0 && isles_buffer_is_valid(&buffer));
    CHECK(append_pattern(&buffer, ISLES_BUFFER_ROOM - 1) == 0);
    CHECK(append_pattern(&buffer, 1) == 0);
    CHECK(buffer.data == buffer.room);
    CHECK(append_pattern(&buffer, 1) == 0);
    CHECK(buffer.data != buffer.room);
    CHECK(buffer.size == ISLES_BUFFER_ROOM + 1);
    check_pattern(&buffer);
    isles_buffer_fini(&buffer);
    CHECK(buffer.size == 0 && buffer.data == buffer.room && isles_buffer_is_valid(&buffer));
}

static void
test_growth(void)
{
    for (size_t step = 1; step < 700; step += 37) {
        struct isles_buffer buffer;
        isles_buffer_init(&buffer);
        for (size_t total = 0; total < 40000; total += step) {
            CHECK(append_pattern(&buffer, step) == 0);
            CHECK(buffer.size == total + step);
        }
        check_pattern(&buffer);
        CHECK(buffer.capacity < 2 * buffer.size + ISLES_BUFFER_ROOM);
        isles_buffer_fini(&buffer);
    }
}

static void
test_one_large(void)
{
    struct isles_buffer buffer;
    isles_buffer_init(&buffer);
    CHECK(append_pattern(&buffer, 5) == 0);
    size_t large = 10u << 20;
    unsigned char *start = isles_buffer_extend(&buffer, large);
    CHECK(start != NULL && buffer.size == large + 5);
    for (size_t i = 0; i < large; i++) {
        start[i] = pattern(i + 5);
    }
    check_pattern(&buffer);
    isles_buffer_fini(&buffer);
}

static void
test_nothing(void)
{
    struct isles_buffer buffer;
    isles_buffer_init(&buffer);
    CHECK(isles_buffer_append(&buffer, NULL, 0) == 0);
    CHECK(isles_buffer_extend(&buffer, 0) != NULL);
    CHECK(buffer.size == 0);
    isles_buffer_fini(&buffer);
    isles_buffer_fini(&buffer); /* empty again: no harm */
}

static void
check_too_large(struct isles_buffer *buffer)
{
    size_t size = buffer->size;
    const unsigned char *data = buffer->data;
    /* A sum that wraps, the largest that doesn't, and one that only the allocator refuses. */
    const size_t counts[] = {SIZE_MAX, SIZE_MAX - size + 1, SIZE_MAX - size, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i] == 0) {
            continue;
        }
        allocations_left = 0; /* also where the sanitizer's allocator would abort */
        CHECK(isles_buffer_extend(buffer, counts[i]) == NULL);
        allocations_left = -1;
        CHECK(buffer->size == size && buffer->data == data);
        check_pattern(buffer);
    }
    CHECK(append_pattern(buffer, 1) == 0);
}

static void
test_limits(void)
{
    struct isles_buffer buffer;
    isles_buffer_init(&buffer);
    check_too_large(&buffer);
    CHECK(append_pattern(&buffer, 4096) == 0);
    check_too_large(&buffer);
    isles_buffer_fini(&buffer);
}

/* 1 if it went through, 0 if it ran out of memory and left the buffer as it was. */
static int
try_fill(long failing)
{
    struct isles_buffer buffer;
    isles_buffer_init(&buffer);
    int done = 1;
    allocations_left = failing;
    for (int i = 0; i < 40 && done; i++) {
        size_t before = buffer.size;
        if (append_pattern(&buffer, 300) == ISLES_NO_MEMORY) {
            done = 0;
            CHECK(buffer.size == before);
        }
        check_pattern(&buffer);
    }
    allocations_left = -1;
    CHECK(append_pattern(&buffer, 300) == 0); /* usable afterwards */
    check_pattern(&buffer);
    isles_buffer_fini(&buffer);
    return done;
}

static void
test_every_allocation_fails_once(void)
{
    long failing = 0;
    while (!try_fill(failing)) {
        failing++;
    }
    CHECK(failing >= 3);
    CHECK(allocations_failed >= failing);
}

static void
test_invalid_is_seen(void)
{
    struct isles_buffer buffer;
    isles_buffer_init(&buffer);
    buffer.size = buffer.capacity + 1;
    CHECK(!isles_buffer_is_valid(&buffer));
    isles_buffer_init(&buffer);
    buffer.capacity *= 2;
    CHECK(!isles_buffer_is_valid(&buffer));
    isles_buffer_init(&buffer);
    buffer.data = NULL;
    CHECK(!isles_buffer_is_valid(&buffer));
}

static void
test_reader(void)
{
    static const unsigned char bytes[] = {1, 2, 3, 4, 5};
    struct isles_reader reader = {bytes, bytes + sizeof(bytes)};
    uint16_t two = 0;
    CHECK(isles_reader_take(&reader, 0) == bytes);
    CHECK(isles_reader_take(&reader, 3) == bytes);
    CHECK(isles_reader_take(&reader, 3) == NULL && reader.at == bytes + 3);
    CHECK(isles_reader_take(&reader, SIZE_MAX) == NULL && reader.at == bytes + 3);
    unsigned char three[3] = {9, 9, 9};
    CHECK(isles_reader_copy(&reader, three, 3) == ISLES_MALFORMED);
    CHECK(three[0] == 9 && three[2] == 9 && reader.at == bytes + 3);
    CHECK(isles_reader_copy(&reader, &two, 2) == 0);
    CHECK(memcmp(&two, bytes + 3, 2) == 0);
    CHECK(isles_reader_take(&reader, 0) == bytes + 5);
    CHECK(isles_reader_take(&reader, 1) == NULL);
}

int
main(void)
{
    test_small_stays_inside();
    test_growth();
    test_one_large();
    test_nothing();
    test_limits();
    test_every_allocation_fails_once();
    test_invalid_is_seen();
    test_reader();
    return 0;
}
