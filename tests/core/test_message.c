/* A message: what is attached is kept and dropped, once each; parcels; allocations that fail. */
#include <string.h>

#include "check.h"
#include "failing_alloc.h"

#include "message.c" /* NOLINT: so that its allocations can fail */
#include "status.h"

static int gone;

static void
count_gone(struct isles_shared *shared)
{
    (void)shared;
    gone++;
}

static struct isles_shared shared[9];

static void
fill(struct isles_message *message, size_t bytes, uint32_t count)
{
    isles_message_init(message);
    CHECK(isles_buffer_extend(&message->bytes, bytes) != NULL);
    memset(message->bytes.data, 'x', bytes);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index;
        isles_shared_init(&shared[i], ISLES_BLOCK, count_gone);
        CHECK(isles_message_attach(message, &shared[i], &index) == ISLES_OK);
        CHECK(index == i);
    }
}

static void
test_attached_goes_with_the_message(void)
{
    struct isles_message message;
    fill(&message, 10, 9);
    struct isles_contents contents = isles_message_contents(&message);
    CHECK(contents.size == 10 && contents.attached_count == 9
          && contents.attached[8] == &shared[8]);
    isles_shared_ref(&shared[3]);
    gone = 0;
    isles_message_reset(&message);
    CHECK(gone == 8 && message.attached_count == 0 && message.bytes.size == 0);
    isles_shared_unref(&shared[3]);
    CHECK(gone == 9);
    isles_message_fini(&message);
}

static void
test_parcel(size_t bytes)
{
    struct isles_message message;
    fill(&message, bytes, 2);
    gone = 0;
    struct isles_parcel *parcel = isles_message_pack(&message);
    CHECK(parcel != NULL && parcel->contents.size == bytes && gone == 0);
    CHECK(message.bytes.size == 0 && message.attached_count == 0);
    isles_message_fini(&message);
    for (size_t i = 0; i < bytes; i++) {
        CHECK(parcel->contents.data[i] == 'x');
    }
    CHECK(parcel->contents.attached[1] == &shared[1]);
    isles_parcel_free(parcel);
    CHECK(gone == 2);
}

static void
test_allocations_that_fail(void)
{
    struct isles_message message;
    uint32_t index;
    isles_message_init(&message);
    isles_shared_init(&shared[0], ISLES_BLOCK, count_gone);
    allocations_left = 0;
    CHECK(isles_message_attach(&message, &shared[0], &index) == ISLES_NO_MEMORY);
    CHECK(message.attached_count == 0);
    allocations_left = 0;
    CHECK(isles_message_pack(&message) == NULL);
    CHECK(allocations_failed == 2);
    isles_message_fini(&message);
}

int
main(void)
{
    test_attached_goes_with_the_message();
    test_parcel(0);
    test_parcel(ISLES_BUFFER_ROOM);
    test_parcel(ISLES_BUFFER_ROOM + 1);
    test_allocations_that_fail();
    return 0;
}
