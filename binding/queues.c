#include "queues.h"

#include "../core/registry_threads.h"
#include "../core/status.h"
#include "arguments.h"
#include "queues_parts.h"

typedef struct {
    PyObject_HEAD PyObject *weakrefs;
    PyObject *known;           /* the table that this is in */
    struct isles_queue *queue; /* a reference */
} Queue;

struct isles_queue *
isles__queue_of(PyObject *object)
{
    return ((Queue *)object)->queue;
}

/* ---- one object for each queue ---- */

/* The object that the table of addresses by id has, a new reference; NULL without an exception if
 * there is none.  Objects take themselves out before anything else, so none is half dead. */
static PyObject *
known_object(PyObject *known, PyObject *key)
{
    PyObject *address = PyDict_GetItemWithError(known, key); /* borrowed */
    return address ? Py_NewRef(PyLong_AsVoidPtr(address)) : NULL;
}

static int
make_known(Queue *self, PyObject *known, PyObject *key)
{
    PyObject *address = PyLong_FromVoidPtr(self);
    int result = address ? PyDict_SetItem(known, key, address) : -1;
    Py_XDECREF(address);
    if (result == 0) {
        self->known = Py_NewRef(known);
    }
    return result;
}

static void
forget(Queue *self)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *key = PyLong_FromLongLong(self->queue->id);
    if (key == NULL || PyDict_DelItem(self->known, key) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    Py_XDECREF(key);
    PyErr_SetRaisedException(error);
}

PyObject *
isles__queue_object(const struct isles_state *state, struct isles_queue *queue)
{
    PyObject *key = PyLong_FromLongLong(queue->id);
    PyObject *object = key ? known_object(state->known_queues, key) : NULL;
    Queue *self = NULL;
    if (key != NULL && object == NULL && !PyErr_Occurred()) {
        self = (Queue *)state->queue_type->tp_alloc(state->queue_type, 0);
    }
    if (self == NULL) {
        isles_shared_unref(&queue->shared);
    } else {
        self->queue = queue;
        object = (PyObject *)self;
        if (make_known(self, state->known_queues, key) < 0) {
            Py_CLEAR(object);
        }
    }
    Py_XDECREF(key);
    return object;
}

/* For the type's sake, which each object holds: what keeps a queue may be found to be garbage only
 * in the last collection of an interpreter (logging's handlers are), and so must be its type.  The
 * table is not shown, so that it isn't emptied while there are objects to be taken out. */
