/* The process-wide registry: the table of the interpreters that isles knows, and what is so for all
 * of them.  Of one it is in registry_interps.h, of threads in registry_threads.h, of the thread
 * states that are kept for them in registry_seats.h.
 *
 * Locks: one mutex, held for short critical sections that neither block nor call out. */
#ifndef ISLES_REGISTRY_H
#define ISLES_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

struct isles_interp;
struct isles_thread;

/* Once for the process; later calls give the same result.  `forked` is called in each forked child,
 * after the registry has marked what stayed behind.  Any thread. */
int isles_registry_init(void (*forked)(void));

/* Registers an interpreter, or finds it registered; *out gets a reference.  One of ours starts as
 * ENDING, so that nobody enters before its maker has set it up and calls isles_interp_close_cancel.
 * 0, ISLES_NO_MEMORY or ISLES_EXITING. */
int isles_registry_add(int64_t id, void *state, bool ours, struct isles_interp **out);

/* A new reference to a registered interpreter, or NULL. */
struct isles_interp *isles_registry_find(int64_t id);

/* A new reference to the registered interpreter with the lowest id above `after`, or NULL. */
struct isles_interp *isles_registry_next(int64_t after);

/* Takes an interpreter out without ending it (its owner does). */
void isles_registry_forget(struct isles_interp *interp);

/* Counts the forks that this process is the child of; what was begun before one must not go on. */
int isles_registry_generation(void);

/* From now on nothing is entered or registered but by the exiting thread; for good. */
void isles_registry_exit_begin(void);

/* Whether the process is exiting, and this is not the thread that sees to it. */
bool isles_registry_exiting(void);

/* Brackets the making of an interpreter, which exists before it can be registered.  False if the
 * process is exiting: then nothing is to be made, nor ended. */
bool isles_registry_create_begin(void);
void isles_registry_create_end(void);

/* One thread at a time between these two; the same one may come again.  Never with a GIL held. */
void isles_registry_make_alone(struct isles_thread *thread);
void isles_registry_made(struct isles_thread *thread);

/* How many are being made.  If none is, every interpreter that exists and that isles made is
 * registered, so: find that it exists, ask this, and then look it up. */
int isles_registry_creating(void);

/* How many stays are wanted, in all interpreters; and one of those interpreters, the one with the
 * lowest id above `after`: a new reference, or NULL. */
int isles_registry_wanted(void);
struct isles_interp *isles_registry_next_wanted(int64_t after);

#endif
