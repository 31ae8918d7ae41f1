/* Edited copies: each change, all of them, none; every allocation failed once; damaged originals.
 */
#include "check.h"
#include "failing_alloc.h"

#include "buffer.c"   /* NOLINT: so that its allocations can fail */
#include "elf_edit.c" /* NOLINT: likewise */

/* What was made with malloc stays so. */
#undef malloc
#undef calloc
#undef realloc
#include "elf_image.h"

static const struct isles_elf_rename needed[] = {
    {"libhelper.so.2", "isles-1-libhelper.so.2"},
    {"libnone.so", "isles-1-libnone.so"},
};

static const struct isles_elf_rename symbols[] = {
    {"PyGILState_Ensure", "isles_gilstate_ensure"},
    {"printf", "isles_printf"},
    {"PyInit_probe", "isles_init"}, /* defined: not renamed */
    {"", "isles_nothing"},
};

static const struct isles_elf_changes everything = {
    .soname = "isles-1-libprobe.so.1",
    .needed = needed,
    .needed_count = 2,
    .symbols = symbols,
    .symbols_count = 4,
    .origin = "/opt/a folder/probe",
    .demote_unique = true,
    .defer_init = true,
};

static const struct isles_elf_changes nothing;

static bool
same(const char *text, const char *other)
{
    return text != NULL && strcmp(text, other) == 0;
}

/* A copy, opened. */
struct copy {
    unsigned char *bytes;
    size_t size;
    struct isles_elf elf;
};

static void
copy_make(struct copy *copy, const unsigned char *bytes, size_t size,
          const struct isles_elf_changes *changes)
{
    struct isles_elf elf;
    CHECK(isles_elf_open(&elf, bytes, size) == 0);
    CHECK(isles_elf_edit(&elf, changes, &copy->bytes, &copy->size) == 0);
    CHECK(isles_elf_open(&copy->elf, copy->bytes, copy->size) == 0);
}

static void
copy_of_image(struct copy *copy, unsigned flags, const struct isles_elf_changes *changes)
{
    struct image image;
    image_make(&image, image_options(flags));
    copy_make(copy, image.bytes, image.size, changes);
}

static void
copy_free(struct copy *copy)
{
    free(copy->bytes);
}

static bool
has_entry(const struct isles_elf *elf, Elf64_Sxword tag, uint64_t *value)
{
    for (size_t i = 0; i < isles__elf_dynamic_count(elf); i++) {
        Elf64_Dyn entry = isles__elf_dynamic(elf, i);
        if (entry.d_tag == tag) {
            *value = entry.d_un.d_val;
            return true;
        }
    }
    return false;
}

/* ---- each change ---- */

static void
check_names(const struct isles_elf *elf)
{
    CHECK(elf->soname == NULL || same(elf->soname, "isles-1-libprobe.so.1"));
    CHECK(same(isles_elf_needed(elf, 0), "isles-1-libhelper.so.2"));
    CHECK(same(isles_elf_needed(elf, 1), "libc.so.6") && isles_elf_needed(elf, 2) == NULL);
    CHECK(same(elf->runpath, "/opt/a folder/probe/../probe.libs:/usr/lib:/opt/a folder/probe:"
                             "lib/rel:$LIB/x:$ORIGI"));
    CHECK(same(elf->rpath, "/opt/a folder/probe"));
}

static void
check_symbols(const struct isles_elf *elf)
{
    CHECK(!isles_elf_imports(elf, "PyGILState_Ensure") && !isles_elf_imports(elf, "printf"));
    CHECK(isles_elf_imports(elf, "isles_gilstate_ensure")
          && isles_elf_imports(elf, "isles_printf"));
    CHECK(isles_elf_imports(elf, "PyModule_Create2") && isles_elf_imports(elf, "weak_import"));
    CHECK(isles_elf_exports(elf, "PyInit_probe") && isles_elf_exports(elf, "counter"));
    CHECK(!isles_elf_exports(elf, "isles_init") && !isles_elf_imports(elf, "isles_nothing"));
    CHECK(!elf->has_unique && elf->uses_python);
    Elf64_Sym counter = isles__elf_symbol(elf, 7);
    CHECK(counter.st_info == ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT) && counter.st_value == 64);
}

