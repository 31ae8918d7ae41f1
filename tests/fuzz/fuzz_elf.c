/* libFuzzer feeds the reader of shared objects arbitrary bytes.  What opens answers all questions,
 * is edited in all ways, and the copy opens and has the new names.
 *
 * With SEEDS=<folder> it writes there, instead, shared objects made in memory. */
#include "../../core/elf_edit.h"
#include "../../core/elf_file.h"
#include "../core/check.h"
#include "../core/elf_image.h"

#define RENAMED 6 /* so many needed libraries at most get new names */

static bool
same(const char *text, const char *other)
{
    return (text == NULL) == (other == NULL) && (text == NULL || strcmp(text, other) == 0);
}

static size_t
count_needed(const struct isles_elf *elf)
{
    size_t count = 0;
    while (isles_elf_needed(elf, count) != NULL) {
        CHECK(strlen(isles_elf_needed(elf, count)) < elf->strings.size);
        count++;
    }
    return count;
}

static void
ask_all(const struct isles_elf *elf)
{
    const char *texts[] = {elf->soname, elf->runpath, elf->rpath};
    for (int i = 0; i < 3; i++) {
        CHECK(texts[i] == NULL || strlen(texts[i]) < elf->strings.size);
    }
    count_needed(elf);
    isles_elf_exports(elf, "PyInit_probe");
}

/* ---- edits ---- */

static const struct isles_elf_rename symbols[] = {
    {"PyGILState_Ensure", "isles_gilstate_ensure"},
    {"printf", "isles_printf"},
};

static struct isles_elf
edit(const struct isles_elf *elf, const struct isles_elf_changes *changes, unsigned char **bytes)
{
    struct isles_elf copy = {0};
    size_t size;
    int status = isles_elf_edit(elf, changes, bytes, &size);
    if (status < 0) {
        CHECK(status == ISLES_UNSUPPORTED);
        *bytes = NULL;
        return copy;
    }
    CHECK(isles_elf_open(&copy, *bytes, size) == 0);
    ask_all(&copy);
    return copy;
}

static void
check_path(const char *before, const char *after)
{
    bool has_origin = before && (strstr(before, "$ORIGIN") || strstr(before, "${ORIGIN}"));
    CHECK(has_origin ? strstr(after, "/new origin") != NULL : same(before, after));
}

static void
check_symbols(const struct isles_elf *elf, const struct isles_elf *copy)
{
    for (int i = 0; i < 2; i++) {
        bool was = isles_elf_imports(elf, symbols[i].from) || isles_elf_imports(elf, symbols[i].to);
        CHECK(!isles_elf_imports(copy, symbols[i].from));
        CHECK(isles_elf_imports(copy, symbols[i].to) == was);
        CHECK(isles_elf_exports(copy, symbols[i].from) == isles_elf_exports(elf, symbols[i].from));
    }
    CHECK(copy->symbols.size == elf->symbols.size && !copy->has_unique);
}

/* The first libraries by the names that they have, each to one that says its number. */
static void
edit_all(const struct isles_elf *elf)
{
    struct isles_elf_rename needed[RENAMED];
    char names[RENAMED][16];
    size_t count = count_needed(elf), renamed = count < RENAMED ? count : RENAMED;
    for (size_t i = 0; i < renamed; i++) {
        snprintf(names[i], sizeof(names[i]), "isles-1-%zu", i);
        needed[i] = (struct isles_elf_rename){isles_elf_needed(elf, i), names[i]};
    }
    const struct isles_elf_changes changes = {"isles-1", needed,        renamed, symbols,
                                              2,         "/new origin", true,    true};
    unsigned char *bytes;
    struct isles_elf copy = edit(elf, &changes, &bytes);
    if (bytes == NULL) {
        return;
    }
    CHECK(same(copy.soname, elf->soname ? "isles-1" : NULL));
    CHECK(count_needed(&copy) == count);
    for (size_t i = 0; i < renamed; i++) {
        CHECK(strncmp(isles_elf_needed(&copy, i), "isles-1-", 8) == 0);
    }
    check_path(elf->runpath, copy.runpath);
    check_path(elf->rpath, copy.rpath);
    check_symbols(elf, &copy);
    free(bytes);
}

static void
edit_nothing(const struct isles_elf *elf)
{
    const struct isles_elf_changes changes = {0};
    unsigned char *bytes;
    struct isles_elf copy = edit(elf, &changes, &bytes);
    CHECK(bytes != NULL && copy.size == elf->size && memcmp(bytes, elf->data, elf->size) == 0);
    free(bytes);
}

/* ---- what libFuzzer calls ---- */

/* Whatever machine the seeds were made on. */
static void
set_machine(unsigned char *bytes, size_t size)
{
    Elf64_Half machine = IMAGE_MACHINE;
    size_t at = offsetof(Elf64_Ehdr, e_machine);
    if (size >= at + sizeof(machine)) {
        memcpy(bytes + at, &machine, sizeof(machine));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct isles_elf elf;
    unsigned char *bytes = malloc(size > 0 ? size : 1);
    CHECK(bytes != NULL);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    set_machine(bytes, size);
    if (isles_elf_open(&elf, bytes, size) == 0) {
        ask_all(&elf);
        edit_all(&elf);
        edit_nothing(&elf);
    }
    free(bytes);
    return 0;
}

/* ---- seeds ---- */

static void
write_seed(const char *folder, unsigned flags)
{
    char path[4096];
    struct image image;
    image_make(&image, image_options(flags));
    snprintf(path, sizeof(path), "%s/seed-%02x", folder, flags);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK(fwrite(image.bytes, 1, image.size, file) == image.size);
    CHECK(fclose(file) == 0);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *folder = getenv("SEEDS");
    if (folder != NULL) {
        /* Each flag alone, and all. */
        for (unsigned flag = 1; flag < IMAGE_OPTIONS; flag *= 2) {
            write_seed(folder, flag);
        }
        write_seed(folder, IMAGE_OPTIONS - 1);
        exit(0);
    }
    return 0;
}
