#include "../core/os.h"
#include "../core/registry.h"
#include "../core/status.h"
#include "codec.h"
#include "failures.h"
#include "gate.h"
#include "stock_parts.h"

#define MILLISECOND INT64_C(1000000)
#define HOLD (1000 * MILLISECOND)

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
static struct isles_plan *plan;
static unsigned long edition;     /* of the plan, and of the world that it is carried out in */
static struct isles_digest world; /* in which the ready ones were made */
static struct shelf ready, ending;
static int closing; /* of those in `ending`, and the one at hand: what users closed */
static bool thread_started;
static struct isles_message failure; /* what stopped it: empty, or a tuple as failures.h has it */
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

/* Puts it where it belongs, by now.  Under the lock. */
static void
put(struct isles_interp *interp, unsigned long made_in, struct isles_digest made_for)
{
    struct isles_digest now = isles__plan_world();
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
make_one(struct isles_plan *how, unsigned long made_in)
{
    struct isles_message error;
    isles_message_init(&error);
    struct isles_interp *interp = NULL;
    const char *why = NULL;
    struct isles_digest made_for = isles__plan_world();
    int status = isles__stock_make(how, &interp, &error, &why);
    isles_mutex_lock(&lock);
    if (status == 0) {
        put(interp, made_in, made_for);
    } else if (made_in == edition && status != ISLES_EXITING) {
        atomic_store(&wanted, 0); /* the next one would fail as well */
        outdate(world);
        failed = UNTOLD;
        failure_text =
            why ? why : isles_status_text(status == ISLES_IMPORT_FAILED ? ISLES_NO_MEMORY : status);
        isles_message_reset(&failure);
        if (isles__stock_copy(&failure, &error) < 0) {
            isles_message_reset(&failure);
        }
    }
    struct isles_plan *old = isles__plan_unref(how);
    isles_mutex_unlock(&lock);
    isles__plan_free(old);
    isles_message_fini(&error);
}

static bool
work(void)
{
    struct isles_interp *old = NULL;
    struct isles_plan *how = NULL;
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

/* ---- what ended it ---- */

/* Raises what ended the stock. */
static int
raise_failure(const struct isles_state *state)
{
    struct isles_message message;
    isles_message_init(&message);
    isles_mutex_lock(&lock);
    const char *text = failure_text;
    int status = isles__stock_copy(&message, &failure);
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
    if (plan == NULL || !isles__stock_same(&plan->rules, rules)) {
        return OTHER_RULES;
    }
    if (!isles__stock_same(&plan->path, path)) {
        return OTHER_PATH;
    }
    struct isles_digest now = isles__plan_world();
    if (!isles_digest_equal(now, world)) {
        outdate(now);
    }
    return FITS;
}

/* Main has another sys.path by now, or other default rules. */
static int
follow(const struct isles_state *state, PyObject *rules)
{
    struct isles_plan *new = isles__plan_new(state, rules, NULL), *old = NULL;
    if (new == NULL) {
        return -1;
    }
    isles_mutex_lock(&lock);
    if (plan != NULL && atomic_load(&wanted) > 0
        && isles__stock_copy(&new->modules, &plan->modules) == 0) {
        old = isles__plan_unref(plan);
        plan = new;
        new = NULL;
        outdate(isles__plan_world());
    }
    isles_mutex_unlock(&lock);
    isles__plan_free(new);
    isles__plan_free(old);
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
    if (isles__plan_add_rules(&other, rules) == 0) {
        isles__plan_add_path(&path);
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

/* Whether only the number is another one than before. */
static bool
resize(const struct isles_plan *new, int count)
{
    isles_mutex_lock(&lock);
    bool known = atomic_load(&wanted) > 0 && isles__stock_same(&plan->path, &new->path)
                 && isles__stock_same(&plan->rules, &new->rules)
                 && isles__stock_same(&plan->modules.bytes, &new->modules.bytes);
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
begin(const struct isles_state *state, int count, struct isles_plan *new)
{
    struct isles_digest made_for = isles__plan_world();
    struct isles_interp *interp = isles__stock_make_first(state, new);
    if (interp == NULL) {
        isles__plan_free(new);
        return -1;
    }
    isles_mutex_lock(&lock);
    struct isles_plan *old = isles__plan_unref(plan);
    plan = new;
    outdate(made_for);
    atomic_store(&wanted, isles_registry_exiting() ? 0 : count);
    failed = NO;
    put(interp, edition, made_for);
    isles_mutex_unlock(&lock);
    isles__plan_free(old);
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
        struct isles_plan *new = isles__plan_new(state, rules, modules);
        if (new == NULL) {
            result = -1;
        } else if (resize(new, count)) {
            isles__plan_free(new);
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
