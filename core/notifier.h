/* A notifier: tells one event loop what has come about, by a file descriptor that it can poll.
 *
 * Whoever brings something about posts a *note*, from any thread and without a lock; the loop finds
 * the descriptor readable and takes all notes, in the order in which they were posted.  However
 * many there are, it is woken once.
 *
 * A note is memory of whoever it is for, and belongs to the notifier from isles_notifier_post() on,
 * until the loop has taken it or it is dropped: at once if the notifier is closed.
 *
 * No wake-up is lost: who posts puts the note on the list and then, if the list was empty, makes
 * the descriptor readable; the loop makes it unreadable and then takes the list. */
#ifndef ISLES_NOTIFIER_H
#define ISLES_NOTIFIER_H

#include <stdatomic.h>

#include "message.h"

struct isles_note {
    struct isles_note *next;
    /* Gives it back, on any thread, with or without a GIL. */
    void (*drop)(struct isles_note *note);
    void *tag; /* whose it is; the binding's to interpret, and to change until it has taken it */
};

struct isles_notifier {
    struct isles_shared shared;
    int fd;                            /* closed with the last reference: nobody writes after */
    _Atomic(struct isles_note *) last; /* newest first; NULL: none; a sentinel: closed */

    /* registry_threads.h; both under the registry's lock. */
    struct isles_thread *thread; /* whose loop it is, as long as that lives; or NULL */
    struct isles_notifier *next; /* another one of that thread's */
};

/* With one reference.  0, ISLES_NO_MEMORY or ISLES_TOO_MANY_FILES. */
int isles_notifier_new(struct isles_notifier **out);

/* Any thread that has a reference, with any lock held.  Takes over the note. */
void isles_notifier_post(struct isles_notifier *notifier, struct isles_note *note);

/* Makes the descriptor readable with nothing to take: so that the loop's thread comes back to
 * itself. */
void isles_notifier_ring(struct isles_notifier *notifier);

/* Takes all notes, the oldest first, chained by `next`; NULL: none.  Their drop() is the caller's
 * to call.  One thread at a time. */
struct isles_note *isles_notifier_take(struct isles_notifier *notifier);

/* From now on notes are dropped as they come.  Gives those that there are, as isles_notifier_take()
 * does.  By its owner before he drops his reference: a note may hold one, and would keep it. */
struct isles_note *isles_notifier_close(struct isles_notifier *notifier);

#endif
