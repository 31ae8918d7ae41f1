/* What the files of the views share: views.c exports memory of a block, shared_buffer.c is the type
 * that does so for memory of nobody's. */
#ifndef ISLES_BINDING_VIEWS_PARTS_H
#define ISLES_BINDING_VIEWS_PARTS_H

#include "views.h"

struct isles_view {
    PyObject_HEAD struct isles_block *block; /* a reference; NULL if the memory came home */
    Py_buffer home;                          /* then this keeps it; otherwise obj is NULL */
    unsigned char *start;
    Py_ssize_t size; /* bytes of all elements */
    struct isles_layout layout;
};

/* ---- views.c ---- */

/* An object of a type whose slots are the next three; NULL with an exception. */
struct isles_view *isles__view_make(PyTypeObject *type, struct isles_block *block,
                                    const struct isles_interp *here,
                                    const struct isles_layout *layout);

int isles__view_getbuffer(PyObject *object, Py_buffer *buffer, int flags);
int isles__view_traverse(PyObject *object, visitproc visit, void *arg);
void isles__view_dealloc(PyObject *object);

/* ---- shared_buffer.c ---- */

/* Makes the type and adds it to the module.  0 or -1. */
int isles__shared_init(PyObject *module, struct isles_state *state);

#endif
