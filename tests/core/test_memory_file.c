/* A file in memory: it has the bytes, and nobody can change them. */
#include "folder.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "os.h"

static void
test_bytes_and_seals(void)
{
    static const size_t sizes[] = {0, 1, 100000};
    for (uint64_t i = 0; i < 3; i++) {
        int fd = -1;
        struct stat stat;
        unsigned char *bytes = bytes_of(i, sizes[i]);
        CHECK(isles_memory_file("a module", bytes, sizes[i], &fd) == 0);
        CHECK(fstat(fd, &stat) == 0 && stat.st_size == (off_t)sizes[i]);
        CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
        CHECK(ftruncate(fd, 5) < 0 && errno == EPERM);
        char path[40];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        CHECK(file_begins_with(path, bytes, sizes[i]));
        if (sizes[i] > 0) { /* as the loader of shared objects maps it */
            enum { ALL = PROT_READ | PROT_WRITE | PROT_EXEC };
            CHECK(mmap(NULL, sizes[i], ALL, MAP_SHARED, fd, 0) == MAP_FAILED);
            void *code = mmap(NULL, sizes[i], PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
            void *data = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
            CHECK(code != MAP_FAILED && data != MAP_FAILED);
            CHECK(memcmp(code, bytes, sizes[i]) == 0);
            munmap(code, sizes[i]);
            munmap(data, sizes[i]);
        }
        free(bytes);
        close(fd);
    }
}

static void
test_failures(void)
{
    int fd = -1, next = dup(0);
    char name[300];
    struct rlimit before, limit;
    close(next);
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    CHECK(isles_memory_file(name, "x", 1, &fd) == ISLES_IO);

    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    limit = before;
    limit.rlim_cur = (rlim_t)next;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(isles_memory_file("x", "x", 1, &fd) == ISLES_TOO_MANY_FILES);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);

    signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 2;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(isles_memory_file("x", "xyz", 3, &fd) == ISLES_NO_SPACE);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);

    CHECK(fd == -1 && isles_memory_file("x", "xyz", 3, &fd) == 0 && fd == next);
    close(fd);
}

int
main(void)
{
    test_bytes_and_seals();
    test_failures();
    return 0;
}
