/* What the files of the registry share; only tests include it as well.
 *
 * registry.c is the table of interpreters, registry_interps.c one interpreter and the states that
 * it goes through, registry_stays.c which stays are to be interrupted, registry_threads.c the
 * threads, and how they wait and are woken, registry_seats.c the thread states that are kept. */
#ifndef ISLES_REGISTRY_PARTS_H
#define ISLES_REGISTRY_PARTS_H

#include "os.h"
#include "registry.h"
#include "registry_interps.h"
#include "registry_seats.h"
#include "registry_threads.h"
#include "status.h"

/* The one lock: of the table, of all that the headers say so of, and of what threads wait
 * for. */
extern isles_mutex isles__registry_lock;

/* What `runner` is when it is no thread.  Never dereferenced. */
extern struct isles_thread isles__marks[5];
#define ISLES_MARK_SETTLING (&isles__marks[0])
#define ISLES_MARK_ENDING (&isles__marks[1])
#define ISLES_MARK_PARKED (&isles__marks[2])
#define ISLES_MARK_SHELVED (&isles__marks[3])
#define ISLES_MARK_ENDED (&isles__marks[4])

/* For everybody but who closes it. */
static inline bool
isles__runner_is_over(const struct isles_thread *runner)
{
    return runner == ISLES_MARK_ENDING || runner == ISLES_MARK_PARKED
           || runner == ISLES_MARK_SHELVED || runner == ISLES_MARK_ENDED;
}

/* Whether it is a thread, which is inside. */
static inline bool
isles__runner_is_inside(const struct isles_thread *runner)
{
    return runner != NULL && runner != ISLES_MARK_SETTLING && !isles__runner_is_over(runner);
}

/* ---- registry.c ---- */

/* Set for good by isles_registry_exit_begin(). */
extern atomic_bool isles__exiting;

static inline bool
isles__refused_by_exit(void)
{
    return atomic_load(&isles__exiting) && isles_registry_exiting();
}

/* For assertions, under the lock: each interpreter is in its bucket and lives, and each slot that
 * was ever given out is one's in the table or free. */
bool isles__registry_is_valid(void);

/* The interpreter of that id, borrowed, or NULL.  Under the lock. */
struct isles_interp *isles__registry_look(int64_t id);

/* As isles_registry_next(), of all or only of those that have a stay that is wanted. */
struct isles_interp *isles__registry_next(int64_t after, bool only_wanted);

/* ---- registry_stays.c ---- */

/* In a forked child: none is wanted. */
void isles__stays_forget(void);

/* ---- registry_threads.c ---- */

/* The calling thread's record, or NULL if none was made. */
struct isles_thread *isles__thread_known(void);

/* For isles_thread_end_hook(). */
void isles__thread_ended(void *value);

/* ---- registry_seats.c ---- */

/* Hands the seats of a thread that ends to whoever enters or closes next: freeing a thread state
 * takes the interpreter's GIL, and a thread that ends must not wait for it. */
void isles__seats_orphan(const struct isles_thread *thread);

/* In a forked child: this thread has none any more. */
void isles__seats_forget(struct isles_thread *thread);

#endif
