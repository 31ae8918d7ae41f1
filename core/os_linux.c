#define _GNU_SOURCE /* memfd_create, ST_NOEXEC */
#include "os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "status.h"

#ifdef ISLES_YIELDS
void
isles_perhaps_yield(void)
{
    static atomic_uint threads;
    static _Thread_local uint32_t random; /* xorshift32 */
    if (random == 0) {
        random = 2654435761U * (atomic_fetch_add(&threads, 1) + 1);
    }
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    if (random % 64 == 0) {
        isles_sleep(random / 64 % 50000);
    } else if (random % 8 == 0) {
        sched_yield();
    }
}
#endif

void
isles_mutex_lock(isles_mutex *mutex)
{
    isles_perhaps_yield();
    (void)pthread_mutex_lock(mutex);
}

void
isles_mutex_unlock(isles_mutex *mutex)
{
    (void)pthread_mutex_unlock(mutex);
    isles_perhaps_yield();
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

#define NAME_MAX_BYTES 15

/* `text` has room for a NUL more.  Characters stay whole. */
static void
shorten(const char *name, char text[NAME_MAX_BYTES + 1])
{
    size_t size = strlen(name);
    if (size > NAME_MAX_BYTES) {
        for (size = NAME_MAX_BYTES; size > 0 && (name[size] & 0xC0) == 0x80; size--) {
        }
    }
    memcpy(text, name, size);
    text[size] = '\0';
}

static void
set_name(pthread_t thread, const char *name)
{
    char text[NAME_MAX_BYTES + 1];
    shorten(name, text);
    (void)pthread_setname_np(thread, text);
}

void
isles_thread_set_name(const char *name)
{
    set_name(pthread_self(), name);
}

int
isles_thread_detached(const char *name, void *(*body)(void *), void *arg)
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
    set_name(thread, name); /* not joined, but it can't have ended before it is detached */
    pthread_detach(thread);
    return ISLES_OK;
}

/* Not the lowest: what it holds for a moment, others may wait for. */
void
isles_thread_lower_priority(void)
{
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 5);
}

bool
isles_is_main_thread(void)
{
    return syscall(SYS_gettid) == getpid();
}

int
isles_futex_wait(atomic_uint *word, unsigned value, int64_t deadline)
{
    isles_perhaps_yield();
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
    isles_perhaps_yield();
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int
isles_event_open(int *fd)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) {
        return isles_status_of_errno(errno);
    }
    *fd = event;
    return ISLES_OK;
}

void
isles_event_set(int fd)
{
    uint64_t one = 1;
    /* EAGAIN would mean that it is readable anyway. */
    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

void
isles_event_clear(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
}

void
isles_event_close(int fd)
{
    close(fd);
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

static void
leave(int status, void *unused)
{
    (void)unused;
    (void)fflush(NULL);
    _exit(status);
}

void
isles_exit_without_waiting(void)
{
    (void)on_exit(leave, NULL); /* what is registered last runs first */
}

int
isles_status_of_errno(int error)
{
    switch (error) {
    case ENOMEM:
        return ISLES_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ISLES_NO_SPACE;
    case EROFS:
    case EACCES:
    case EPERM:
        return ISLES_READ_ONLY;
    case EMFILE:
    case ENFILE:
        return ISLES_TOO_MANY_FILES;
    default:
        return ISLES_IO;
    }
}

/* Linux 6.3 wants to be told that the file needs no permission to be executed, and can be set up to
 * refuse it otherwise; to map it as code takes none.  Older ones don't know the flag. */
static int
memory_file_open(const char *name)
{
    enum { NOEXEC_SEAL = 8 }; /* MFD_NOEXEC_SEAL */
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    return fd;
}

int
isles_write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t count = write(fd, at, size);
        if (count > 0) {
            at += count;
            size -= (size_t)count;
        } else if (count == 0 || errno != EINTR) {
            errno = count == 0 ? EIO : errno;
            return -1;
        }
    }
    return 0;
}

int
isles_memory_file(const char *name, const void *data, size_t size, int *fd)
{
    enum { SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL };
    int file = memory_file_open(name);
    if (file < 0) {
        return isles_status_of_errno(errno);
    }
    if (isles_write_all(file, data, size) < 0 || fcntl(file, F_ADD_SEALS, SEALS) < 0) {
        int status = isles_status_of_errno(errno);
        close(file);
        return status;
    }
    *fd = file;
    return ISLES_OK;
}

bool
isles_is_noexec(int fd)
{
    struct statvfs mounted;
    return fstatvfs(fd, &mounted) == 0 && (mounted.f_flag & ST_NOEXEC) != 0;
}

int
isles_rename_new(int from_folder, const char *from, int to_folder, const char *to)
{
    struct stat taken;
    if (syscall(SYS_renameat2, from_folder, from, to_folder, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -1;
    }
    if (fstatat(to_folder, to, &taken, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(from_folder, from, to_folder, to);
}

bool
isles_loaded_library(const char *name, char *path, size_t size)
{
    void *handle = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == NULL) {
        return false;
    }
    struct link_map *map;
    bool known = dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0
                 && (size_t)snprintf(path, size, "%s", map->l_name) < size;
    dlclose(handle); /* it stays: this was one more reference */
    return known && path[0] == '/';
}
