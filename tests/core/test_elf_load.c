/* Edited copies of real shared objects, in the hands of the dynamic linker.  The arguments are the
 * helper and the probes of tests/core/elf/, see there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libgen.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "elf_edit.h"
#include "elf_file.h"

/* ---- what the probes find here ---- */

int host_value(void);
int host_value_1(void);
int host_value_2(void);
int own_parent(void);

int
host_value(void)
{
    return 100;
}

int
host_value_1(void)
{
    return 101;
}

int
host_value_2(void)
{
    return 102;
}

int
own_parent(void)
{
    return -5;
}

/* ---- files ---- */

static char folder[] = "/tmp/isles-elf-XXXXXX";
static char written[32][300];
static int written_count;

struct file {
    char folder[300];
    unsigned char *bytes;
    struct isles_elf elf;
};

static void
file_read(struct file *file, const char *path)
{
    char absolute[4096];
    CHECK(realpath(path, absolute) != NULL);
    FILE *stream = fopen(absolute, "rb");
    CHECK(stream != NULL && fseek(stream, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(stream);
    rewind(stream);
    file->bytes = malloc(size);
    CHECK(file->bytes != NULL && fread(file->bytes, 1, size, stream) == size);
    fclose(stream);
    CHECK(isles_elf_open(&file->elf, file->bytes, size) == 0);
    CHECK((size_t)snprintf(file->folder, sizeof(file->folder), "%s", dirname(absolute))
          < sizeof(file->folder));
}

/* Loads an edited copy.  It stays loaded, but not on disk. */
static void *
load_copy(const struct file *file, const struct isles_elf_changes *changes)
{
    unsigned char *bytes;
    size_t size;
    CHECK(isles_elf_edit(&file->elf, changes, &bytes, &size) == 0);
    char *path = written[written_count++];
    CHECK(written_count <= 32);
    snprintf(path, sizeof(written[0]), "%s/copy-%d.so", folder, written_count);
    FILE *stream = fopen(path, "wb");
    CHECK(stream != NULL && fwrite(bytes, 1, size, stream) == size && fclose(stream) == 0);
    free(bytes);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
    }
    CHECK(handle != NULL);
    return handle;
}

static int
call(void *handle, const char *name)
{
    int (*function)(void) = (int (*)(void))(uintptr_t)dlsym(handle, name);
    CHECK(function != NULL);
    return function();
}

/* ---- deferred init functions ---- */

static uint64_t
entry_of(const struct link_map *map, ElfW(Sxword) tag)
{
    const ElfW(Dyn) *entry = map->l_ld;
    while (entry->d_tag != DT_NULL && entry->d_tag != tag) {
        entry++;
    }
    return entry->d_un.d_val;
}

static void
run_deferred(void *handle)
{
    struct link_map *map;
    CHECK(dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0);
    uint64_t init = entry_of(map, ISLES_DT_INIT);
    if (init != 0) {
        ((void (*)(void))(uintptr_t)(map->l_addr + init))();
    }
    void (**array)(void) =
        (void (**)(void))(uintptr_t)(map->l_addr + entry_of(map, ISLES_DT_INIT_ARRAY));
    size_t count = entry_of(map, ISLES_DT_INIT_ARRAYSZ) / sizeof(array[0]);
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        array[i]();
    }
}

/* ---- tests ---- */

static int shared_count; /* of all copies and originals together */
static int copies;

struct names {
    char soname[40];
    char helper[40];
    char host[40];
};

