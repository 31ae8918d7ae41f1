/* The reader of shared objects: what it finds in good ones, and that it refuses damaged ones. */
#include "check.h"
#include "elf_file.h"
#include "elf_image.h"

static int
open_image(struct isles_elf *elf, const struct image *image)
{
    return isles_elf_open(elf, image->bytes, image->size);
}

static bool
same(const char *text, const char *other)
{
    return text != NULL && strcmp(text, other) == 0;
}

/* ---- good ones ---- */

static void
check_symbols(const struct isles_elf *elf)
{
    CHECK(isles_elf_imports(elf, "PyGILState_Ensure")
          && isles_elf_imports(elf, "PyModule_Create2"));
    CHECK(isles_elf_imports(elf, "printf") && isles_elf_imports(elf, "weak_import"));
    CHECK(!isles_elf_imports(elf, "PyInit_probe") && !isles_elf_imports(elf, "counter"));
    CHECK(isles_elf_exports(elf, "PyInit_probe") && isles_elf_exports(elf, "counter"));
    CHECK(!isles_elf_exports(elf, "hidden") && !isles_elf_exports(elf, "printf"));
    CHECK(!isles_elf_imports(elf, "") && !isles_elf_exports(elf, ""));
    CHECK(!isles_elf_imports(elf, "PyGILState_Ensur") && !isles_elf_exports(elf, "counters"));
    CHECK(elf->uses_python);
}

static void
check_image(const struct image *image, const struct image_options *options)
{
    struct isles_elf elf;
    CHECK(open_image(&elf, image) == 0);
    CHECK(options->nameless ? elf.soname == NULL : same(elf.soname, "libprobe.so.1"));
    CHECK(same(elf.runpath, IMAGE_RUNPATH) && same(elf.rpath, "$ORIGIN"));
    CHECK(same(isles_elf_needed(&elf, 0), "libhelper.so.2"));
    CHECK(same(isles_elf_needed(&elf, 1), "libc.so.6"));
    CHECK(isles_elf_needed(&elf, 2) == NULL && isles_elf_needed(&elf, SIZE_MAX) == NULL);
    CHECK(elf.has_tls == options->tls && elf.static_tls == options->tls);
    CHECK(elf.has_unique == options->unique);
    CHECK((elf.needs.size > 0) == options->needs);
    check_symbols(&elf);
}

static void
test_queries(void)
{
    for (unsigned flags = 0; flags < IMAGE_OPTIONS; flags++) {
        struct image image;
        struct image_options options = image_options(flags);
        image_make(&image, options);
        check_image(&image, &options);
    }
}

/* Names that start so count only where they are wanted from elsewhere. */
static void
test_without_python(void)
{
    struct image image;
    struct isles_elf elf;
    image_make(&image, image_options(2));
    for (int i = 1; i <= 2; i++) {
        image.bytes[image.symbols + i * sizeof(Elf64_Sym) + 6] = 1; /* defined */
    }
    CHECK(open_image(&elf, &image) == 0 && !elf.uses_python);
    CHECK(isles_elf_exports(&elf, "PyGILState_Ensure") && isles_elf_exports(&elf, "PyInit_probe"));
}

static void
test_defines_nothing(void)
{
    struct image image;
    struct isles_elf elf;
    image_make(&image, image_options(4));
    image_put_word(&image, image.gnu_hash + 24, 0); /* the bucket */
    CHECK(open_image(&elf, &image) == 0 && isles_elf_imports(&elf, "printf"));
    image_put_entry(&image, DT_RELASZ, 0);
    CHECK(open_image(&elf, &image) == 0 && !isles_elf_imports(&elf, "printf"));
    CHECK(elf.symbols.size == 0 && !elf.uses_python);
}

/* ---- of other kinds ---- */

static void
check_byte(size_t offset, unsigned char value, int status)
{
    struct image image;
    struct isles_elf elf = {.soname = "untouched"};
    image_make(&image, image_options(IMAGE_OPTIONS - 1));
    image.bytes[offset] = value;
    CHECK(open_image(&elf, &image) == status);
    CHECK(same(elf.soname, "untouched"));
}