static void
check_deferred(const struct isles_elf *elf)
{
    uint64_t value;
    CHECK(!has_entry(elf, DT_INIT, &value) && !has_entry(elf, DT_INIT_ARRAY, &value));
    CHECK(!has_entry(elf, DT_INIT_ARRAYSZ, &value));
    CHECK(has_entry(elf, ISLES_DT_INIT, &value) && value == 64);
    CHECK(has_entry(elf, ISLES_DT_INIT_ARRAY, &value) && value == IMAGE_DATA_AT);
    CHECK(has_entry(elf, ISLES_DT_INIT_ARRAYSZ, &value) && value == 8);
    CHECK(has_entry(elf, DT_FINI, &value) && value == 72);
}

/* The first of the two is libc's, which keeps its name. */
static void
check_versions(const struct isles_elf *elf)
{
    Elf64_Verneed need;
    CHECK(elf->needs.size > 0);
    memcpy(&need, elf->data + elf->needs.start, sizeof(need));
    CHECK(same(isles__elf_text(elf, need.vn_file), "libc.so.6"));
    memcpy(&need, elf->data + elf->needs.start + need.vn_next, sizeof(need));
    CHECK(same(isles__elf_text(elf, need.vn_file), "isles-1-libhelper.so.2"));
    CHECK(need.vn_cnt == 1 && need.vn_next == 0);
}

static void
test_all_changes(void)
{
    for (unsigned flags = 0; flags < IMAGE_OPTIONS; flags++) {
        struct copy copy;
        copy_of_image(&copy, flags, &everything);
        struct image_options options = image_options(flags);
        CHECK((copy.elf.soname == NULL) == options.nameless);
        check_names(&copy.elf);
        check_symbols(&copy.elf);
        check_deferred(&copy.elf);
        if (options.needs) {
            check_versions(&copy.elf);
        }
        copy_free(&copy);
    }
}

static void
test_no_change(void)
{
    for (unsigned flags = 0; flags < IMAGE_OPTIONS; flags++) {
        struct image image;
        struct copy copy;
        image_make(&image, image_options(flags));
        copy_make(&copy, image.bytes, image.size, &nothing);
        CHECK(copy.size == image.size && memcmp(copy.bytes, image.bytes, image.size) == 0);
        copy_free(&copy);
    }
}

/* What needs no new text changes in place. */
static void
test_in_place(void)
{
    const struct isles_elf_changes changes = {.demote_unique = true, .defer_init = true};
    struct image image;
    struct copy copy;
    image_make(&image, image_options(IMAGE_OPTIONS - 1));
    copy_make(&copy, image.bytes, image.size, &changes);
    CHECK(copy.size == image.size && !copy.elf.has_unique);
    check_deferred(&copy.elf);
    CHECK(same(copy.elf.runpath, IMAGE_RUNPATH) && same(copy.elf.rpath, "$ORIGIN"));
    size_t changed = 0;
    for (size_t i = 0; i < copy.size; i++) {
        changed += copy.bytes[i] != image.bytes[i];
    }
    CHECK(changed == 1 + 3 * 3); /* a binding, and three tags in all but the lowest byte */
    copy_free(&copy);
}

static void
test_again(void)
{
    static const struct isles_elf_rename back[] = {{"isles_printf", "printf"}};
    const struct isles_elf_changes changes = {
        .soname = "third", .symbols = back, .symbols_count = 1, .defer_init = true};
    struct copy copy, next;
    copy_of_image(&copy, IMAGE_OPTIONS - 2, &everything);
    copy_make(&next, copy.bytes, copy.size, &changes);
    CHECK(same(next.elf.soname, "third") && isles_elf_imports(&next.elf, "printf"));
    CHECK(isles__elf_segment_count(&next.elf) == isles__elf_segment_count(&copy.elf) + 1);
    check_deferred(&next.elf);
    copy_free(&next);
    copy_free(&copy);
}