/* The helper's copy first: the probe's then finds it by its new name. */
static void *
load_pair(const struct file *probe, const struct file *helper, const char *host)
{
    struct names names;
    copies++;
    snprintf(names.soname, sizeof(names.soname), "isles-%d-probe.so", copies);
    snprintf(names.helper, sizeof(names.helper), "isles-%d-helper.so", copies);
    const struct isles_elf_rename needed[] = {{"libelf-helper.so", names.helper}};
    const struct isles_elf_rename symbols[] = {{"host_value", host}, {"getppid", "own_parent"}};
    const struct isles_elf_changes of_helper = {.soname = names.helper};
    const struct isles_elf_changes of_probe = {
        .soname = names.soname,
        .needed = needed,
        .needed_count = 1,
        .symbols = symbols,
        .symbols_count = 2,
        .origin = probe->folder,
        .demote_unique = true,
        .defer_init = true,
    };
    load_copy(helper, &of_helper);
    return load_copy(probe, &of_probe);
}

static void
check_counters(void *handle)
{
    for (int i = 1; i <= 3; i++) {
        CHECK(call(handle, "probe_next") == i);
        CHECK(call(handle, "probe_thread_next") == i);
        CHECK(call(handle, "probe_unique_next") == i);
        CHECK(call(handle, "probe_helper_next") == i);
        CHECK(call(handle, "probe_shared_next") == ++shared_count);
    }
}

static void
check_copy(void *handle, int host)
{
    CHECK(call(handle, "probe_initialised") == 0);
    run_deferred(handle);
    CHECK(call(handle, "probe_initialised") == 1);
    CHECK(call(handle, "probe_host_value") == host);
    CHECK(call(handle, "probe_parent") == -5);
    check_counters(handle);
}

/* What is not demoted is the original's. */
static void
check_unique_shared(const struct file *probe)
{
    const struct isles_elf_changes changes = {.soname = "isles-unique.so", .origin = probe->folder};
    void *handle = load_copy(probe, &changes);
    CHECK(call(handle, "probe_unique_next") == 4);
    CHECK(call(handle, "probe_next") == 1);
    CHECK(call(handle, "probe_initialised") == 1);
}

static void
check_elf(const struct file *probe, const struct file *helper)
{
    const struct isles_elf *elf = &probe->elf;
    CHECK(elf->soname != NULL && (elf->runpath != NULL || elf->rpath != NULL));
    CHECK(elf->has_tls && elf->has_unique && !elf->uses_python);
    CHECK(isles_elf_imports(elf, "host_value") && isles_elf_imports(elf, "helper_next"));
    CHECK(isles_elf_exports(elf, "probe_next") && isles_elf_exports(elf, "probe_unique"));
    CHECK(!isles_elf_exports(elf, "counter") && isles_elf_needed(elf, 0) != NULL);
    CHECK(isles_elf_exports(&helper->elf, "helper_next") && !helper->elf.has_tls);
    CHECK(strcmp(helper->elf.soname, "libelf-helper.so") == 0 && elf->needs.size > 0);
}

static void
test_probe(const char *path, const struct file *helper, bool is_first)
{
    struct file probe;
    file_read(&probe, path);
    check_elf(&probe, helper);
    void *first = load_pair(&probe, helper, "host_value_1");
    void *second = load_pair(&probe, helper, "host_value_2");
    CHECK(first != second);
    check_copy(first, 101);
    check_copy(second, 102);
    void *original = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(original != NULL && original != first && original != second);
    CHECK(call(original, "probe_initialised") == 1 && call(original, "probe_host_value") == 100);
    CHECK(call(original, "probe_parent") == getppid());
    if (is_first) {
        check_counters(original);
        check_unique_shared(&probe);
    }
    free(probe.bytes);
}

int
main(int argc, char **argv)
{
    struct file helper;
    CHECK(argc >= 3 && mkdtemp(folder) != NULL);
    file_read(&helper, argv[1]);
    for (int i = 2; i < argc; i++) {
        /* The originals share the helper and what is unique: only the first starts at nought. */
        test_probe(argv[i], &helper, i == 2);
    }
    free(helper.bytes);
    for (int i = 0; i < written_count; i++) {
        CHECK(unlink(written[i]) == 0);
    }
    CHECK(rmdir(folder) == 0);
    return 0;
}
