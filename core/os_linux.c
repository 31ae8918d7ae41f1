#include "os.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "status.h"

void
isles_mutex_lock(isles_mutex *mutex)
{
    (void)pthread_mutex_lock(mutex);
}

void
isles_mutex_unlock(isles_mutex *mutex)
{
    (void)pthread_mutex_unlock(mutex);
}

void
isles_mutex_reset(isles_mutex *mutex)
{
    static const isles_mutex fresh = ISLES_MUTEX_INIT;
    *mutex = fresh;
}

/* A pthread key costs one of 1,024 in the process: isles takes exactly one. */
static pthread_key_t thread_end_key;

int
isles_thread_end_hook(void (*ended)(void *value))
{
    return pthread_key_create(&thread_end_key, ended) == 0 ? ISLES_OK : ISLES_NO_MEMORY;
}

int
isles_at_thread_end(void *value)
{
    return pthread_setspecific(thread_end_key, value) == 0 ? ISLES_OK : ISLES_NO_MEMORY;
}

int
isles_fork_hook(void (*before)(void), void (*parent)(void), void (*child)(void))
{
    return pthread_atfork(before, parent, child) == 0 ? ISLES_OK : ISLES_NO_MEMORY;
}

int
isles_thread_detached(void *(*body)(void *), void *arg)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, body, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        return ISLES_NO_MEMORY;
    }
    pthread_detach(thread);
    return ISLES_OK;
}

bool
isles_is_main_thread(void)
{
    return syscall(SYS_gettid) == getpid();
}

int
isles_futex_wait(atomic_uint *word, unsigned value, int64_t deadline)
{
    struct timespec at = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    /* Unlike FUTEX_WAIT, this one takes an absolute time. */
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value,
                deadline == ISLES_NEVER ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY)
        == 0) {
        return ISLES_OK;
    }
    switch (errno) {
    case ETIMEDOUT:
        return ISLES_TIMED_OUT;
    case EINTR:
        return ISLES_INTERRUPTED;
    default:
        return ISLES_OK; /* EAGAIN: the word has changed */
    }
}

void
isles_futex_wake(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int64_t
isles_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void
isles_sleep(int64_t nanoseconds)
{
    struct timespec left = {.tv_sec = nanoseconds / 1000000000,
                            .tv_nsec = nanoseconds % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

void
isles_sleep_forever(void)
{
    for (;;) {
        pause();
    }
}
