#include "decode_parts.h"

#include "views.h"

struct isles_shared *
isles__get_attached(const struct isles_decoder *d, uint32_t index, enum isles_kind kind)
{
    struct isles_shared *shared =
        index < d->contents->attached_count ? d->contents->attached[index] : NULL;
    if (shared == NULL || shared->kind != kind) {
        isles__malformed();
        return NULL;
    }
    return shared;
}

struct isles_block *
isles__get_block(const struct isles_decoder *d, const struct isles_span *span)
{
    struct isles_block *block =
        (struct isles_block *)isles__get_attached(d, span->attached, ISLES_BLOCK);
    if (block != NULL && span->offset > block->size) {
        isles__malformed();
        return NULL;
    }
    return block;
}

PyObject *
isles__get_lent_bytes(struct isles_decoder *d)
{
    struct isles_span span;
    struct isles_block *block;
    if (isles_reader_copy(&d->reader, &span, sizeof(span)) < 0) {
        return isles__malformed();
    }
    if ((block = isles__get_block(d, &span)) == NULL) {
        return NULL;
    }
    if (!isles_block_holds(block, span.offset, span.size)) {
        return isles__malformed();
    }
    return PyBytes_FromStringAndSize((const char *)block->start + span.offset,
                                     (Py_ssize_t)span.size);
}

PyObject *
isles__get_view(struct isles_decoder *d, bool wanted)
{
    struct isles_span span;
    struct isles_wire_layout wire;
    if (isles_reader_copy(&d->reader, &span, sizeof(span)) < 0
        || isles_reader_copy(&d->reader, &wire, sizeof(wire)) < 0 || wire.ndim > PyBUF_MAX_NDIM) {
        return isles__malformed();
    }
    Py_ssize_t shape[PyBUF_MAX_NDIM], strides[PyBUF_MAX_NDIM];
    const unsigned char *format;
    if (isles_reader_copy(&d->reader, shape, wire.ndim * sizeof(*shape)) < 0
        || isles_reader_copy(&d->reader, strides, wire.ndim * sizeof(*strides)) < 0
        || (format = isles_reader_take(&d->reader, wire.format_size)) == NULL
        || wire.format_size == 0 || format[wire.format_size - 1] != 0) {
        return isles__malformed();
    }
    if (!wanted) {
        Py_RETURN_NONE;
    }
    struct isles_layout layout = {
        .offset = span.offset,
        .itemsize = wire.itemsize,
        .readonly = span.readonly != 0,
        .ndim = (int)wire.ndim,
        .format = (const char *)format,
        .shape = shape,
        .strides = strides,
    };
    const struct isles_state *state = isles__decoder_state(d);
    struct isles_block *block = state ? isles__get_block(d, &span) : NULL;
    return block ? isles__view_new(state, block, &layout) : NULL;
}
