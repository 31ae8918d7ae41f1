#define _GNU_SOURCE /* environ */
#include "stock.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/digest.h"
#include "../core/os.h"
#include "../core/status.h"
#include "codec.h"
#include "errors.h"
#include "gate.h"
#include "interp.h"
#include "signals.h"

#define MILLISECOND INT64_C(1000000)
#define HOLD (1000 * MILLISECOND)

enum { IMPORT_FAILED = 1 }; /* beside the statuses */

/* How an interpreter of the stock is made. */
struct plan {
    int refs;                     /* the lock */
    struct isles_message setting; /* as isles__gate_create has it */
    struct isles_message modules;
    struct isles_buffer path, rules; /* what is in the setting, to compare */
};

struct shelf {
    struct isles_interp *first, *last; /* a reference to each */
    int count;
};

static isles_mutex lock = ISLES_MUTEX_INIT;
static atomic_int wanted; /* written under the lock */
static atomic_uint bell;  /* rung for the thread */
static atomic_bool thread_works;
static atomic_int holds; /* forks that are about to happen */

/* Under the lock. */
static struct plan *plan;
static unsigned long edition;     /* of the plan, and of the world that it is carried out in */
static struct isles_digest world; /* in which the ready ones were made */
static struct shelf ready, ending;
static int closing; /* of those in `ending`, and the one at hand: what users closed */
static bool thread_started;
static struct isles_message failure; /* what stopped it: empty, or a tuple as errors.h has it */
static const char *failure_text;     /* or this */
static enum { NO, UNTOLD, TOLD } failed;

static void
push(struct shelf *shelf, struct isles_interp *interp)
{
    interp->next_shelved = NULL;
    if (shelf->last != NULL) {
        shelf->last->next_shelved = interp;
    } else {
        shelf->first = interp;
    }
    shelf->last = interp;
    shelf->count++;
}

static struct isles_interp *
pop(struct shelf *shelf)
{
    struct isles_interp *interp = shelf->first;
    if (interp != NULL) {
        shelf->first = interp->next_shelved;
        shelf->last = shelf->first ? shelf->last : NULL;
        shelf->count--;
    }
    return interp;
}

static void
ring(void)
{
    atomic_fetch_add(&bell, 1);
    isles_futex_wake(&bell);
}

/* ---- plans ---- */

/* With one reference; NULL without memory. */
static struct plan *
plan_new(void)
{
    struct plan *new = malloc(sizeof(*new));
    if (new != NULL) {
        new->refs = 1;
        isles_message_init(&new->setting);
        isles_message_init(&new->modules);
        isles_buffer_init(&new->path);
        isles_buffer_init(&new->rules);
    }
    return new;
}

static void
plan_free(struct plan *old)
{
    if (old != NULL) {
        isles_message_fini(&old->setting);
        isles_message_fini(&old->modules);
        isles_buffer_fini(&old->path);
        isles_buffer_fini(&old->rules);
        free(old);
    }
}

/* Under the lock: NULL, or what plan_free() is to free after it. */
static struct plan *
plan_unref(struct plan *old)
{
    return old != NULL && --old->refs == 0 ? old : NULL;
}

static bool
same(const struct isles_buffer *a, const struct isles_buffer *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* 0, or -1 if it is no str, or without memory.  Messages would not do: how one is written depends
 * on who else refers to an object. */
static int
add_text(struct isles_buffer *buffer, PyObject *text)
{
    if (!PyUnicode_CheckExact(text)) {
        return -1;
    }
    Py_ssize_t head[] = {PyUnicode_KIND(text), PyUnicode_GET_LENGTH(text)};
    return isles_buffer_append(buffer, head, sizeof(head)) < 0
                   || isles_buffer_append(buffer, PyUnicode_DATA(text), head[0] * head[1]) < 0
               ? -1
               : 0;
}

/* The strings of sys.path.  Without memory it is a shorter one, which fits nothing. */
static void
add_path(struct isles_buffer *buffer)
{
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    for (Py_ssize_t i = 0; path && PyList_Check(path) && i < PyList_GET_SIZE(path); i++) {
        (void)add_text(buffer, PyList_GET_ITEM(path, i));
    }
}

/* 0, or -1 for what can't be compared. */
static int
add_rules(struct isles_buffer *buffer, PyObject *rules)
{
    PyObject *name, *mode;
    int result = isles_buffer_append(buffer, rules == Py_None ? "0" : "1", 1);
    for (Py_ssize_t i = 0;
         rules != Py_None && result == 0 && PyDict_Next(rules, &i, &name, &mode);) {
        result = add_text(buffer, name) < 0 || add_text(buffer, mode) < 0 ? -1 : 0;
    }
    return result;
}

static int
copy(struct isles_message *to, const struct isles_message *from)
{
    to->stream_at = from->stream_at;
    return isles_buffer_append(&to->bytes, from->bytes.data, from->bytes.size);
}

/* What else of the process a new interpreter takes over: the environment, and what its standard
 * streams are. */
static struct isles_digest
look_at_world(void)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        isles_digest_update(&digester, *entry, strlen(*entry) + 1);
    }
    for (int fd = 0; fd <= 2; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0) {
            isles_digest_update(&digester, &status.st_dev, sizeof(status.st_dev));
            isles_digest_update(&digester, &status.st_ino, sizeof(status.st_ino));
        }
    }
    return isles_digest_final(&digester);
}