static int
queue_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static void
queue_dealloc(PyObject *object)
{
    Queue *self = (Queue *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->known != NULL) {
        forget(self);
        Py_DECREF(self->known);
    }
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->queue != NULL) {
        isles_shared_unref(&self->queue->shared);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- put ---- */

PyDoc_STRVAR(
    put_doc,
    "put($self, /, obj, block=True, timeout=None, *, unbounditems=None)\n--\n\n"
    "Put a copy of an object into the queue, after all others.\n\n"
    "block: wait while the queue is full, at most `timeout` seconds (a number, not negative;\n"
    "None: as long as it takes).  unbounditems: what becomes of the item when the calling\n"
    "interpreter ends before it was got; None is what create_queue() was told.\n\n"
    "Raises QueueFull, ShutDown, NotShareableError for what can't be pickled.  Thread-safe;\n"
    "who waits is served in order, holds no GIL, and is interrupted by Ctrl-C.  Follows\n"
    "concurrent.interpreters.Queue.");

static PyObject *
queue_put(PyObject *self, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
          PyObject *kwnames)
{
    static const struct isles_signature signature = {
        "put", {"obj", "block", "timeout", "unbounditems"}, 3, false};
    PyObject *values[ISLES_ARGUMENTS_MOST] = {NULL};
    int64_t deadline;
    if (isles__arguments_sort(&signature, args, count, kwnames, values) < 0
        || isles__arguments_waiting(values[1], values[2], &deadline) < 0) {
        return NULL;
    }
    return isles__queue_put(isles__state_of(defining_class), isles__queue_of(self), values[0],
                            deadline, values[3]);
}

PyDoc_STRVAR(put_nowait_doc, "put_nowait($self, /, obj, *, unbounditems=None)\n--\n\n"
                             "put() that raises QueueFull at once rather than wait.");

static PyObject *
queue_put_nowait(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
                 Py_ssize_t count, PyObject *kwnames)
{
    static const struct isles_signature signature = {
        "put_nowait", {"obj", "unbounditems"}, 1, false};
    PyObject *values[ISLES_ARGUMENTS_MOST] = {NULL};
    if (isles__arguments_sort(&signature, args, count, kwnames, values) < 0) {
        return NULL;
    }
    return isles__queue_put(isles__state_of(defining_class), isles__queue_of(self), values[0],
                            ISLES_AT_ONCE, values[1]);
}

PyDoc_STRVAR(
    put_many_doc,
    "put_many($self, /, items, block=True, timeout=None, *, unbounditems=None)\n--\n\n"
    "Put a copy of each item of an iterable, in order; faster than a put() for each.\n\n"
    "All are copied before the first one is put, so that one that can't be copied\n"
    "(NotShareableError) leaves the queue as it was.  The other parameters are put()'s; the\n"
    "timeout, in seconds, is for all together.  No other writer gets in between, unless a\n"
    "signal is handled meanwhile.\n\n"
    "QueueFull and ShutDown tell in `items_put` how many were put.");

static PyObject *
queue_put_many(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
               Py_ssize_t count, PyObject *kwnames)
{
    static const struct isles_signature signature = {
        "put_many", {"items", "block", "timeout", "unbounditems"}, 3, false};
    PyObject *values[ISLES_ARGUMENTS_MOST] = {NULL};
    int64_t deadline;
    if (isles__arguments_sort(&signature, args, count, kwnames, values) < 0
        || isles__arguments_waiting(values[1], values[2], &deadline) < 0) {
        return NULL;
    }
    return isles__queue_put_many(isles__state_of(defining_class), isles__queue_of(self), values[0],
                                 deadline, values[3]);
}

PyDoc_STRVAR(put_kept_doc,
             "_put_kept($self, items, /, full_or_not=False)\n--\n\n"
             "As put_many(), and the items stay when the calling interpreter ends, as main's do.\n"
             "full_or_not: put them at once, whatever the maxsize.");

static PyObject *
queue_put_kept(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "full_or_not", NULL};
    PyObject *items;
    int all = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:_put_kept", names, &items, &all)) {
        return NULL;
    }
    return isles__queue_put_kept(isles__state_of(Py_TYPE(self)), isles__queue_of(self), items,
                                 all ? ISLES_FULL_OR_NOT : ISLES_NEVER);
}

/* ---- get ---- */

PyDoc_STRVAR(
    get_doc,
    "get($self, /, block=True, timeout=None)\n--\n\n"
    "Take the oldest item out of the queue and return it.\n\n"
    "block: wait while the queue is empty, at most `timeout` seconds (a number, not\n"
    "negative; None: as long as it takes).  An item whose interpreter has ended is UNBOUND,\n"
    "or raises ItemInterpreterDestroyed, as put() was told.\n\n"
    "Raises QueueEmpty; ShutDown once the queue is shut down and empty.  An item that can't\n"
    "be unpickled here raises what that raises, and is gone.  Thread-safe; who waits is\n"
    "served in order, holds no GIL, uses no CPU, and is interrupted by Ctrl-C.  Follows\n"
    "concurrent.interpreters.Queue.");

static PyObject *
queue_get(PyObject *self, PyTypeObject *defining_class, PyObject *const *args, Py_ssize_t count,
          PyObject *kwnames)
{
    static const struct isles_signature signature = {"get", {"block", "timeout"}, 2, true};
    PyObject *values[ISLES_ARGUMENTS_MOST] = {NULL};
    int64_t deadline;
    if (isles__arguments_sort(&signature, args, count, kwnames, values) < 0
        || isles__arguments_waiting(values[0], values[1], &deadline) < 0) {
        return NULL;
    }
    return isles__queue_get(isles__state_of(defining_class), isles__queue_of(self), deadline);
}

