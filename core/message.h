/* A message: bytes that one interpreter writes and another reads, and the shared things they name.
 *
 * No Python object is in it.  Bytes name what is attached by its index. */
#ifndef ISLES_MESSAGE_H
#define ISLES_MESSAGE_H

#include <stdatomic.h>

#include "buffer.h"

/* Something that belongs to no interpreter and is counted: the head of each such struct. */
enum isles_kind {
    ISLES_BLOCK,    /* memory: block.h */
    ISLES_HOLD,     /* an interpreter that must not end: registry_interps.h */
    ISLES_QUEUE,    /* queue.h */
    ISLES_NOTIFIER, /* notifier.h; never in a message */
};

struct isles_shared {
    atomic_long refs;
    enum isles_kind kind;
    void (*gone)(struct isles_shared *shared); /* by whoever drops the last reference */
};

/* With one reference, the caller's. */
void isles_shared_init(struct isles_shared *shared, enum isles_kind kind,
                       void (*gone)(struct isles_shared *shared));
void isles_shared_ref(struct isles_shared *shared);
void isles_shared_unref(struct isles_shared *shared);

/* What a reader sees; whoever owns the memory keeps it until the reader is done. */
struct isles_contents {
    const unsigned char *data;
    size_t size;
    size_t stream_at; /* where in `data` the pickles start, up to its end; 0: there are none */
    struct isles_shared *const *attached;
    uint32_t attached_count;
};

/* Being written.  One thread at a time; must not be moved. */
struct isles_message {
    struct isles_buffer bytes;
    size_t stream_at;
    struct isles_shared **attached; /* a reference to each */
    uint32_t attached_count;
    uint32_t attached_size;
};

/* Makes it empty.  Never fails. */
void isles_message_init(struct isles_message *message);

/* Drops what is attached and gives the memory back.  What goes with its last reference may enter
 * interpreters (a hold): in an interpreter, with its GIL. */
void isles_message_fini(struct isles_message *message);

/* As fini, and ready for use again. */
void isles_message_reset(struct isles_message *message);

/* Takes over a reference and gives the index in *index; the same thing may come twice.
 * 0 or ISLES_NO_MEMORY: then the reference stays the caller's. */
int isles_message_attach(struct isles_message *message, struct isles_shared *shared,
                         uint32_t *index);

struct isles_contents isles_message_contents(const struct isles_message *message);

/* A message on its way through a queue: written for good, in one piece if it is small. */
struct isles_parcel {
    struct isles_parcel *next; /* whoever has it may chain it */
    int64_t sender;            /* the interpreter that it came from */
    int unbound;               /* what becomes of it when that ends: queue.h */
    struct isles_contents contents;
    unsigned char *heap;            /* memory of malloc that `contents` lies in, or NULL: `room` */
    struct isles_shared **attached; /* memory of malloc, or NULL */
    unsigned char room[];
};

/* Moves what was written into a new parcel and leaves the message empty; NULL without memory, the
 * message as it was. */
struct isles_parcel *isles_message_pack(struct isles_message *message);

/* Moves what the parcel holds into an empty message, for isles_message_fini; never fails. */
void isles_parcel_empty(struct isles_parcel *parcel, struct isles_message *message);

/* As isles_message_fini. */
void isles_parcel_free(struct isles_parcel *parcel);

#endif
