#include "encode_parts.h"

#include "gate.h"
#include "ids.h"
#include "interp.h"
#include "queues.h"
#include "views.h"

static int
put_attached(struct isles_encoder *e, unsigned tag, struct isles_shared *shared)
{
    uint32_t index;
    if (isles_message_attach(e->message, shared, &index) < 0) {
        return isles__no_memory();
    }
    isles_shared_ref(shared);
    return isles__put_fixed(e, tag, &index, sizeof(index));
}

/* The state of the copy of the module that a class comes from, itself or its base; NULL without an
 * exception if it is none of isles'. */
static struct isles_state *
origin(PyTypeObject *type)
{
    for (int i = 0; i < 2 && type != NULL; i++, type = type->tp_base) {
        PyObject *module = PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) ? PyType_GetModule(type)
                                                                        : NULL; /* borrowed */
        if (module != NULL && PyModule_GetDef(module) == &isles__module_def) {
            return isles__state_of_module(module);
        }
        PyErr_Clear();
    }
    return NULL;
}

/* The interpreter must not end before the message is read. */
static int
put_interpreter(struct isles_encoder *e, struct isles_interp *interp, unsigned flag)
{
    uint32_t index;
    if (isles__gate_attach(interp, e->message, &index) < 0) {
        return isles__no_memory();
    }
    return isles__put_fixed(e, ISLES_TAG_INTERPRETER | flag, &interp->id, sizeof(interp->id));
}

int
isles__put_own(struct isles_encoder *e, PyObject *object, const struct isles_step *step)
{
    PyTypeObject *type = Py_TYPE(object);
    struct isles_state *state = origin(type);
    if (state == NULL) {
        return 0;
    }
    struct isles_interp *interp = isles__interp_of(state, object);
    if (interp == NULL && type != state->id_type && type != state->shared_type
        && type != state->queue_type) {
        return PyErr_Occurred() ? -1 : 0;
    }
    unsigned flag;
    int met = isles__met_before(e, object, step, true, &flag);
    if (met != 0) {
        return met;
    }
    int64_t id;
    int result;
    if (interp != NULL) {
        result = put_interpreter(e, interp, flag);
    } else if (type == state->queue_type) {
        result = put_attached(e, ISLES_TAG_QUEUE | flag, &isles__queue_of(object)->shared);
    } else if (type == state->shared_type) {
        result = put_attached(e, ISLES_TAG_SHARED | flag, &isles__view_block(object)->shared);
    } else {
        result = isles__id_parse(state, object, &id);
        if (result == 0) {
            result = isles__put_fixed(e, ISLES_TAG_ID | flag, &id, sizeof(id));
        }
    }
    return result < 0 ? -1 : 1;
}
