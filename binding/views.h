/* Objects that export memory of blocks: what a received memoryview is a view of, and SharedBuffer.
 * docs/design/buffers.md. */
#ifndef ISLES_BINDING_VIEWS_H
#define ISLES_BINDING_VIEWS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../core/block.h"
#include "state.h"

/* Makes the types and adds SharedBuffer to the module.  0 or -1. */
int isles__views_init(PyObject *module, struct isles_state *state);

/* How elements lie in a block. */
struct isles_layout {
    uint64_t offset; /* of the first one, bytes */
    uint64_t itemsize;
    bool readonly;
    int ndim;
    const char *format; /* as the struct module's */
    const Py_ssize_t *shape;
    const Py_ssize_t *strides;
};

/* A memoryview of a block, which gets a reference of its own.  NULL with an exception: ValueError
 * for elements outside of the block. */
PyObject *isles__view_new(const struct isles_state *state, struct isles_block *block,
                          const struct isles_layout *layout);

/* A SharedBuffer over all of a block, which gets a reference of its own. */
PyObject *isles__shared_new(const struct isles_state *state, struct isles_block *block);

/* Whether the object exports a block, or did before that came home. */
bool isles__is_view(PyObject *object);

/* The block, borrowed; NULL for any other object. */
struct isles_block *isles__view_block(PyObject *object);

/* What the memory belongs to, if it came home: borrowed, or NULL. */
PyObject *isles__view_home(PyObject *object);

#endif