/* Under the lock: what is ready is of no use any more. */
static void
outdate(struct isles_digest new_world)
{
    world = new_world;
    edition++;
    for (struct isles_interp *interp; (interp = pop(&ready)) != NULL;) {
        push(&ending, interp);
    }
}

/* ---- making one ---- */

/* In the new interpreter, as what follows. */
static int
import_all(const struct isles_message *modules)
{
    struct isles_contents contents = isles_message_contents(modules);
    PyObject *names = isles__decode(NULL, &contents);
    int result = names ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(names); i++) {
        PyObject *module = PyImport_Import(PyList_GET_ITEM(names, i));
        result = module ? 0 : -1;
        Py_XDECREF(module);
    }
    Py_XDECREF(names);
    return result;
}

/* What the finders know of folders is as old as they are. */
static void
forget_folders(void)
{
    PyObject *cache = PySys_GetObject("path_importer_cache"); /* borrowed */
    if (cache != NULL && PyDict_Check(cache)) {
        PyDict_Clear(cache);
    }
}

static void
describe(struct isles_interp *interp, struct isles_message *message)
{
    struct isles_local *local = isles__local(interp);
    PyObject *tuple = local ? isles__describe_failure(NULL, false) : NULL;
    if (tuple == NULL || isles__encode(NULL, local, message, tuple, "failure") < 0) {
        isles_message_reset(message);
    }
    Py_XDECREF(tuple);
    PyErr_Clear();
}

static int
prepare(struct isles_interp *interp, const struct isles_message *modules,
        struct isles_message *error)
{
    struct isles_pass pass;
    int status = isles__gate_enter(&pass, interp);
    if (status < 0) {
        return status;
    }
    if (import_all(modules) < 0) {
        PyObject *raised = PyErr_GetRaisedException();
        (void)isles__local(interp); /* before the exception is set again */
        PyErr_SetRaisedException(raised);
        describe(interp, error);
        status = IMPORT_FAILED;
    }
    forget_folders();
    isles__gate_leave(&pass);
    return status;
}

/* 0 with a shelved interpreter; IMPORT_FAILED with a description, or a status with perhaps *why. */
static int
make(const struct plan *how, struct isles_interp **out, struct isles_message *error,
     const char **why)
{
    struct isles_interp *interp = NULL;
    int status = isles__gate_create_hidden(&how->setting, &interp, why);
    if (status < 0) {
        return status;
    }
    status = prepare(interp, &how->modules, error);
    if (status == 0) {
        status = isles__gate_shelve(interp);
    }
    if (status == 0) {
        *out = interp;
        return 0;
    }
    if (!isles_registry_exiting()) {
        (void)isles__gate_close(interp);
    }
    isles_interp_unref(interp);
    return status;
}

/* Puts it where it belongs, by now.  Under the lock. */
static void
put(struct isles_interp *interp, unsigned long made_in, struct isles_digest made_for)
{
    struct isles_digest now = look_at_world();
    if (made_in == edition && !isles_digest_equal(now, world)) {
        outdate(now);
    }
    bool fits = made_in == edition && isles_digest_equal(made_for, world);
    push(fits && ready.count < atomic_load(&wanted) ? &ready : &ending, interp);
}

