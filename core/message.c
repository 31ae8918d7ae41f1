#include "message.h"

#include <stdlib.h>
#include <string.h>

#include "status.h"

/* ---- what is shared ---- */

void
isles_shared_init(struct isles_shared *shared, enum isles_kind kind,
                  void (*gone)(struct isles_shared *shared))
{
    atomic_init(&shared->refs, 1);
    shared->kind = kind;
    shared->gone = gone;
}

void
isles_shared_ref(struct isles_shared *shared)
{
    atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
}

void
isles_shared_unref(struct isles_shared *shared)
{
    /* As isles_interp_unref. */
    if (atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_acq_rel) == 1) {
        shared->gone(shared);
    }
}

static void
drop_all(struct isles_shared **attached, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        isles_shared_unref(attached[i]);
    }
    free(attached);
}

/* ---- being written ---- */

void
isles_message_init(struct isles_message *message)
{
    isles_buffer_init(&message->bytes);
    message->stream_at = 0;
    message->attached = NULL;
    message->attached_count = 0;
    message->attached_size = 0;
}

void
isles_message_fini(struct isles_message *message)
{
    isles_buffer_fini(&message->bytes);
    if (message->attached != NULL) {
        drop_all(message->attached, message->attached_count);
    }
}

void
isles_message_reset(struct isles_message *message)
{
    isles_message_fini(message);
    isles_message_init(message);
}

int
isles_message_attach(struct isles_message *message, struct isles_shared *shared, uint32_t *index)
{
    if (message->attached_count == message->attached_size) {
        uint32_t size = message->attached_size ? message->attached_size * 2 : 4;
        struct isles_shared **attached = NULL;
        if (size > message->attached_size) {
            attached = realloc(message->attached, size * sizeof(*attached));
        }
        if (attached == NULL) {
            return ISLES_NO_MEMORY;
        }
        message->attached = attached;
        message->attached_size = size;
    }
    *index = message->attached_count;
    message->attached[message->attached_count++] = shared;
    return ISLES_OK;
}

struct isles_contents
isles_message_contents(const struct isles_message *message)
{
    return (struct isles_contents){
        .data = message->bytes.data,
        .size = message->bytes.size,
        .stream_at = message->stream_at,
        .attached = message->attached,
        .attached_count = message->attached_count,
    };
}

/* ---- parcels ---- */

struct isles_parcel *
isles_message_pack(struct isles_message *message)
{
    struct isles_buffer *bytes = &message->bytes;
    bool inside = bytes->data == bytes->room;
    struct isles_parcel *parcel = malloc(sizeof(*parcel) + (inside ? bytes->size : 0));
    if (parcel == NULL) {
        return NULL;
    }
    parcel->next = NULL;
    parcel->sender = 0;
    parcel->unbound = 0;
    parcel->contents = isles_message_contents(message);
    parcel->attached = message->attached;
    parcel->heap = NULL;
    if (inside) {
        memcpy(parcel->room, bytes->data, bytes->size);
        parcel->contents.data = parcel->room;
    } else {
        parcel->heap = bytes->data;
    }
    isles_message_init(message);
    return parcel;
}

void
isles_parcel_empty(struct isles_parcel *parcel, struct isles_message *message)
{
    if (parcel->heap != NULL) {
        message->bytes.data = parcel->heap;
    }
    message->attached = parcel->attached;
    message->attached_count = message->attached_size = parcel->contents.attached_count;
    parcel->contents = (struct isles_contents){0};
    parcel->heap = NULL;
    parcel->attached = NULL;
}

void
isles_parcel_free(struct isles_parcel *parcel)
{
    if (parcel->attached != NULL) {
        drop_all(parcel->attached, parcel->contents.attached_count);
    }
    free(parcel->heap);
    free(parcel);
}
