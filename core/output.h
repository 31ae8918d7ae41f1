/* Text that all interpreters write to the same descriptors.
 *
 * Any thread, without a GIL: a pipe that is full blocks. */
#ifndef ISLES_OUTPUT_H
#define ISLES_OUTPUT_H

#include <stddef.h>

/* What writers to the same file share: 0 and 1 are descriptors 1's and 2's, which count as files of
 * their own, the others those of pipes and the like (one in 64 is the same by chance).  -1 for a
 * plain file: the system itself keeps together what goes there at once. */
int isles_output_lane(int fd);

/* Writes all of it, with nothing in between of another caller's in the same lane; who is stuck
 * there does not stop other lanes.  Waits where a non-blocking descriptor has no room.
 *
 * 0; ISLES_INTERRUPTED after a signal, with fewer bytes in *written: go on with the rest; or
 * ISLES_IO and errno, with what was written. */
int isles_output_write(int fd, int lane, const void *data, size_t size, size_t *written);

#endif
