/* Copies of a real module and of what it needs, for several slots.  The argument is the module of
 * tests/core/copies/: it needs a library that needs one that uses Python, and one that doesn't. */
#include "folder.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "copies.h"
#include "os.h"

int PyProbe_Value(void);

int
PyProbe_Value(void)
{
    return 1000;
}

static struct isles_original module;
static struct isles_fault fault;

struct copy {
    char *path;
    int (*count)(void); /* of the module's own */
    int (*value)(void); /* 1000, and how often it was asked: counted two libraries below */
    int (*plain)(void); /* of the library that all share */
};

static struct copy
load(unsigned slot)
{
    struct copy copy;
    CHECK(isles_copies_make(&module, slot, &copy.path, &fault) == 0);
    void *handle = dlopen(copy.path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
    }
    CHECK(handle != NULL);
    *(void **)&copy.count = dlsym(handle, "module_count");
    *(void **)&copy.value = dlsym(handle, "module_value");
    *(void **)&copy.plain = dlsym(handle, "module_plain");
    CHECK(copy.count != NULL && copy.value != NULL && copy.plain != NULL);
    isles_copies_loaded(slot);
    return copy;
}

static void
test_each_slot_has_its_own(void)
{
    struct copy a = load(isles_copies_slot()), b = load(isles_copies_slot());
    CHECK(strcmp(a.path, b.path) != 0);
    CHECK(a.count() == 1 && a.count() == 2 && b.count() == 1);
    CHECK(a.value() == 1001 && a.value() == 1002 && b.value() == 1001);
    CHECK(a.plain() == 1 && b.plain() == 2 && a.plain() == 3);
    free(a.path);
    free(b.path);
}

static void
test_a_slot_has_one(void)
{
    unsigned slot = isles_copies_slot(), found;
    struct copy a = load(slot), b = load(slot);
    CHECK(strcmp(a.path, b.path) == 0 && a.count == b.count);
    CHECK(isles_copies_slot_of(a.path, &found) && found == slot);
    CHECK(!isles_copies_slot_of(module.path, &found));
    CHECK(access(a.path, R_OK) == 0);
    CHECK(strstr(a.path, "copies_module") != NULL);
    free(a.path);
    free(b.path);
}

static unsigned
high_slot(void)
{
    unsigned slot;
    do {
        slot = isles_copies_slot();
    } while (slot < 100);
    return slot;
}

static void
test_high_slots_leave_no_file(void)
{
    struct copy a = load(high_slot());
    CHECK(access(a.path, F_OK) < 0);
    CHECK(dlopen(a.path, RTLD_NOW) != NULL); /* by its name */
    CHECK(a.count() == 1);
    free(a.path);
}

/* Another thread's import has come so far, or one that failed, when the first one is done. */
static void
test_what_is_not_loaded_stays(void)
{
    char *path;
    unsigned slot = high_slot();
    CHECK(isles_copies_make(&module, slot, &path, &fault) == 0);
    isles_copies_loaded(slot);
    CHECK(access(path, R_OK) == 0);
    struct copy a = load(slot);
    CHECK(strcmp(a.path, path) == 0 && access(path, F_OK) < 0);
    free(a.path);
    free(path);
}

enum { THREADS = 8, ROUNDS = 20 };

static pthread_barrier_t together;

static void *
make_together(void *slot)
{
    char *path;
    pthread_barrier_wait(&together);
    CHECK(isles_copies_make(&module, *(unsigned *)slot, &path, &(struct isles_fault){0}) == 0);
    return path;
}

static int
count_files(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* Two would have statics of their own each, and so would the libraries that they need. */
static void
test_threads_make_one(const char *folder, int each)
{
    pthread_t threads[THREADS];
    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    int before = count_files(folder);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned slot = high_slot();
        char *first = NULL;
        for (int i = 0; i < THREADS; i++) {
            CHECK(pthread_create(&threads[i], NULL, make_together, &slot) == 0);
        }
        for (int i = 0; i < THREADS; i++) {
            void *path;
            CHECK(pthread_join(threads[i], &path) == 0);
            CHECK(first == NULL || strcmp(first, path) == 0);
            free(first);
            first = path;
        }
        free(first);
    }
    CHECK(count_files(folder) - before == each * ROUNDS);
    CHECK(pthread_barrier_destroy(&together) == 0);
}

static void
test_a_folder_that_was_removed_is_made_again(void)
{
    remove_tree(under_base("cache"));
    struct copy a = load(isles_copies_slot());
    CHECK(a.count() == 1);
    free(a.path);
}

