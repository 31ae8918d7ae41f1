/* Text that all interpreters write to the same descriptors.
 *
 * Any thread, without a GIL: a pipe that is full blocks. */
#ifndef ISLES_OUTPUT_H
#define ISLES_OUTPUT_H

#include <stddef.h>

/* Writes all of it, with nothing of another caller's to the same file in between; descriptors 1 and
 * 2, though, count as files of their own.  Who is stuck in one of those, or in a pipe, does not stop
 * writers to others (but for one pipe in 64).  Waits where a non-blocking
 * descriptor has no room.
 * 0; ISLES_INTERRUPTED after a signal, with fewer bytes in *written: go on with the rest; or
 * ISLES_IO and errno, with what was written. */
int isles_output_write(int fd, const void *data, size_t size, size_t *written);

#endif
