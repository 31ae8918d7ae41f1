#include "../core/registry_threads.h"
#include "encode_parts.h"

int
isles__become_careful(struct isles_encoder *e)
{
    if (e->careless) {
        e->retry = ISLES_RETRY_CAREFUL;
        return -1;
    }
    e->careful = e->memo.holds = true;
    return 0;
}

static int
put_root(struct isles_encoder *e, PyObject *object, Py_ssize_t index, PyObject *keyword)
{
    struct isles_step root = {.in = keyword, .index = index};
    int result = e->whole ? isles__put_pickle(e, object, &root) : isles__put(e, object, &root);
    return result < 0 && e->too_deep ? isles__refuse(e, object, &root) : result;
}

static void
encoder_fini(struct isles_encoder *e)
{
    if (e->hooks != NULL) {
        isles__pickler_close(e);
    }
    isles__memo_clear(&e->memo);
}

/* What is to be written. */
struct roots {
    PyObject *const *args;
    Py_ssize_t positional;
    PyObject *names; /* a tuple; NULL: no keywords */
    bool head;       /* arguments, not one object */
};

static int
put_roots(struct isles_encoder *e, const struct roots *roots)
{
    Py_ssize_t keywords = roots->names ? PyTuple_GET_SIZE(roots->names) : 0;
    Py_ssize_t count = roots->positional + keywords;
    e->several = count > 1;
    int result = 0;
    if (roots->head) {
        uint64_t head[] = {(uint64_t)roots->positional, (uint64_t)keywords};
        result = isles_buffer_append(e->bytes, head, sizeof(head)) < 0 ? isles__no_memory() : 0;
        if (result == 0 && keywords > 0) {
            struct isles_step names = {.index = -1};
            result = isles__put(e, roots->names, &names);
        }
    }
    for (Py_ssize_t i = 0; i < count && result == 0; i++) {
        Py_ssize_t keyword = i - roots->positional;
        result = put_root(e, roots->args[i], roots->head && keyword < 0 ? i : -1,
                          keyword < 0 ? NULL : PyTuple_GET_ITEM(roots->names, keyword));
    }
    return result == 0 && e->dump != NULL ? isles__put_pickles(e) : result;
}

/* Once more if code of others comes into it, if what that can't name has to go by value, or an
 * immutable ring by pickle. */
static int
encode(struct isles_encoder *e, const struct roots *roots)
{
    int result;
    do {
        e->careful = e->memo.holds = e->careful || e->retry == ISLES_RETRY_CAREFUL;
        e->by_value = e->by_value || e->retry == ISLES_RETRY_BY_VALUE;
        e->whole = e->whole || e->retry == ISLES_RETRY_WHOLE;
        e->retry = ISLES_RETRY_NOT;
        e->careless = false;
        e->shapes_defined = -1;
        isles_message_reset(e->message);
        result = put_roots(e, roots);
        PyObject *error = PyErr_GetRaisedException();
        encoder_fini(e);
        PyErr_SetRaisedException(error);
    } while (result < 0 && e->retry != ISLES_RETRY_NOT);
    if (result < 0) {
        isles_message_reset(e->message);
    }
    return result;
}

static int
encode_roots(const struct isles_state *state, struct isles_local *local,
             struct isles_message *message, const struct roots *roots, const char *name)
{
    struct isles_thread *thread = isles_thread_self();
    if (thread == NULL) {
        return isles__no_memory();
    }
    struct isles_encoder e; /* the memo's room, which is most of it, stays as it is */
    e.state = state;
    e.local = local;
    e.message = message;
    e.bytes = &message->bytes;
    e.name = name;
    e.careful = e.by_value = e.whole = e.too_deep = false;
    e.retry = ISLES_RETRY_NOT;
    e.hooks = e.dump = e.written = NULL;
    e.pickling = NULL;
    e.depth = 0;
    e.root = NULL;
    e.memo.entries = NULL;
    e.memo.size = e.memo.used = e.memo.defined = 0;
    isles_buffer_init(&e.spans);
    struct isles_message *before = thread->writing;
    thread->writing = message;
    int result = encode(&e, roots);
    thread->writing = before;
    return result;
}

int
isles__encode(const struct isles_state *state, struct isles_local *local,
              struct isles_message *message, PyObject *object, const char *name)
{
    struct roots roots = {.args = &object, .positional = 1};
    return encode_roots(state, local, message, &roots, name);
}

int
isles__encode_args(const struct isles_state *state, struct isles_local *local,
                   struct isles_message *message, PyObject *const *args, Py_ssize_t count,
                   PyObject *kwnames)
{
    struct roots roots = {.args = args, .positional = count, .names = kwnames, .head = true};
    return encode_roots(state, local, message, &roots, "names");
}
