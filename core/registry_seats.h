/* A *seat* is a thread state that is kept for one OS thread and one interpreter, so that entering
 * again costs no new one.  Seats belong to the interpreter's list; a thread's table only points at
 * them, and proves by the interpreter's id (never used twice) that the pointer still holds. */
#ifndef ISLES_REGISTRY_SEATS_H
#define ISLES_REGISTRY_SEATS_H

#include <stdbool.h>

struct isles_interp;
struct isles_thread;

struct isles_seat {
    void *ts;                    /* the kept thread state; the binding's to interpret */
    struct isles_thread *thread; /* for whom; not to be dereferenced: it may have ended */
    bool orphan;                 /* that thread has ended */
    struct isles_seat *next;
};

/* The kept thread state, or NULL. */
void *isles_seat_find(const struct isles_thread *thread, const struct isles_interp *interp);

/* Has memory ready, so that the next isles_seat_add() with these succeeds.  0 or ISLES_NO_MEMORY.
 */
int isles_seat_reserve(struct isles_thread *thread, const struct isles_interp *interp);

/* Keeps `ts` for the thread.  0 or ISLES_NO_MEMORY. */
int isles_seat_add(struct isles_thread *thread, struct isles_interp *interp, void *ts);

/* Takes the seats of ended threads, or all, off the list; the caller frees each with free(). */
struct isles_seat *isles_seats_take_orphans(struct isles_interp *interp);
struct isles_seat *isles_seats_take_all(struct isles_interp *interp);

/* Takes this thread's seat off the list and frees it; the thread state stays. */
void isles_seat_drop(struct isles_thread *thread, struct isles_interp *interp);

/* Whether `ts` is a kept one. */
bool isles_seat_is_kept(struct isles_interp *interp, const void *ts);

#endif
