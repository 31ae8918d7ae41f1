#include "status.h"

static const char *const texts[ISLES_STATUS_COUNT] = {
    [-ISLES_OK] = "success",
    [-ISLES_NO_MEMORY] = "out of memory",
    [-ISLES_NOT_FOUND] = "no such interpreter, or it has ended",
    [-ISLES_BUSY] = "is already running in another thread",
    [-ISLES_UNRECOGNIZED] = "was not made by isles",
    [-ISLES_IS_CURRENT] = "is the calling interpreter",
    [-ISLES_IS_MAIN] = "is the main interpreter",
    [-ISLES_THREADS_ALIVE] = "is still running threads that do not end (daemon threads?)",
    [-ISLES_TOO_DEEP] = "calls between interpreters are nested too deep on this thread",
    [-ISLES_EXITING] = "the process is exiting",
    [-ISLES_FORKED] = "belongs to the parent process: interpreters do not survive os.fork()",
    [-ISLES_MALFORMED] = "malformed message",
    [-ISLES_TIMED_OUT] = "the time is up",
    [-ISLES_INTERRUPTED] = "interrupted by a signal",
    [-ISLES_SHUT_DOWN] = "is shut down",
    [-ISLES_SETTLING] = "is taking back memory that it lent",
    [-ISLES_UNSUPPORTED] = "is not a shared object that isles can use on this machine",
    [-ISLES_UNSAFE] = "is not safe: somebody else could have changed what is in it",
    [-ISLES_NO_SPACE] = "no space is left (a full disk, a quota, a limit to the size of files)",
    [-ISLES_READ_ONLY] = "may not be written",
    [-ISLES_NO_EXEC] = "is on a file system from which no code may run (mounted noexec)",
    [-ISLES_TOO_MANY_FILES] = "too many open files",
    [-ISLES_IO] = "input or output failed",
};

const char *
isles_status_text(int status)
{
    if (status > 0 || status <= -ISLES_STATUS_COUNT) {
        return "unknown status";
    }
    return texts[-status];
}