/* Each new text is there once. */
static void
test_texts_shared(void)
{
    static const struct isles_elf_rename one[] = {{"printf", "n"}, {"weak_import", "n"}};
    const struct isles_elf_changes changes = {.soname = "n", .symbols = one, .symbols_count = 2};
    struct image image;
    struct copy copy;
    image_make(&image, image_options(2));
    copy_make(&copy, image.bytes, image.size, &changes);
    CHECK(copy.elf.strings.size == image.texts_size + 2);
    CHECK(same(copy.elf.soname, "n") && isles_elf_imports(&copy.elf, "n"));
    copy_free(&copy);
}

/* ---- the origin ---- */

static int
try_origin(const char *path, const char *origin, const char *result)
{
    struct image image;
    struct isles_elf elf, copy;
    unsigned char *bytes;
    size_t size;
    image_make(&image, image_options(2));
    CHECK(strlen(path) <= strlen(IMAGE_RUNPATH));
    uint64_t at;
    CHECK(isles_elf_open(&elf, image.bytes, image.size) == 0 && has_entry(&elf, DT_RUNPATH, &at));
    image_put(&image, image.strings + at, path, strlen(path) + 1);
    image_put_entry(&image, DT_RPATH, 0);
    const struct isles_elf_changes changes = {.origin = origin};
    int status = isles_elf_edit(&elf, &changes, &bytes, &size);
    if (status == 0) {
        CHECK(isles_elf_open(&copy, bytes, size) == 0 && same(copy.runpath, result));
        free(bytes);
    }
    return status;
}

static void
test_origin(void)
{
    CHECK(try_origin("$ORIGIN", "/o", "/o") == 0);
    CHECK(try_origin("${ORIGIN}/x:y", "/o", "/o/x:y") == 0);
    CHECK(try_origin("/a:$ORIGIN/$LIB", "/o", "/a:/o/$LIB") == 0);
    CHECK(try_origin("$ORIGIN$ORIGIN", "/o", "/o/o") == 0);
    CHECK(try_origin("$ORIGINAL", "/o", "/oAL") == 0); /* as glibc reads it */
    CHECK(try_origin("${ORIGIN:$ORIGI:ORIGIN", "/o", "${ORIGIN:$ORIGI:ORIGIN") == 0);
    CHECK(try_origin("", "/o", "") == 0);
    CHECK(try_origin("$ORIGIN", "/a:b", NULL) == ISLES_UNSUPPORTED);
    CHECK(try_origin("x:$ORIGIN/y", "/a$b", NULL) == ISLES_UNSUPPORTED);
    CHECK(try_origin("/usr/lib", "/a:$b", "/usr/lib") == 0); /* not to be written */
}

static void
test_origin_of_needed(void)
{
    struct image image;
    struct copy copy;
    image_make(&image, image_options(2));
    struct isles_elf elf;
    uint64_t at;
    CHECK(isles_elf_open(&elf, image.bytes, image.size) == 0 && has_entry(&elf, DT_NEEDED, &at));
    image_put(&image, image.strings + at, "$ORIGIN/lib.so", 15);
    const struct isles_elf_changes changes = {.origin = "/o"};
    copy_make(&copy, image.bytes, image.size, &changes);
    CHECK(same(isles_elf_needed(&copy.elf, 0), "/o/lib.so"));
    copy_free(&copy);
}

/* ---- the new segment ---- */

static size_t
count_segments(const struct isles_elf *elf, uint32_t type, Elf64_Phdr *last)
{
    size_t count = 0;
    for (size_t i = 0; i < isles__elf_segment_count(elf); i++) {
        Elf64_Phdr segment = isles__elf_segment(elf, i);
        if (segment.p_type == type) {
            *last = segment;
            count++;
        }
    }
    return count;
}