static void
test_other_kinds(void)
{
    struct isles_elf elf;
    CHECK(isles_elf_open(&elf, "", 0) == ISLES_UNSUPPORTED);
    CHECK(isles_elf_open(&elf, "\177EL", 3) == ISLES_UNSUPPORTED);
    CHECK(isles_elf_open(&elf, "#!/bin/sh\n", 10) == ISLES_UNSUPPORTED);
    CHECK(isles_elf_open(&elf, "\177ELF", 4) == ISLES_MALFORMED);
    check_byte(EI_CLASS, ELFCLASS32, ISLES_UNSUPPORTED);
    check_byte(EI_DATA, ELFDATA2MSB, ISLES_UNSUPPORTED);
    check_byte(EI_VERSION, 0, ISLES_UNSUPPORTED);
    check_byte(16, ET_EXEC, ISLES_UNSUPPORTED);
    check_byte(18, EM_386, ISLES_UNSUPPORTED);
    check_byte(20, 2, ISLES_UNSUPPORTED);
    check_byte(54, 32, ISLES_MALFORMED);   /* size of a program header */
    check_byte(57, 0xff, ISLES_MALFORMED); /* more of them than fit */
    check_byte(56, 0, ISLES_MALFORMED);    /* none */
}

/* ---- damaged ones ---- */

struct damage {
    const char *what;
    void (*make)(struct image *image);
};

static void
texts_without_end(struct image *image)
{
    image->bytes[image->strings + image->texts_size - 1] = 'x';
}

static void
texts_of_no_size(struct image *image)
{
    image_put_entry(image, DT_STRSZ, 0);
}

static void
texts_outside(struct image *image)
{
    image_put_entry(image, DT_STRTAB, UINT64_MAX - 3);
}

static void
soname_outside(struct image *image)
{
    image_put_entry(image, DT_SONAME, image->texts_size);
}

static void
needed_outside(struct image *image)
{
    image_put_entry(image, DT_NEEDED, UINT64_MAX);
}

static void
runpath_outside(struct image *image)
{
    image_put_entry(image, DT_RUNPATH, image->texts_size + 7);
}

static void
rpath_outside(struct image *image)
{
    image_put_entry(image, DT_RPATH, image->texts_size);
}

static void
symbol_outside(struct image *image)
{
    image_put_word(image, image->symbols + 7 * sizeof(Elf64_Sym), (uint32_t)image->texts_size);
}

static void
symbols_of_other_size(struct image *image)
{
    image_put_entry(image, DT_SYMENT, 16);
}

static void
too_many_symbols(struct image *image)
{
    image_put_word(image, image->hash + 4, UINT32_MAX);
}

static void
hash_outside(struct image *image)
{
    image_put_entry(image, DT_HASH, IMAGE_DATA_AT - 4);
}

static void
entry_twice(struct image *image)
{
    Elf64_Sxword tag = DT_STRTAB;
    image_put(image, image_entry(image, DT_FINI), &tag, sizeof(tag));
}

static void
entries_without_end(struct image *image)
{
    Elf64_Sxword tag = DT_DEBUG;
    image_put(image, image_entry(image, DT_NULL), &tag, sizeof(tag));
}

static void
need_outside(struct image *image)
{
    image_put_word(image, image->needs + 8 + 4, IMAGE_DATA_AT); /* vn_next */
}

static void
needs_overlap(struct image *image)
{
    image_put_word(image, image->needs + 8 + 4, 12);
    image_put_word(image, image->needs + 12 + 12, 0); /* vn_next of the second: good otherwise */
}

static void
need_without_name(struct image *image)
{
    image_put_word(image, image->needs + 4, UINT32_MAX);
}

static void
segments_disordered(struct image *image)
{
    Elf64_Phdr one = image_segment(image, 1), other = image_segment(image, 2);
    image_put_segment(image, 1, other);
    image_put_segment(image, 2, one);
}

static void
segment_beyond_memory(struct image *image)
{
    Elf64_Phdr segment = image_segment(image, 2);
    segment.p_memsz = UINT64_MAX;
    image_put_segment(image, 2, segment);
}

static void
segment_beyond_file(struct image *image)
{
    Elf64_Phdr segment = image_segment(image, 2);
    segment.p_filesz = segment.p_memsz = image->size;
    image_put_segment(image, 2, segment);
}

static void
segment_larger_in_file(struct image *image)
{
    Elf64_Phdr segment = image_segment(image, 2);
    segment.p_memsz = segment.p_filesz - 1;
    image_put_segment(image, 2, segment);
}

static void
odd_alignment(struct image *image)
{
    Elf64_Phdr segment = image_segment(image, 1);
    segment.p_align = 4095;
    image_put_segment(image, 1, segment);
}

static void
misaligned(struct image *image)
{
    Elf64_Phdr segment = image_segment(image, 2);
    segment.p_vaddr += 16;
    image_put_segment(image, 2, segment);
}

static void
two_dynamics(struct image *image)
{
    image_put_segment(image, 4, image_segment(image, 3));
}

static void
symbols_on_headers(struct image *image)
{
    image_put_entry(image, DT_SYMTAB, 64);
}

static void
texts_on_symbols(struct image *image)
{
    image_put_entry(image, DT_STRTAB, image->symbols);
    image_put_entry(image, DT_STRSZ, 5);
}