static void
test_in_memory(void)
{
    CHECK(setenv("ISLES_CACHE", "memory", 1) == 0);
    struct copy a = load(isles_copies_slot()), b = load(isles_copies_slot());
    CHECK(strncmp(a.path, "/proc/self/fd/", 14) == 0 && strcmp(a.path, b.path) != 0);
    CHECK(a.count() == 1 && b.count() == 1 && a.value() == 1001 && b.value() == 1001);
    test_threads_make_one("/proc/self/fd", 3);
    CHECK(unsetenv("ISLES_CACHE") == 0);
    free(a.path);
    free(b.path);
}

static void
test_shareable(void)
{
    struct isles_original again;
    CHECK(!isles_copies_is_shareable(&module, 7));
    isles_copies_note_shareable(&module, 7);
    CHECK(isles_copies_is_shareable(&module, 7) && !isles_copies_is_shareable(&module, 8));
    CHECK(isles_original_open(&again, module.path, &fault) == 0);
    CHECK(isles_copies_is_shareable(&again, 7));
    isles_original_close(&again);
}

/* Long enough after the last change for what was read to count as read. */
static void
copy_file(const char *from, const char *to, char last)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    CHECK(in != NULL && out != NULL);
    for (int c; (c = getc(in)) != EOF;) {
        CHECK(putc(c, out) != EOF);
    }
    CHECK(putc(last, out) != EOF);
    CHECK(fclose(in) == 0 && fclose(out) == 0);
    isles_sleep(INT64_C(2100000000));
}

static void
test_changed_file(void)
{
    struct isles_original original;
    const char *path = under_base("changing.so");
    for (int i = 0; i < 2; i++) {
        copy_file(module.path, path, (char)('a' + i));
        CHECK(isles_original_open(&original, path, &fault) == 0);
        CHECK(!isles_copies_is_shareable(&original, 7));
        isles_copies_note_shareable(&original, 7);
        CHECK(isles_copies_is_shareable(&original, 7));
        isles_original_close(&original);
    }
}

static void
test_refused(void)
{
    struct isles_original none;
    CHECK(isles_original_open(&none, "/nowhere", &fault) == ISLES_IO && fault.error == ENOENT);
    CHECK(strcmp(fault.path, "/nowhere") == 0);
    CHECK(isles_original_open(&none, base, &fault) < 0);
    CHECK(isles_original_open(&none, "/proc/self/cmdline", &fault) < 0);
    const char *text = under_base("text");
    FILE *file = fopen(text, "w");
    CHECK(file != NULL && fputs("no shared object", file) >= 0 && fclose(file) == 0);
    CHECK(isles_original_open(&none, text, &fault) == ISLES_UNSUPPORTED);
}

static void
test_unsafe_folder(void)
{
    char *path;
    CHECK(mkdir(under_base("open"), 0700) == 0 && chmod(under_base("open"), 0777) == 0);
    CHECK(setenv("ISLES_CACHE_DIR", under_base("open"), 1) == 0);
    CHECK(isles_copies_make(&module, isles_copies_slot(), &path, &fault) == ISLES_UNSAFE);
    CHECK(strcmp(fault.path, under_base("open")) == 0 && fault.why != NULL);
    CHECK(setenv("ISLES_CACHE_DIR", under_base("cache"), 1) == 0);
}

static void
test_no_folder(void)
{
    char *path;
    CHECK(unsetenv("ISLES_CACHE_DIR") == 0 && unsetenv("HOME") == 0);
    CHECK(unsetenv("XDG_CACHE_HOME") == 0);
    CHECK(isles_copies_make(&module, isles_copies_slot(), &path, &fault) < 0);
    CHECK(setenv("ISLES_CACHE_DIR", under_base("cache"), 1) == 0);
}

int
main(int argc, char **argv)
{
    CHECK(argc == 2);
    base_make();
    CHECK(isles_original_open(&module, argv[1], &fault) == 0);
    test_refused();
    test_no_folder(); /* these two before there is a cache */
    test_unsafe_folder();
    test_each_slot_has_its_own();
    test_a_slot_has_one();
    test_high_slots_leave_no_file();
    test_what_is_not_loaded_stays();
    test_threads_make_one(under_base("cache"), 3);
    test_a_folder_that_was_removed_is_made_again();
    test_in_memory();
    test_shareable();
    test_changed_file();
    isles_original_close(&module);
    base_remove();
    return 0;
}