static void
check_segment(uint64_t align, uint64_t bss)
{
    struct image image;
    struct copy copy;
    struct image_options options = image_options(IMAGE_OPTIONS - 1);
    options.align = align;
    options.bss = bss;
    image_make(&image, options);
    copy_make(&copy, image.bytes, image.size, &everything);
    uint64_t end = IMAGE_DATA_AT + align + image.data_end - IMAGE_DATA_AT + bss;
    Elf64_Phdr segment, headers;
    CHECK(count_segments(&copy.elf, PT_LOAD, &segment) == 3);
    CHECK(segment.p_offset % 4096 == 0 && segment.p_offset >= image.size);
    CHECK(segment.p_offset + segment.p_filesz == copy.size);
    CHECK(segment.p_memsz == segment.p_filesz && segment.p_flags == PF_R);
    CHECK(segment.p_align == align && (segment.p_vaddr - segment.p_offset) % align == 0);
    CHECK(segment.p_vaddr / align * align >= end); /* no page in common */
    CHECK(segment.p_vaddr < end + 2 * align);
    CHECK(count_segments(&copy.elf, PT_PHDR, &headers) == 1);
    CHECK(headers.p_offset == copy.elf.headers.start && headers.p_vaddr == segment.p_vaddr);
    CHECK(headers.p_filesz == copy.elf.headers.size && headers.p_memsz == headers.p_filesz);
    CHECK(copy.elf.headers.start == segment.p_offset && copy.elf.headers.start % 8 == 0);
    copy_free(&copy);
}

static void
test_segment(void)
{
    for (uint64_t align = 4096; align <= 2u << 20; align *= 2) {
        check_segment(align, 0);
        check_segment(align, 1);
        check_segment(align, 5000000);
    }
}

static void
test_section(void)
{
    struct image image;
    struct copy copy;
    Elf64_Shdr section;
    Elf64_Phdr segment;
    image_make(&image, image_options(8 | 2));
    copy_make(&copy, image.bytes, image.size, &everything);
    memcpy(&section, copy.bytes + image.section, sizeof(section));
    count_segments(&copy.elf, PT_LOAD, &segment);
    CHECK(section.sh_offset == copy.elf.strings.start && section.sh_size == copy.elf.strings.size);
    CHECK(section.sh_addr - segment.p_vaddr == section.sh_offset - segment.p_offset);
    copy_free(&copy);
}

/* Section headers that can't be are no obstacle, and nothing is written there. */
static void
test_wrong_sections(void)
{
    static const uint64_t places[] = {0, 1, 64, 500, IMAGE_DATA_AT, 1 << 20, UINT64_MAX};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct image image;
        struct copy copy;
        image_make(&image, image_options(IMAGE_OPTIONS - 2));
        image_put(&image, offsetof(Elf64_Ehdr, e_shoff), &places[i], sizeof(places[i]));
        copy_make(&copy, image.bytes, image.size, &everything);
        check_names(&copy.elf);
        CHECK(memcmp(copy.bytes + image.section, image.bytes + image.section, sizeof(Elf64_Shdr))
              == 0);
        copy_free(&copy);
    }
}

/* One that looks right, but lies among the symbols. */
static void
test_section_in_the_way(void)
{
    struct image image;
    struct copy copy;
    image_make(&image, image_options(2));
    Elf64_Shdr section = {.sh_type = SHT_STRTAB, .sh_flags = SHF_ALLOC, .sh_addr = image.strings};
    Elf64_Half count = 1;
    uint64_t place = image.symbols;
    image_put(&image, place, &section, sizeof(section));
    image_put(&image, offsetof(Elf64_Ehdr, e_shoff), &place, sizeof(place));
    image_put(&image, offsetof(Elf64_Ehdr, e_shnum), &count, sizeof(count));
    copy_make(&copy, image.bytes, image.size, &everything);
    check_names(&copy.elf);
    CHECK(memcmp(copy.bytes + place, &section, sizeof(section)) == 0);
    copy_free(&copy);
}

/* ---- limits ---- */

static int
try_edit(const unsigned char *bytes, size_t size, const struct isles_elf_changes *changes)
{
    struct isles_elf elf;
    unsigned char *out = NULL;
    size_t out_size = 7;
    CHECK(isles_elf_open(&elf, bytes, size) == 0);
    int status = isles_elf_edit(&elf, changes, &out, &out_size);
    CHECK(status == 0 ? out != NULL : out == NULL && out_size == 7);
    free(out);
    return status;
}

