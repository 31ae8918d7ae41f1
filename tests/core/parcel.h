/* Parcels that hold a number, for the tests of queues. */
#ifndef ISLES_TESTS_PARCEL_H
#define ISLES_TESTS_PARCEL_H

#include <string.h>

#include "check.h"
#include "queue.h"
#include "status.h"

static inline struct isles_parcel *
parcel_of(int64_t number)
{
    struct isles_message message;
    isles_message_init(&message);
    CHECK(isles_buffer_append(&message.bytes, &number, sizeof(number)) == 0);
    struct isles_parcel *parcel = isles_message_pack(&message);
    CHECK(parcel != NULL);
    parcel->unbound = ISLES_UNBOUND_REPLACE;
    return parcel;
}

static inline int64_t
number_in(const struct isles_parcel *parcel)
{
    int64_t number;
    CHECK(parcel->contents.size == sizeof(number));
    memcpy(&number, parcel->contents.data, sizeof(number));
    return number;
}

/* A chain of `count` numbers from `from` on. */
static inline struct isles_parcel *
chain_of(int64_t from, int count)
{
    struct isles_parcel *first = NULL;
    while (count-- > 0) {
        struct isles_parcel *parcel = parcel_of(from + count);
        parcel->next = first;
        first = parcel;
    }
    return first;
}

/* Puts one number; frees what wasn't put. */
static inline int
put_number(struct isles_queue *queue, int64_t number, int64_t deadline)
{
    struct isles_parcel *parcel = parcel_of(number);
    int status = isles_queue_put(queue, &parcel, deadline);
    CHECK((status == 0) == (parcel == NULL));
    isles_parcels_free(parcel);
    return status;
}

/* Gets one number. */
static inline int
get_number(struct isles_queue *queue, int64_t *number, int64_t deadline)
{
    struct isles_parcel *parcel;
    int status = isles_queue_get(queue, 1, &parcel, deadline);
    CHECK((status == 0) == (parcel != NULL));
    if (status == 0) {
        CHECK(parcel->next == NULL);
        *number = number_in(parcel);
        isles_parcel_free(parcel);
    }
    return status;
}

#endif
