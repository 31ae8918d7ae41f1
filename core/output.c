#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"
#include "status.h"

/* Held while writing, and by nobody who waits for a GIL.  The first two are those of descriptors 1
 * and 2, the others of pipes and the like, by their number: a power of two, and pipes that are made
 * in a row have numbers in a row. */
#define OTHERS 64
static isles_mutex locks[2 + OTHERS];

/* The parent's other threads, one of which may have been writing, are not here. */
static void
forked(void)
{
    for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++) {
        isles_mutex_reset(&locks[i]);
    }
}

static void
init_once(void)
{
    forked();
    (void)isles_fork_hook(NULL, NULL, forked); /* without memory: a child may have to do without */
}

int
isles_output_lane(int fd)
{
    struct stat file;
    if (fd == 1 || fd == 2) {
        return fd - 1;
    }
    bool needed = fstat(fd, &file) == 0 && !S_ISREG(file.st_mode);
    return needed ? 2 + (int)(file.st_ino % OTHERS) : -1;
}

static void
wait_for_room(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    (void)poll(&room, 1, -1);
}

int
isles_output_write(int fd, int lane, const void *data, size_t size, size_t *written)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_once);
    isles_mutex *lock = lane < 0 ? NULL : &locks[lane];
    const char *text = data;
    int status = ISLES_OK;
    *written = 0;
    if (lock != NULL) {
        isles_mutex_lock(lock);
    }
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
    if (lock != NULL) {
        isles_mutex_unlock(lock);
    }
    errno = error;
    return status;
}