static void
test_no_addresses_left(void)
{
    struct image image;
    image_make(&image, image_options(2));
    Elf64_Phdr segment = image_segment(&image, 1);
    segment.p_memsz = UINT64_MAX - segment.p_vaddr;
    image_put_segment(&image, 1, segment);
    CHECK(try_edit(image.bytes, image.size, &everything) == ISLES_UNSUPPORTED);
    CHECK(try_edit(image.bytes, image.size, &nothing) == 0);
    segment.p_memsz -= 4095; /* the last page is free */
    image_put_segment(&image, 1, segment);
    CHECK(try_edit(image.bytes, image.size, &everything) == 0);
}

/* The headers at the end of the file, with many that are nothing. */
static int
try_segments(size_t count)
{
    struct image image;
    image_make(&image, image_options(2));
    size_t start = (image.size + 7) & ~(size_t)7, size = start + count * sizeof(Elf64_Phdr);
    unsigned char *bytes = calloc(size, 1);
    CHECK(bytes != NULL);
    Elf64_Ehdr header;
    memcpy(&header, image.bytes, sizeof(header));
    memcpy(bytes, image.bytes, image.size);
    memcpy(bytes + start, image.bytes + header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr));
    header.e_phoff = start;
    header.e_phnum = (Elf64_Half)count;
    memcpy(bytes, &header, sizeof(header));
    int status = try_edit(bytes, size, &everything);
    free(bytes);
    return status;
}

static void
test_no_headers_left(void)
{
    CHECK(try_segments(PN_XNUM - 2) == 0);
    CHECK(try_segments(PN_XNUM - 1) == ISLES_UNSUPPORTED);
}

/* Gives how many there are. */
static long
fail_each(const struct image *image, const struct isles_elf_changes *changes)
{
    long failing = 0;
    int status;
    do {
        allocations_left = failing++;
        status = try_edit(image->bytes, image->size, changes);
        allocations_left = -1;
        CHECK(status == 0 || status == ISLES_NO_MEMORY);
    } while (status < 0);
    return failing - 1;
}

/* Texts that are longer than a buffer's own room, in each place that adds some. */
static void
test_every_allocation_fails_once(void)
{
    char name[5000] = {0};
    memset(name, 'n', sizeof(name) - 1);
    const struct isles_elf_rename library = {"libhelper.so.2", name}, symbol = {"printf", name};
    const struct isles_elf_changes changes[] = {
        {.soname = name},
        {.origin = name},
        {.needed = &library, .needed_count = 1},
        {.symbols = &symbol, .symbols_count = 1},
    };
    struct image image;
    image_make(&image, image_options(IMAGE_OPTIONS - 2));
    for (int i = 0; i < 4; i++) {
        CHECK(fail_each(&image, &changes[i]) >= 3);
    }
    image_put_entry(&image, DT_NEEDED, 0); /* the library only where versions are */
    CHECK(fail_each(&image, &changes[2]) == 3);
}

/* ---- damaged ones ---- */

/* Whatever opens can be edited, and the copy opens. */
static void
edit_anything(const unsigned char *bytes, size_t size)
{
    struct isles_elf elf, copy;
    unsigned char *out;
    size_t out_size;
    if (isles_elf_open(&elf, bytes, size) < 0
        || isles_elf_edit(&elf, &everything, &out, &out_size) < 0) {
        return;
    }
    CHECK(isles_elf_open(&copy, out, out_size) == 0 && !copy.has_unique);
    CHECK(elf.soname == NULL || same(copy.soname, everything.soname));
    CHECK(copy.symbols.size == elf.symbols.size && !isles_elf_imports(&copy, "printf"));
    free(out);
}

static void
test_varied(void)
{
    for (unsigned flags = 0; flags < IMAGE_OPTIONS; flags += 5) {
        struct image image;
        image_make(&image, image_options(flags));
        image_vary(&image, flags + 1, 500, edit_anything);
    }
}

int
main(void)
{
    test_all_changes();
    test_no_change();
    test_in_place();
    test_again();
    test_texts_shared();
    test_origin();
    test_origin_of_needed();
    test_segment();
    test_section();
    test_wrong_sections();
    test_section_in_the_way();
    test_no_addresses_left();
    test_no_headers_left();
    test_every_allocation_fails_once();
    test_varied();
    return 0;
}
