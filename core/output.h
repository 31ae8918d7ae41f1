/* Text that all interpreters write to the same descriptors.
 *
 * Any thread, without a GIL: a pipe that is full blocks. */
#ifndef ISLES_OUTPUT_H
#define ISLES_OUTPUT_H

#include <stddef.h>

/* Writes all of it, with nothing of another caller's in between; of descriptors 1 and 2 each has a
 * lock of its own, so that who is stuck in one does not stop the other.  Waits where a non-blocking
 * descriptor has no room.
 * 0; ISLES_INTERRUPTED after a signal, with fewer bytes in *written: go on with the rest; or
 * ISLES_IO and errno, with what was written. */
int isles_output_write(int fd, const void *data, size_t size, size_t *written);

#endif
