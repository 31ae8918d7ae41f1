#include "decode_parts.h"

#include "ids.h"
#include "interp.h"
#include "queues.h"
#include "views.h"

PyObject *
isles__get_id(struct isles_decoder *d, unsigned tag)
{
    struct isles_state *state = isles__decoder_state(d);
    int64_t id;
    if (state == NULL) {
        return NULL;
    }
    if (isles_reader_copy(&d->reader, &id, sizeof(id)) < 0) {
        return isles__malformed();
    }
    return tag == ISLES_TAG_ID ? isles__id_new(state, id) : isles__interp_new(state, id);
}

PyObject *
isles__get_shared(struct isles_decoder *d, unsigned tag)
{
    const struct isles_state *state = isles__decoder_state(d);
    uint32_t index;
    if (state == NULL) {
        return NULL;
    }
    if (isles_reader_copy(&d->reader, &index, sizeof(index)) < 0) {
        return isles__malformed();
    }
    bool queue = tag == ISLES_TAG_QUEUE;
    struct isles_shared *shared = isles__get_attached(d, index, queue ? ISLES_QUEUE : ISLES_BLOCK);
    if (shared == NULL) {
        return NULL;
    }
    if (!queue) {
        return isles__shared_new(state, (struct isles_block *)shared);
    }
    isles_shared_ref(shared);
    return isles__queue_object(state, (struct isles_queue *)shared);
}