/* ---- the thread ---- */

static void
end_one(struct isles_interp *interp)
{
    bool closed = atomic_load(&interp->hidden) == ISLES_CLOSED;
    isles__gate_close_shelved(interp);
    isles_interp_unref(interp);
    isles_mutex_lock(&lock);
    closing -= closed;
    isles_mutex_unlock(&lock);
}

static void
make_one(struct plan *how, unsigned long made_in)
{
    struct isles_message error;
    isles_message_init(&error);
    struct isles_interp *interp = NULL;
    const char *why = NULL;
    struct isles_digest made_for = look_at_world();
    int status = make(how, &interp, &error, &why);
    isles_mutex_lock(&lock);
    if (status == 0) {
        put(interp, made_in, made_for);
    } else if (made_in == edition && status != ISLES_EXITING) {
        atomic_store(&wanted, 0); /* the next one would fail as well */
        outdate(world);
        failed = UNTOLD;
        failure_text =
            why ? why : isles_status_text(status == IMPORT_FAILED ? ISLES_NO_MEMORY : status);
        isles_message_reset(&failure);
        if (copy(&failure, &error) < 0) {
            isles_message_reset(&failure);
        }
    }
    struct plan *old = plan_unref(how);
    isles_mutex_unlock(&lock);
    plan_free(old);
    isles_message_fini(&error);
}

static bool
work(void)
{
    struct isles_interp *old = NULL;
    struct plan *how = NULL;
    unsigned long made_in = 0;
    isles_mutex_lock(&lock);
    if (atomic_load(&holds) == 0 && !isles_registry_exiting()) {
        old = pop(&ending); /* first: it holds memory */
        if (old == NULL && ready.count < atomic_load(&wanted)) {
            how = plan;
            how->refs++;
            made_in = edition;
        }
    }
    bool works = old != NULL || how != NULL;
    atomic_store(&thread_works, works);
    isles_mutex_unlock(&lock);
    if (old != NULL) {
        end_one(old);
    } else if (how != NULL) {
        make_one(how, made_in);
    }
    return works;
}

static void *
body(void *Py_UNUSED(arg))
{
    isles_thread_lower_priority();
    for (;;) {
        unsigned heard = atomic_load(&bell);
        if (!work()) {
            (void)isles_futex_wait(&bell, heard, ISLES_NEVER);
        }
    }
    return NULL;
}

static void
forked(void)
{
    isles_mutex_reset(&lock);
    atomic_store(&wanted, 0);
    atomic_store(&thread_works, false);
    atomic_store(&holds, 0);
    plan = NULL; /* what the parent's thread may have had in its hands stays */
    edition++;
    ready = ending = (struct shelf){0};
    closing = 0;
    thread_started = false;
    isles_message_init(&failure);
    failed = NO;
}

static void
init_once(void)
{
    isles_message_init(&failure);
    (void)isles_fork_hook(NULL, NULL, forked);
}

static int
start_thread(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_once);
    isles_mutex_lock(&lock);
    int status = thread_started ? ISLES_OK : isles_thread_detached("isles-stock", body, NULL);
    thread_started = status == 0;
    isles_mutex_unlock(&lock);
    return status;
}

/* ---- for the gate and the exit ---- */

bool
isles__stock_reserve(void)
{
    if (atomic_load_explicit(&wanted, memory_order_relaxed) == 0) {
        return false;
    }
    isles_mutex_lock(&lock);
    bool room = closing < atomic_load(&wanted);
    closing += room;
    isles_mutex_unlock(&lock);
    return room;
}

void
isles__stock_unreserve(void)
{
    isles_mutex_lock(&lock);
    closing--;
    isles_mutex_unlock(&lock);
}

void
isles__stock_end(struct isles_interp *interp)
{
    isles_interp_ref(interp);
    isles_mutex_lock(&lock);
    isles_interp_shelve(interp);
    push(&ending, interp);
    isles_mutex_unlock(&lock);
    ring();
}

void
isles__stock_exit(void)
{
    atomic_store(&wanted, 0);
}

/* ---- setting it ---- */

