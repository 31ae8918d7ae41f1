/* Blocks: memory that several interpreters see.
 *
 * A block is either memory of no interpreter, freed with its last reference; or *lent*: it belongs
 * to something in an interpreter, its owner, which keeps it until the block comes back.  Whoever
 * drops the last reference to a lent block may be anywhere, so it puts it on the owner's list of
 * returned ones, and the owner is made to look there.  The owner can't end before all it lent is
 * back: `lent` counts that, registry_interps.h.
 *
 * A block never moves or changes its size. */
#ifndef ISLES_BLOCK_H
#define ISLES_BLOCK_H

#include "message.h"
#include "registry_interps.h"

struct isles_block {
    struct isles_shared shared;
    unsigned char *start;
    size_t size;
    bool readonly;
    struct isles_interp *owner; /* a reference; NULL: memory of no interpreter */
    struct isles_block *next;   /* among the returned ones */
};

/* Zeroed memory of no interpreter; NULL without memory. */
struct isles_block *isles_block_new(size_t size);

/* Sets up a block that `owner` lends, with one reference; `gone` gets it when the last is dropped.
 * In the owner, with its GIL. */
void isles_block_lend(struct isles_block *block, struct isles_interp *owner,
                      void (*gone)(struct isles_shared *shared));

/* The block is back in its owner's hands and may be freed.  In the owner, with its GIL. */
void isles_block_settled(struct isles_block *block);

/* Puts it on its owner's list; whether it is the first there: then the owner is to be told.  From
 * any thread. */
bool isles_block_return(struct isles_block *block);

/* Takes the whole list. */
struct isles_block *isles_blocks_returned(struct isles_interp *owner);

/* Whether `count` bytes from `offset` lie inside. */
static inline bool
isles_block_holds(const struct isles_block *block, uint64_t offset, uint64_t count)
{
    return offset <= block->size && count <= block->size - offset;
}

#endif