PyDoc_STRVAR(get_nowait_doc, "get_nowait($self, /)\n--\n\n"
                             "get() that raises QueueEmpty at once rather than wait.");

static PyObject *
queue_get_nowait(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
                 Py_ssize_t count, PyObject *kwnames)
{
    static const struct isles_signature signature = {"get_nowait", {NULL}, 0, true};
    PyObject *values[ISLES_ARGUMENTS_MOST] = {NULL};
    if (isles__arguments_sort(&signature, args, count, kwnames, values) < 0) {
        return NULL;
    }
    return isles__queue_get(isles__state_of(defining_class), isles__queue_of(self), ISLES_AT_ONCE);
}

PyDoc_STRVAR(
    get_many_doc,
    "get_many($self, /, max, block=True, timeout=None)\n--\n\n"
    "Take up to `max` items (an int from 1) out of the queue and return them in a list.\n\n"
    "Waits for the first one as get() does, and raises as it does, but for no more: the\n"
    "list has at least one item.  It ends before an item that raises when it is got.");

static PyObject *
queue_get_many(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
               Py_ssize_t count, PyObject *kwnames)
{
    static const struct isles_signature signature = {
        "get_many", {"max", "block", "timeout"}, 3, false};
    PyObject *values[ISLES_ARGUMENTS_MOST] = {NULL};
    int64_t deadline;
    if (isles__arguments_sort(&signature, args, count, kwnames, values) < 0
        || isles__arguments_waiting(values[1], values[2], &deadline) < 0) {
        return NULL;
    }
    Py_ssize_t max = PyNumber_AsSsize_t(values[0], NULL); /* a large one is cut */
    if (max == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (max < 1) {
        PyErr_SetString(PyExc_ValueError, "max must be at least 1");
        return NULL;
    }
    return isles__queue_get_many(isles__state_of(defining_class), isles__queue_of(self),
                                 (size_t)max, deadline);
}

static PyObject *
queue_next(PyObject *self)
{
    return isles__queue_get_next(isles__state_of(Py_TYPE(self)), isles__queue_of(self));
}

/* ---- the rest of the type ---- */

PyDoc_STRVAR(
    shutdown_doc,
    "shutdown($self, /, immediate=False)\n--\n\n"
    "Let nothing more be put, and wake everybody who waits.\n\n"
    "put() raises ShutDown from now on, get() once the queue is empty; iteration ends.\n"
    "immediate: drop what is in the queue, so that get() raises at once.  Any thread, any\n"
    "interpreter, any number of times.  Follows queue.Queue.shutdown().");

static PyObject *
queue_shutdown(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"immediate", NULL};
    int immediate = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:shutdown", names, &immediate)) {
        return NULL;
    }
    isles_queue_shut_down(isles__queue_of(self), immediate);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(qsize_doc, "qsize($self, /)\n--\n\n"
                        "How many items are in the queue, just now.");

static PyObject *
queue_qsize(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(isles_queue_count(isles__queue_of(self)));
}

PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nWhether nothing is in the queue, just now.");

static PyObject *
queue_empty(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(isles_queue_count(isles__queue_of(self)) == 0);
}

PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\n"
                       "Whether as many items as the maxsize are in the queue, just now.");

static PyObject *
queue_full(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(isles_queue_is_full(isles__queue_of(self)));
}

static PyObject *
queue_id(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(isles__queue_of(self)->id);
}

static PyObject *
queue_maxsize(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(isles__queue_of(self)->maxsize);
}

static PyObject *
queue_unbounditems(PyObject *self, void *Py_UNUSED(closure))
{
    struct isles_state *state = isles__state_of(Py_TYPE(self));
    return isles__queue_unbound_constant(state, isles__queue_of(self)->unbound);
}

static PyObject *
queue_repr(PyObject *self)
{
    return PyUnicode_FromFormat("Queue(%lld)", (long long)isles__queue_of(self)->id);
}