static struct plan *
write_plan(const struct isles_state *state, PyObject *rules, PyObject *modules)
{
    struct isles_local *local = isles__local(state->here);
    struct plan *new = local ? plan_new() : NULL;
    if (new == NULL) {
        return (struct plan *)(local ? PyErr_NoMemory() : NULL);
    }
    add_path(&new->path);
    if (add_rules(&new->rules, rules) < 0) {
        PyErr_NoMemory();
    } else if (isles__put_setting(state, rules, &new->setting) == 0
               && (modules == NULL
                   || isles__encode(state, local, &new->modules, modules, "preload") == 0)) {
        return new;
    }
    plan_free(new);
    return NULL;
}

/* Raises what ended the stock. */
static int
raise_failure(const struct isles_state *state)
{
    struct isles_message message;
    isles_message_init(&message);
    isles_mutex_lock(&lock);
    const char *text = failure_text;
    int status = copy(&message, &failure);
    isles_mutex_unlock(&lock);
    struct isles_contents contents = isles_message_contents(&message);
    PyObject *tuple = status == 0 && contents.size > 0 ? isles__decode(NULL, &contents) : NULL;
    if (tuple != NULL) {
        isles__raise_failure(state, tuple);
    } else if (!PyErr_Occurred()) {
        PyErr_Format(state->error, "an interpreter for the stock could not be made: %s", text);
    }
    Py_XDECREF(tuple);
    isles_message_fini(&message);
    return -1;
}

static bool
is_news(void)
{
    isles_mutex_lock(&lock);
    bool news = failed == UNTOLD;
    failed = news ? TOLD : failed;
    isles_mutex_unlock(&lock);
    return news;
}

/* Tells whoever makes an interpreter by himself why he has to, once. */
static int
warn_if_failed(const struct isles_state *state)
{
    if (state->here->id != 0 || !is_news()) {
        return 0;
    }
    (void)raise_failure(state);
    PyObject *error = PyErr_GetRaisedException();
    int result =
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "the stock of isles.warm() has ended: %S", error);
    Py_DECREF(error);
    return result;
}

/* ---- taking one ---- */

enum fit { FITS, OTHER_PATH, OTHER_RULES };

/* Under the lock. */
static enum fit
look(const struct isles_buffer *path, const struct isles_buffer *rules)
{
    if (plan == NULL || !same(&plan->rules, rules)) {
        return OTHER_RULES;
    }
    if (!same(&plan->path, path)) {
        return OTHER_PATH;
    }
    struct isles_digest now = look_at_world();
    if (!isles_digest_equal(now, world)) {
        outdate(now);
    }
    return FITS;
}

/* Main has another sys.path by now, or other default rules. */
static int
follow(const struct isles_state *state, PyObject *rules)
{
    struct plan *new = write_plan(state, rules, NULL), *old = NULL;
    if (new == NULL) {
        return -1;
    }
    isles_mutex_lock(&lock);
    if (plan != NULL && atomic_load(&wanted) > 0 && copy(&new->modules, &plan->modules) == 0) {
        old = plan_unref(plan);
        plan = new;
        new = NULL;
        outdate(look_at_world());
    }
    isles_mutex_unlock(&lock);
    plan_free(new);
    plan_free(old);
    return 0;
}

static enum fit
take(const struct isles_buffer *path, const struct isles_buffer *rules, bool owned,
     struct isles_interp **out)
{
    for (;;) {
        isles_mutex_lock(&lock);
        enum fit fit = look(path, rules);
        struct isles_interp *interp = fit == FITS ? pop(&ready) : NULL;
        isles_mutex_unlock(&lock);
        if (interp == NULL || isles__gate_unshelve(interp, owned) == 0) {
            *out = interp;
            return fit;
        }
        isles_interp_unref(interp); /* the exit has it */
    }
}

int
isles__stock_take(const struct isles_state *state, PyObject *rules, bool owned,
                  struct isles_interp **out)
{
    *out = NULL;
    if (atomic_load_explicit(&wanted, memory_order_relaxed) == 0) {
        return warn_if_failed(state);
    }
    struct isles_buffer path, other;
    isles_buffer_init(&path);
    isles_buffer_init(&other);
    int result = 0;
    if (add_rules(&other, rules) == 0) {
        add_path(&path);
        if (take(&path, &other, owned, out) == OTHER_PATH && state->here->id == 0) {
            result = follow(state, rules);
        }
        ring();
    }
    isles_buffer_fini(&path);
    isles_buffer_fini(&other);
    return result;
}

