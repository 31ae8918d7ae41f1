#include "block.h"

#include <stdlib.h>

static void
free_block(struct isles_shared *shared)
{
    struct isles_block *block = (struct isles_block *)shared;
    free(block->start);
    free(block);
}

struct isles_block *
isles_block_new(size_t size)
{
    struct isles_block *block = malloc(sizeof(*block));
    unsigned char *start = calloc(size > 0 ? size : 1, 1);
    if (block == NULL || start == NULL) {
        free(block);
        free(start);
        return NULL;
    }
    isles_shared_init(&block->shared, ISLES_BLOCK, free_block);
    block->start = start;
    block->size = size;
    block->readonly = false;
    block->owner = NULL;
    return block;
}

void
isles_block_lend(struct isles_block *block, struct isles_interp *owner,
                 void (*gone)(struct isles_shared *shared))
{
    isles_shared_init(&block->shared, ISLES_BLOCK, gone);
    block->owner = owner;
    isles_interp_ref(owner);
    atomic_fetch_add_explicit(&owner->lent, 1, memory_order_relaxed);
}

void
isles_block_settled(struct isles_block *block)
{
    atomic_fetch_sub_explicit(&block->owner->lent, 1, memory_order_relaxed);
    isles_interp_unref(block->owner);
}

bool
isles_block_return(struct isles_block *block)
{
    struct isles_interp *owner = block->owner;
    struct isles_block *first = atomic_load_explicit(&owner->returned, memory_order_relaxed);
    do {
        block->next = first;
        /* Sequentially consistent: who returns one then looks whether somebody is inside, while who
         * leaves says that he is out and then looks here.  One of them sees the other. */
    } while (!atomic_compare_exchange_weak(&owner->returned, &first, block));
    return first == NULL;
}

struct isles_block *
isles_blocks_returned(struct isles_interp *owner)
{
    return atomic_exchange(&owner->returned, NULL);
}