/* As the id's; equality is identity, because there is one object for each id. */
static Py_hash_t
queue_hash(PyObject *self)
{
    PyObject *id = queue_id(self, NULL);
    Py_hash_t hash = id ? PyObject_Hash(id) : -1;
    Py_XDECREF(id);
    return hash;
}

/* For pickle: (type, (id,)).  On its way to another interpreter the message keeps the queue. */
static PyObject *
queue_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct isles_queue *queue = isles__queue_of(self);
    struct isles_thread *thread = isles_thread_self();
    struct isles_message *message = thread ? thread->writing : NULL;
    uint32_t index;
    if (message != NULL) {
        isles_shared_ref(&queue->shared);
        if (isles_message_attach(message, &queue->shared, &index) < 0) {
            isles_shared_unref(&queue->shared);
            return PyErr_NoMemory();
        }
    }
    return Py_BuildValue("O(L)", Py_TYPE(self), (long long)queue->id);
}

static int
parse_id(PyObject *object, int64_t *id)
{
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "id must be an int, got %R", object);
        return -1;
    }
    *id = PyLong_AsLongLong(object);
    if (*id < 0 && !PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "queue ID must be a non-negative int, got %S", object);
    }
    return *id < 0 ? -1 : 0;
}

static PyObject *
queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    struct isles_state *state = isles__state_of(type);
    PyObject *object;
    int64_t id;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Queue", names, &object)
        || parse_id(object, &id) < 0) {
        return NULL;
    }
    struct isles_queue *queue = isles_queue_find(id);
    if (queue == NULL) {
        PyObject *error = isles__queue_named(state, "QueueNotFoundError");
        if (error != NULL) {
            PyErr_Format(error, "queue %lld not found", (long long)id);
            Py_DECREF(error);
        }
        return NULL;
    }
    return isles__queue_object(state, queue);
}

#define FAST METH_METHOD | METH_FASTCALL | METH_KEYWORDS
#define METHOD(name, flags) {#name, (PyCFunction)(void (*)(void))queue_##name, flags, name##_doc}

static PyMethodDef queue_methods[] = {
    METHOD(put, FAST),
    METHOD(put_nowait, FAST),
    METHOD(put_many, FAST),
    {"_put_kept", (PyCFunction)(void (*)(void))queue_put_kept, METH_VARARGS | METH_KEYWORDS,
     put_kept_doc},
    METHOD(get, FAST),
    METHOD(get_nowait, FAST),
    METHOD(get_many, FAST),
    METHOD(shutdown, METH_VARARGS | METH_KEYWORDS),
    METHOD(qsize, METH_NOARGS),
    METHOD(empty, METH_NOARGS),
    METHOD(full, METH_NOARGS),
    {"__reduce__", queue_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"id", queue_id, NULL, "The id, an int: unique in the process, never used twice.", NULL},
    {"maxsize", queue_maxsize, NULL,
     "How many items the queue holds, an int; 0 or less: as many as memory does.", NULL},
    {"unbounditems", queue_unbounditems, NULL,
     "What becomes of items whose interpreter has ended, if put() wasn't told.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef queue_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Queue, weakrefs), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(queue_doc,
             "Queue(id, /)\n--\n\n"
             "A first-in, first-out queue between interpreters and threads, of this process.\n\n"
             "Queue(id) gives the object of an existing one (raises QueueNotFoundError);\n"
             "create_queue() makes a new one.  There is one object for each queue in each\n"
             "interpreter.  It travels to other interpreters, also pickled, and lives as long as\n"
             "any object or message refers to it.  Iterating over it gets items until it is shut\n"
             "down.  Thread-safe.  Follows PEP 734 and concurrent.interpreters.Queue.");

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},  {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},  {Py_tp_traverse, queue_traverse},
    {Py_tp_repr, queue_repr},        {Py_tp_hash, queue_hash},
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, queue_next},
    {Py_tp_methods, queue_methods},  {Py_tp_getset, queue_getset},
    {Py_tp_members, queue_members},  {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "isles.Queue",
    .basicsize = sizeof(Queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};

/* ---- functions ---- */

PyDoc_STRVAR(
    create_queue_doc,
    "create_queue($module, /, maxsize=0, *, unbounditems=None)\n--\n\n"
    "Make a queue between interpreters and return it.\n\n"
    "maxsize: how many items it holds, an int; 0 or less: as many as memory does.\n"
    "unbounditems: what becomes of items whose interpreter ends before they are got, unless\n"
    "put() says otherwise: UNBOUND or None puts UNBOUND in their place, UNBOUND_ERROR makes\n"
    "get() raise ItemInterpreterDestroyed, UNBOUND_REMOVE takes them out.  Any thread, any\n"
    "interpreter.\n"
    "Follows concurrent.interpreters.create_queue().");

static PyObject *
create_queue(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", "unbounditems", NULL};
    struct isles_state *state = isles__state_of_module(module);
    Py_ssize_t maxsize = 0;
    PyObject *unbounditems = NULL;
    int unbound = ISLES_UNBOUND_REPLACE;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n$O:create_queue", names, &maxsize,
                                     &unbounditems)
        || isles__queue_unbound(state, unbounditems == Py_None ? NULL : unbounditems, false,
                                &unbound)
               < 0) {
        return NULL;
    }
    struct isles_queue *queue = isles_queue_new(maxsize, unbound);
    return queue ? isles__queue_object(state, queue) : PyErr_NoMemory();
}

