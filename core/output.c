#include "output.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "os.h"
#include "status.h"

/* Held while writing, and by nobody who waits for a GIL.  The system itself keeps together what
 * goes to a pipe at once up to PIPE_BUF bytes only. */
static isles_mutex locks[2] = {ISLES_MUTEX_INIT, ISLES_MUTEX_INIT};

/* The parent's other threads, one of which may have been writing, are not here. */
static void
forked(void)
{
    isles_mutex_reset(&locks[0]);
    isles_mutex_reset(&locks[1]);
}

static void
init_once(void)
{
    (void)isles_fork_hook(NULL, NULL, forked); /* without memory: a child may have to do without */
}

static void
wait_for_room(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    (void)poll(&room, 1, -1);
}

int
isles_output_write(int fd, const void *data, size_t size, size_t *written)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_once);
    isles_mutex *lock = &locks[fd == 2];
    const char *text = data;
    int status = ISLES_OK;
    *written = 0;
    isles_mutex_lock(lock);
    while (status == ISLES_OK && *written < size) {
        ssize_t count = write(fd, text + *written, size - *written);
        if (count >= 0) {
            *written += (size_t)count;
        } else if (errno == EAGAIN) {
            wait_for_room(fd);
        } else {
            status = errno == EINTR ? ISLES_INTERRUPTED : ISLES_IO;
        }
    }
    int error = errno;
    isles_mutex_unlock(lock);
    errno = error;
    return status;
}
