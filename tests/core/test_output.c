/* What several threads write to one pipe: whole, whatever its size; lanes; what fails. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "output.h"
#include "status.h"

enum { WRITERS = 4, TEXTS = 50, SIZE = 9000 };

static void *
writer(void *arg)
{
    int fd = *(int *)arg;
    static atomic_int next;
    char text[SIZE];
    memset(text, 'a' + atomic_fetch_add(&next, 1), sizeof(text));
    for (int i = 0; i < TEXTS; i++) {
        size_t written;
        CHECK(isles_output_write(fd, isles_output_lane(fd), text, sizeof(text), &written) == 0);
        CHECK(written == sizeof(text));
    }
    return NULL;
}

static void
read_all(int fd, char *text, size_t size)
{
    while (size > 0) {
        ssize_t count = read(fd, text, size);
        CHECK(count > 0);
        text += count;
        size -= (size_t)count;
    }
}

/* Through two descriptors of the same pipe, one of them not blocking. */
static void
test_whole(void)
{
    int ends[2];
    pthread_t threads[WRITERS];
    CHECK(pipe(ends) == 0);
    int other = dup(ends[1]);
    CHECK(fcntl(other, F_SETFL, O_NONBLOCK) == 0);
    for (int i = 0; i < WRITERS; i++) {
        CHECK(pthread_create(&threads[i], NULL, writer, i % 2 ? &other : &ends[1]) == 0);
    }
    char text[SIZE];
    for (int i = 0; i < WRITERS * TEXTS; i++) {
        read_all(ends[0], text, sizeof(text));
        for (size_t at = 1; at < sizeof(text); at++) {
            CHECK(text[at] == text[0]);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    close(ends[0]);
    close(ends[1]);
    close(other);
}

static void
test_lanes(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    char name[] = "/tmp/isles-output-XXXXXX";
    int file = mkstemp(name);
    CHECK(file >= 0 && unlink(name) == 0);
    CHECK(isles_output_lane(1) == 0 && isles_output_lane(2) == 1);
    CHECK(isles_output_lane(file) == -1);
    CHECK(isles_output_lane(ends[1]) > 1);
    CHECK(isles_output_lane(ends[1]) == isles_output_lane(ends[0]));
    size_t written = 7;
    CHECK(isles_output_write(file, -1, "text", 4, &written) == 0 && written == 4);
    close(file);
    CHECK(isles_output_lane(file) == -1);
    CHECK(isles_output_write(file, -1, "text", 4, &written) == ISLES_IO && errno == EBADF);
    CHECK(written == 0);
    close(ends[0]);
    close(ends[1]);
}

int
main(void)
{
    test_lanes();
    test_whole();
    return 0;
}