PyDoc_STRVAR(list_queues_doc, "list_queues($module, /)\n--\n\n"
                              "All queues of the process, oldest first.");

static PyObject *
list_queues(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    const struct isles_state *state = isles__state_of_module(module);
    PyObject *list = PyList_New(0);
    struct isles_queue *queue = NULL;
    while (list != NULL && (queue = isles_queue_next(queue)) != NULL) {
        isles_shared_ref(&queue->shared); /* the object's */
        PyObject *object = isles__queue_object(state, queue);
        if (object == NULL || PyList_Append(list, object) < 0) {
            Py_CLEAR(list);
            isles_shared_unref(&queue->shared);
        }
        Py_XDECREF(object);
    }
    return list;
}

PyDoc_STRVAR(
    wait_doc,
    "wait($module, /, queues, timeout=None)\n--\n\n"
    "Wait until at least one of several queues has an item or is shut down; list those.\n\n"
    "queues: an iterable of Queue.  timeout: seconds (a number, not negative; None: as long\n"
    "as it takes); the list is empty when they have passed, or if there are no queues.\n"
    "Nothing is taken, so another reader may be faster: get_nowait() tells.  Thread-safe;\n"
    "waits as Queue.get() does.");

static PyObject *
wait_queues(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"queues", "timeout", NULL};
    struct isles_state *state = isles__state_of_module(module);
    PyObject *queues, *timeout = NULL;
    int64_t deadline;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:wait", names, &queues, &timeout)
        || isles__arguments_timeout(timeout, &deadline) < 0) {
        return NULL;
    }
    if (Py_IS_TYPE(queues, state->queue_type)) { /* its items would be taken */
        PyErr_SetString(PyExc_TypeError, "wait() needs an iterable of queues, not a Queue");
        return NULL;
    }
    PyObject *list = PySequence_List(queues);
    if (list == NULL || PyList_GET_SIZE(list) == 0) {
        return list;
    }
    PyObject *ready = isles__queues_ready(state, list, deadline);
    Py_DECREF(list);
    return ready;
}

static PyMethodDef queue_functions[] = {
    {"create_queue", (PyCFunction)(void (*)(void))create_queue, METH_VARARGS | METH_KEYWORDS,
     create_queue_doc},
    {"list_queues", list_queues, METH_NOARGS, list_queues_doc},
    {"wait", (PyCFunction)(void (*)(void))wait_queues, METH_VARARGS | METH_KEYWORDS, wait_doc},
    {NULL, NULL, 0, NULL},
};

int
isles__queues_init(PyObject *module, struct isles_state *state)
{
    state->known_queues = PyDict_New();
    state->queue_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &queue_spec, NULL);
    if (state->known_queues == NULL || state->queue_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->queue_type) < 0
               ? -1
               : PyModule_AddFunctions(module, queue_functions);
}
