#include "encode_parts.h"

#include "errors.h"

static PyObject *
step_text(const struct isles_encoder *e, const struct isles_step *step)
{
    if (step->up == NULL) {
        return step->in           ? PyUnicode_FromFormat("kwargs[%R]", step->in)
               : step->index >= 0 ? PyUnicode_FromFormat("args[%zd]", step->index)
                                  : PyUnicode_FromString(e->name);
    }
    if (PyDict_CheckExact(step->in) && step->key == NULL) {
        return PyUnicode_FromString(".keys()");
    }
    if (step->key != NULL) {
        /* The repr of anything else is somebody's code. */
        bool plain = PyUnicode_CheckExact(step->key) || PyLong_CheckExact(step->key);
        return plain ? PyUnicode_FromFormat("[%R]", step->key)
                     : PyUnicode_FromFormat("[%T object]", step->key);
    }
    return step->index >= 0 ? PyUnicode_FromFormat("[%zd]", step->index)
                            : PyUnicode_FromString("{...}");
}

#define STEPS_SHOWN 20

/* "args[0]['rows'][3]", the innermost steps and the root of a very long way; NULL with an
 * exception. */
static PyObject *
way_to(const struct isles_encoder *e, const struct isles_step *step)
{
    PyObject *text = PyUnicode_FromString("");
    for (int shown = 0; step != NULL && text != NULL; step = step->up, shown++) {
        if (shown >= STEPS_SHOWN && step->up != NULL) {
            continue;
        }
        PyObject *piece = step_text(e, step);
        const char *gap = shown > STEPS_SHOWN ? "..." : "";
        PyObject *longer = piece ? PyUnicode_FromFormat("%U%s%U", piece, gap, text) : NULL;
        Py_XDECREF(piece);
        Py_SETREF(text, longer);
    }
    return text;
}

int
isles__refuse(const struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *where = way_to(e, step);
    if (where != NULL) {
        PyErr_SetRaisedException(error);
        isles__raise_not_shareable(e->state, object, where);
        Py_DECREF(where);
    } else {
        Py_XDECREF(error);
    }
    return -1;
}

int
isles__refuse_changed(const struct isles_encoder *e, PyObject *container,
                      const struct isles_step *step)
{
    PyObject *where = way_to(e, step);
    if (where != NULL) {
        PyErr_Format(PyExc_RuntimeError, "%U: %T changed while it was on its way", where,
                     container);
        Py_DECREF(where);
    }
    return -1;
}
