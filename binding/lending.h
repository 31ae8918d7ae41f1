/* Memory of an interpreter's objects, lent to others: core/block.h from Python's side.
 *
 * A lent block holds a Py_buffer on the object that the memory belongs to, so that it neither goes
 * nor changes its size.  When nobody uses the block any more, its owner releases that: at once if
 * it is the one that dropped it, otherwise when it is entered or left, by a pending call if it is
 * running, and if it is idle by whoever dropped the block, who enters it for that.
 * docs/design/buffers.md. */
#ifndef ISLES_BINDING_LENDING_H
#define ISLES_BINDING_LENDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../core/block.h"
#include "local.h"

/* What an object exports, and the block that the memory lies in. */
struct isles_export {
    struct isles_block *block; /* a reference */
    uint64_t offset;           /* of the first element in the block */
    bool copied;    /* then the elements lie there as in the view if that is contiguous in
                       any order, otherwise in C order */
    Py_buffer view; /* the description */
};

/* The lowest byte that a buffer's elements take, and one past the highest. */
void isles__extent(const Py_buffer *view, unsigned char **low, unsigned char **high);

/* Whether a description can travel; otherwise BufferError is set. */
bool isles__exportable(const Py_buffer *view);

/* Exports an object: gives the block that its memory came in, if it is memory that another
 * interpreter lent or that belongs to none; otherwise lends it.  An interpreter that isles didn't
 * make may end at any time, and one that is being ended will, so of their objects this gives a
 * copy. 0, or -1 with an exception: BufferError if it can't be described (suboffsets, or elements
 * that are Python objects). */
int isles__export(struct isles_local *local, PyObject *object, struct isles_export *export);
void isles__export_fini(struct isles_export *export);

/* The object that a lent block's memory belongs to, a borrowed reference of the owner's; NULL for a
 * block that is not lent by this interpreter. */
PyObject *isles__lent_object(const struct isles_block *block, const struct isles_interp *here);

/* Releases what has been returned.  In the interpreter. */
void isles__lending_settle(struct isles_interp *here);

#endif
