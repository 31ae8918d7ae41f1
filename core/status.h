/* The one table of outcomes.
 *
 * Every core function returns 0 or one of these negative values; binding/errors.c turns them into
 * exceptions, in one place.  Nothing here knows Python. */
#ifndef ISLES_STATUS_H
#define ISLES_STATUS_H

enum isles_status {
    ISLES_OK = 0,
    ISLES_NO_MEMORY = -1,
    ISLES_NOT_FOUND = -2, /* unknown, or ended */
    ISLES_BUSY = -3, /* another thread is inside, or the main interpreter from a foreign thread */
    ISLES_UNRECOGNIZED = -4,    /* neither main nor made by isles */
    ISLES_IS_CURRENT = -5,      /* refused for the calling interpreter */
    ISLES_IS_MAIN = -6,         /* refused for the main interpreter */
    ISLES_THREADS_ALIVE = -7,   /* a thread of the interpreter does not end by itself */
    ISLES_TOO_DEEP = -8,        /* interpreters nested beyond ISLES_DEPTH_MAX on one thread */
    ISLES_EXITING = -9,         /* the process is on its way out */
    ISLES_FORKED = -10,         /* the interpreter stayed behind in the parent process */
    ISLES_MALFORMED = -11,      /* a message that does not decode; a file that is damaged */
    ISLES_TIMED_OUT = -12,      /* did not come about before the deadline */
    ISLES_INTERRUPTED = -13,    /* a signal's handler ran on the waiting thread, or it was rung */
    ISLES_SHUT_DOWN = -14,      /* the queue takes, or has, nothing any more */
    ISLES_SETTLING = -15,       /* a thread is inside for just a moment */
    ISLES_UNSUPPORTED = -16,    /* not a shared object of this machine, or not to be changed so */
    ISLES_UNSAFE = -17,         /* a file or folder that others could have changed */
    ISLES_NO_SPACE = -18,       /* the disk is full, or a quota or limit reached */
    ISLES_READ_ONLY = -19,      /* may not be written */
    ISLES_NO_EXEC = -20,        /* on a file system from which no code may run */
    ISLES_TOO_MANY_FILES = -21, /* open in this process, or in the system */
    ISLES_IO = -22,             /* anything else that a file operation can meet */
    ISLES_STATUS_COUNT = 23,
};

/* A static text for a status, never NULL; any thread. */
const char *isles_status_text(int status);

#endif