/* ---- for isles/_stock.py ---- */

/* On the caller's thread, that is, with its priority. */
static struct isles_interp *
make_first(const struct isles_state *state, const struct plan *how)
{
    struct isles_message error;
    struct isles_interp *interp = NULL;
    const char *why = NULL;
    isles_message_init(&error);
    int status = make(how, &interp, &error, &why);
    PyObject *interruption = isles__signals_interrupted() ? isles__signals_take() : NULL;
    if (status == IMPORT_FAILED && interruption != NULL) {
        PyErr_SetRaisedException(Py_NewRef(interruption));
    } else if (status == IMPORT_FAILED) {
        struct isles_contents contents = isles_message_contents(&error);
        PyObject *tuple = contents.size > 0 ? isles__decode(NULL, &contents) : PyErr_NoMemory();
        if (tuple != NULL) {
            isles__raise_failure(state, tuple);
        }
        Py_XDECREF(tuple);
    } else if (why != NULL) {
        PyErr_Format(state->error, "CPython could not make an interpreter: %s", why);
    } else if (status < 0) {
        isles__raise_status(state, status, -1);
    }
    Py_XDECREF(interruption);
    isles_message_fini(&error);
    return interp;
}

/* Whether only the number is another one than before. */
static bool
resize(const struct plan *new, int count)
{
    isles_mutex_lock(&lock);
    bool known = atomic_load(&wanted) > 0 && same(&plan->path, &new->path)
                 && same(&plan->rules, &new->rules)
                 && same(&plan->modules.bytes, &new->modules.bytes);
    if (known) {
        atomic_store(&wanted, count);
        while (ready.count > count) {
            push(&ending, pop(&ready));
        }
    }
    isles_mutex_unlock(&lock);
    return known;
}

static int
begin(const struct isles_state *state, int count, struct plan *new)
{
    struct isles_digest made_for = look_at_world();
    struct isles_interp *interp = make_first(state, new);
    if (interp == NULL) {
        plan_free(new);
        return -1;
    }
    isles_mutex_lock(&lock);
    struct plan *old = plan_unref(plan);
    plan = new;
    outdate(made_for);
    atomic_store(&wanted, isles_registry_exiting() ? 0 : count);
    failed = NO;
    put(interp, edition, made_for);
    isles_mutex_unlock(&lock);
    plan_free(old);
    return 0;
}

static void
stop(void)
{
    isles_mutex_lock(&lock);
    atomic_store(&wanted, 0);
    failed = NO;
    outdate(world);
    isles_mutex_unlock(&lock);
}

int
isles__stock_set(const struct isles_state *state, int count, PyObject *rules, PyObject *modules)
{
    int result = 0;
    if (count < 0) {
        result = atomic_load(&wanted) > 0 ? follow(state, rules) : 0;
    } else if (count == 0) {
        stop();
    } else if (start_thread() < 0) {
        result = -1;
        PyErr_NoMemory();
    } else {
        struct plan *new = write_plan(state, rules, modules);
        if (new == NULL) {
            result = -1;
        } else if (resize(new, count)) {
            plan_free(new);
        } else {
            result = begin(state, count, new);
        }
    }
    ring();
    return result;
}

PyObject *
isles__stock_state(const struct isles_state *state)
{
    if (is_news()) {
        (void)raise_failure(state);
        return NULL;
    }
    isles_mutex_lock(&lock);
    int want = atomic_load(&wanted), have = ready.count;
    bool works = atomic_load(&thread_works) || ending.count > 0 || have < want;
    isles_mutex_unlock(&lock);
    return Py_BuildValue("iO", have, works ? Py_True : Py_False);
}

void
isles__stock_hold(void)
{
    atomic_fetch_add(&holds, 1);
    int64_t deadline = isles_now() + HOLD;
    Py_BEGIN_ALLOW_THREADS
        isles_mutex_lock(&lock); /* what it has begun is seen then */
        isles_mutex_unlock(&lock);
        while (atomic_load(&thread_works) && isles_now() < deadline) {
            isles_sleep(MILLISECOND);
        }
    Py_END_ALLOW_THREADS
}

void
isles__stock_release(void)
{
    atomic_fetch_sub(&holds, 1);
    ring();
}