static const struct damage damages[] = {
    {"texts_without_end", texts_without_end},
    {"texts_of_no_size", texts_of_no_size},
    {"texts_outside", texts_outside},
    {"soname_outside", soname_outside},
    {"needed_outside", needed_outside},
    {"runpath_outside", runpath_outside},
    {"rpath_outside", rpath_outside},
    {"symbol_outside", symbol_outside},
    {"symbols_of_other_size", symbols_of_other_size},
    {"too_many_symbols", too_many_symbols},
    {"hash_outside", hash_outside},
    {"entry_twice", entry_twice},
    {"entries_without_end", entries_without_end},
    {"need_outside", need_outside},
    {"needs_overlap", needs_overlap},
    {"need_without_name", need_without_name},
    {"segments_disordered", segments_disordered},
    {"segment_beyond_memory", segment_beyond_memory},
    {"segment_beyond_file", segment_beyond_file},
    {"segment_larger_in_file", segment_larger_in_file},
    {"odd_alignment", odd_alignment},
    {"misaligned", misaligned},
    {"two_dynamics", two_dynamics},
    {"symbols_on_headers", symbols_on_headers},
    {"texts_on_symbols", texts_on_symbols},
};

static void
test_damaged(void)
{
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct image image;
        struct isles_elf elf = {.soname = "untouched"};
        struct image_options options = image_options(IMAGE_OPTIONS - 2); /* with a soname */
        options.gnu_hash = false;
        image_make(&image, options);
        CHECK(open_image(&elf, &image) == 0);
        elf.soname = "untouched";
        damages[i].make(&image);
        int status = open_image(&elf, &image);
        if (status != ISLES_MALFORMED) {
            fprintf(stderr, "%s: %d\n", damages[i].what, status);
        }
        CHECK(status == ISLES_MALFORMED && same(elf.soname, "untouched"));
    }
}

static void
check_gnu_hash(size_t word, uint32_t value, int status)
{
    struct image image;
    struct isles_elf elf;
    image_make(&image, image_options(4));
    image_put_word(&image, image.gnu_hash + 4 * word, value);
    CHECK(open_image(&elf, &image) == status);
}

static void
test_damaged_gnu_hash(void)
{
    check_gnu_hash(0, UINT32_MAX, ISLES_MALFORMED); /* buckets */
    check_gnu_hash(2, UINT32_MAX, ISLES_MALFORMED); /* words of its filter */
    check_gnu_hash(6, UINT32_MAX, ISLES_MALFORMED); /* the bucket */
    check_gnu_hash(6, IMAGE_EXPORTS + 1, ISLES_OK);
    check_gnu_hash(9, 6, ISLES_MALFORMED); /* the link that ends: what follows has names anywhere */
}

/* Reads all that it has.  The sanitizers see what is outside. */
static void
ask_all(const unsigned char *bytes, size_t size)
{
    struct isles_elf elf;
    int status = isles_elf_open(&elf, bytes, size);
    CHECK(status == ISLES_OK || status == ISLES_MALFORMED || status == ISLES_UNSUPPORTED);
    if (status < 0) {
        return;
    }
    size_t length = 0;
    const char *texts[] = {elf.soname, elf.runpath, elf.rpath};
    for (int i = 0; i < 3; i++) {
        length += texts[i] != NULL ? strlen(texts[i]) : 0;
    }
    for (size_t i = 0; isles_elf_needed(&elf, i) != NULL; i++) {
        length += strlen(isles_elf_needed(&elf, i));
    }
    CHECK(length < 100 * size);
    isles_elf_imports(&elf, "printf");
    isles_elf_exports(&elf, "counter");
}

static void
test_truncated(void)
{
    struct image image;
    image_make(&image, image_options(IMAGE_OPTIONS - 1));
    for (size_t size = 0; size <= image.size; size++) {
        unsigned char *bytes = malloc(size > 0 ? size : 1);
        CHECK(bytes != NULL);
        memcpy(bytes, image.bytes, size);
        struct isles_elf elf;
        CHECK((isles_elf_open(&elf, bytes, size) == ISLES_OK) == (size >= image.data_end));
        ask_all(bytes, size);
        free(bytes);
    }
}

static void
test_varied(void)
{
    for (unsigned flags = 0; flags < IMAGE_OPTIONS; flags += 5) {
        struct image image;
        image_make(&image, image_options(flags));
        image_vary(&image, flags + 1, 1000, ask_all);
    }
}

int
main(void)
{
    test_queries();
    test_without_python();
    test_defines_nothing();
    test_other_kinds();
    test_damaged();
    test_damaged_gnu_hash();
    test_truncated();
    test_varied();
    return 0;
}
