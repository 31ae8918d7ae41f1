/* All that belongs to the operating system, behind one header: os_linux.c today.
 *
 * Times are nanoseconds of the monotonic clock.  Nothing here may be called with a GIL held if it
 * can block, except mutexes whose critical sections never block (the registry's). */
#ifndef ISLES_OS_H
#define ISLES_OS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A plain mutex.  Initialise statically with ISLES_MUTEX_INIT. */
typedef pthread_mutex_t isles_mutex;
#define ISLES_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER

void isles_mutex_lock(isles_mutex *mutex);
void isles_mutex_unlock(isles_mutex *mutex);

/* Makes a mutex usable again in a forked child, whoever held it in the parent. */
void isles_mutex_reset(isles_mutex *mutex);

/* In builds with -Dyields=true: lets others run, now and then, at a moment when that is rare
 * otherwise.  Mutexes and futexes do it by themselves; what changes by atomics alone asks for it.
 */
#ifdef ISLES_YIELDS
void isles_perhaps_yield(void);
#else
static inline void
isles_perhaps_yield(void)
{
}
#endif

/* Calls `ended(value)` on each thread that ends after it set a value other than NULL with
 * isles_at_thread_end().  One hook in a process; 0 or ISLES_NO_MEMORY. */
int isles_thread_end_hook(void (*ended)(void *value));
int isles_at_thread_end(void *value);

/* Calls `before()` before each fork and then `parent()` in the parent, on the thread that forks,
 * and `child()` in the child, on its only thread; each may be NULL.  0 or ISLES_NO_MEMORY. */
int isles_fork_hook(void (*before)(void), void (*parent)(void), void (*child)(void));

/* Starts a thread that runs body(arg), blocks all signals and is never joined.  The name is for
 * isles_thread_set_name().  0 or ISLES_NO_MEMORY. */
int isles_thread_detached(const char *name, void *(*body)(void *), void *arg);

/* Names the calling thread for the system's tools: ps -L, top -H, debuggers.  Linux shows
 * the first 15 bytes (UTF-8), as CPython from 3.14 on has it. */
void isles_thread_set_name(const char *name);

/* Lets the calling thread, and those that it starts, run only when there is time to spare. */
void isles_thread_lower_priority(void);

/* Whether this is the thread that the process started with. */
bool isles_is_main_thread(void);

/* The monotonic clock. */
int64_t isles_now(void);

/* Deadlines: of what does not wait, and of what waits as long as it takes. */
#define ISLES_AT_ONCE INT64_C(0)
#define ISLES_NEVER INT64_MAX

/* Sleeps while *word is `value`, until a wake or the deadline.  0 (also early: look at the word
 * again), ISLES_TIMED_OUT, or ISLES_INTERRUPTED by a signal's handler on this thread. */
int isles_futex_wait(atomic_uint *word, unsigned value, int64_t deadline);

/* Wakes all who sleep.  The word's memory may be gone already: then this may wake somebody early
 * who sleeps at the same address, which every user of futexes has to bear. */
void isles_futex_wake(atomic_uint *word);

/* A file descriptor that is readable from isles_event_set() on until isles_event_clear(): for who
 * polls.  None of these blocks.  0, or the status of errno. */
int isles_event_open(int *fd);
void isles_event_set(int fd);
void isles_event_clear(int fd);
void isles_event_close(int fd);

/* The path of a library that the process has loaded under that name, as the dynamic linker knows
 * it; false if there is none, or the path is longer than `size`. */
bool isles_loaded_library(const char *name, char *path, size_t size);

/* Sleeps on the calling thread; resumes early on no signal. */
void isles_sleep(int64_t nanoseconds);

/* Sleeps and never returns. */
_Noreturn void isles_sleep_forever(void);

/* Has exit() leave out whatever was registered before to be run then, which may wait for a thread
 * that sleeps forever; streams are flushed.  Any thread. */
void isles_exit_without_waiting(void);

/* The status that says what an errno of a file operation means; never 0. */
int isles_status_of_errno(int error);

/* Writes all of it, in as many calls as that takes.  0, or -1 and errno. */
int isles_write_all(int fd, const void *data, size_t size);

/* Makes a file in memory with these bytes, which nobody can change any more, and gives its
 * descriptor, which the caller closes.  A copy that can be mapped also where there is no disk;
 * the name (up to 200 bytes) shows in debuggers.  0, or the status of errno. */
int isles_memory_file(const char *name, const void *data, size_t size, int *fd);

/* Whether the file system of this descriptor is mounted without permission to run code. */
bool isles_is_noexec(int fd);

/* Renames like renameat(2), but fails with EEXIST if the new name is taken.  Where the file system
 * can't do that at once, somebody who takes the name at that very moment is replaced.  0, or -1 and
 * errno. */
int isles_rename_new(int from_folder, const char *from, int to_folder, const char *to);

#endif
