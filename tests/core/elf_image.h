/* A small shared object, made in memory: no code, but all that core/elf_*.c looks at.  Also the
 * seeds of tests/fuzz/fuzz_elf.c. */
#ifndef ISLES_TESTS_ELF_IMAGE_H
#define ISLES_TESTS_ELF_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#if defined(__aarch64__)
#define IMAGE_MACHINE EM_AARCH64
#else
#define IMAGE_MACHINE EM_X86_64
#endif

struct image_options {
    bool nameless; /* no DT_SONAME */
    bool hash;     /* DT_HASH */
    bool gnu_hash; /* DT_GNU_HASH; with neither, only relocations tell how many symbols there are */
    bool sections;
    bool headers; /* PT_PHDR */
    bool needs;   /* DT_VERNEED */
    bool tls;
    bool unique;
    uint64_t align; /* of segments, at least 4096 */
    uint64_t bss;
};

#define IMAGE_OPTIONS 256 /* combinations of the flags */

static inline struct image_options
image_options(unsigned flags)
{
    return (struct image_options){
        .nameless = flags & 1,
        .hash = flags & 2,
        .gnu_hash = flags & 4,
        .sections = flags & 8,
        .headers = flags & 16,
        .needs = flags & 32,
        .tls = flags & 64,
        .unique = flags & 128,
        .align = 4096,
    };
}

#define IMAGE_RUNPATH "$ORIGIN/../probe.libs:/usr/lib:${ORIGIN}:lib/rel:$LIB/x:$ORIGI"
#define IMAGE_SYMBOLS 8
#define IMAGE_EXPORTS 5 /* the first that is defined */
#define IMAGE_DATA_AT 3000

struct image {
    unsigned char bytes[8192];
    size_t size;
    char texts[512]; /* the string table while it grows */
    size_t texts_size;
    /* Where things are in the file. */
    size_t dynamic, symbols, strings, hash, gnu_hash, needs, section, relocations;
    size_t dynamics; /* entries, with DT_NULL */
    size_t data_end; /* of what is mapped */
};

static inline size_t
image_add(struct image *image, const void *bytes, size_t size)
{
    size_t start = (image->size + 7) & ~(size_t)7;
    CHECK(start + size <= sizeof(image->bytes));
    memcpy(image->bytes + start, bytes, size);
    image->size = start + size;
    return start;
}

static inline uint32_t
image_text(struct image *image, const char *text)
{
    size_t start = image->texts_size, size = strlen(text) + 1;
    CHECK(start + size <= sizeof(image->texts));
    memcpy(image->texts + start, text, size);
    image->texts_size += size;
    return (uint32_t)start;
}

/* Number 0 is nothing; then what it wants, then what it has. */
static inline void
image_add_symbols(struct image *image, const struct image_options *options)
{
    static const char *const names[IMAGE_SYMBOLS] = {
        "",       "PyGILState_Ensure", "PyModule_Create2", "printf", "weak_import", "PyInit_probe",
        "hidden", "counter",
    };
    Elf64_Sym symbols[IMAGE_SYMBOLS] = {0};
    for (int i = 1; i < IMAGE_SYMBOLS; i++) {
        int bind = i == 4 ? STB_WEAK : i == 7 && options->unique ? STB_GNU_UNIQUE : STB_GLOBAL;
        symbols[i].st_name = image_text(image, names[i]);
        symbols[i].st_info = ELF64_ST_INFO(bind, i == 7 ? STT_OBJECT : STT_FUNC);
        symbols[i].st_shndx = i >= IMAGE_EXPORTS ? 1 : SHN_UNDEF;
        symbols[i].st_value = i >= IMAGE_EXPORTS ? 64 : 0;
    }
    symbols[6].st_other = STV_HIDDEN;
    image->symbols = image_add(image, symbols, sizeof(symbols));
}

/* One bucket each, and the links in any order: nobody looks a name up here. */
static inline void
image_add_hashes(struct image *image)
{
    const uint32_t hash[2 + 1 + IMAGE_SYMBOLS] = {1, IMAGE_SYMBOLS, IMAGE_EXPORTS};
    const uint32_t gnu_hash[] = {1, IMAGE_EXPORTS, 1, 6, ~0u, ~0u, IMAGE_EXPORTS, 2, 4, 7};
    const Elf64_Rela relocations[] = {
        {.r_offset = IMAGE_DATA_AT, .r_info = ELF64_R_INFO(2, 1)},
        {.r_offset = IMAGE_DATA_AT, .r_info = ELF64_R_INFO((Elf64_Xword)IMAGE_SYMBOLS - 1, 1)},
    };
    image->hash = image_add(image, hash, sizeof(hash));
    image->gnu_hash = image_add(image, gnu_hash, sizeof(gnu_hash));
    image->relocations = image_add(image, relocations, sizeof(relocations));
}

/* printf of a version of libc's, and something of libhelper's. */
static inline void
image_add_needs(struct image *image)
{
    struct {
        Elf64_Verneed need;
        Elf64_Vernaux version;
    } needs[2] = {0};
    for (int i = 0; i < 2; i++) {
        needs[i].need.vn_version = 1;
        needs[i].need.vn_cnt = 1;
        needs[i].need.vn_file = image_text(image, i == 0 ? "libc.so.6" : "libhelper.so.2");
        needs[i].need.vn_aux = sizeof(needs[i].need);
        needs[i].need.vn_next = i == 0 ? sizeof(needs[i]) : 0;
        needs[i].version.vna_other = (Elf64_Half)(2 + i);
        needs[i].version.vna_name = image_text(image, i == 0 ? "GLIBC_2.2.5" : "HELPER_1");
    }
    image->needs = image_add(image, needs, sizeof(needs));
}

static inline void
image_add_entry(Elf64_Dyn *entries, size_t *count, Elf64_Sxword tag, uint64_t value)
{
    entries[*count].d_tag = tag;
    entries[*count].d_un.d_val = value;
    *count += 1;
}

/* The texts must be complete except for those here. */
static inline void
image_add_dynamic(struct image *image, const struct image_options *options)
{
    Elf64_Dyn entries[32] = {0};
    size_t count = 0;
    image_add_entry(entries, &count, DT_NEEDED, image_text(image, "libhelper.so.2"));
    image_add_entry(entries, &count, DT_NEEDED, image_text(image, "libc.so.6"));
    if (!options->nameless) {
        image_add_entry(entries, &count, DT_SONAME, image_text(image, "libprobe.so.1"));
    }
    image_add_entry(entries, &count, DT_RUNPATH, image_text(image, IMAGE_RUNPATH));
    image_add_entry(entries, &count, DT_RPATH, image_text(image, "$ORIGIN"));
    image_add_entry(entries, &count, DT_INIT, 64);
    image_add_entry(entries, &count, DT_FINI, 72);
    image_add_entry(entries, &count, DT_INIT_ARRAY, IMAGE_DATA_AT);
    image_add_entry(entries, &count, DT_INIT_ARRAYSZ, 8);
    image_add_entry(entries, &count, DT_SYMTAB, image->symbols);
    image_add_entry(entries, &count, DT_SYMENT, sizeof(Elf64_Sym));
    if (options->hash) {
        image_add_entry(entries, &count, DT_HASH, image->hash);
    }
    if (options->gnu_hash) {
        image_add_entry(entries, &count, DT_GNU_HASH, image->gnu_hash);
    }
    if (options->needs) {
        image_add_entry(entries, &count, DT_VERNEED, image->needs);
        image_add_entry(entries, &count, DT_VERNEEDNUM, 2);
    }
    image_add_entry(entries, &count, DT_RELA, image->relocations);
    image_add_entry(entries, &count, DT_RELASZ, 2 * sizeof(Elf64_Rela));
    image_add_entry(entries, &count, DT_FLAGS, options->tls ? DF_STATIC_TLS : 0);
    image->strings = image_add(image, image->texts, image->texts_size);
    image_add_entry(entries, &count, DT_STRTAB, image->strings);
    image_add_entry(entries, &count, DT_STRSZ, image->texts_size);
    image->dynamics = count + 1;
    CHECK(image->size <= IMAGE_DATA_AT);
    image->size = IMAGE_DATA_AT;
    image->dynamic = image_add(image, entries, image->dynamics * sizeof(entries[0]));
    image->data_end = image->size;
}

/* One for the string table alone. */
static inline void
image_add_sections(struct image *image)
{
    Elf64_Shdr sections[2] = {0};
    sections[1].sh_type = SHT_STRTAB;
    sections[1].sh_flags = SHF_ALLOC;
    sections[1].sh_addr = sections[1].sh_offset = image->strings;
    sections[1].sh_size = image->texts_size;
    image->section = image_add(image, sections, sizeof(sections)) + sizeof(sections[0]);
}

/* The data lies as far from the start in memory as in the file, plus the alignment. */
static inline void
image_write_headers(struct image *image, const struct image_options *options)
{
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_DYN,
        .e_machine = IMAGE_MACHINE,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(header),
        .e_shoff = image->section > 0 ? image->section - sizeof(Elf64_Shdr) : 0,
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = image->section > 0 ? 2 : 0,
    };
    Elf64_Phdr segments[5] = {0}, *next = segments;
    size_t data = image->data_end - IMAGE_DATA_AT;
    if (options->headers) {
        *next++ = (Elf64_Phdr){PT_PHDR, PF_R, 64, 64, 64, 0, 0, 8};
    }
    *next++ = (Elf64_Phdr){PT_LOAD, PF_R, 0, 0, 0, IMAGE_DATA_AT, IMAGE_DATA_AT, options->align};
    uint64_t address = IMAGE_DATA_AT + options->align;
    *next++ = (Elf64_Phdr){PT_LOAD, PF_R | PF_W, IMAGE_DATA_AT,       address,
                           address, data,        data + options->bss, options->align};
    *next++ = (Elf64_Phdr){PT_DYNAMIC, PF_R | PF_W, IMAGE_DATA_AT, address, address, data, data, 8};
    if (options->tls) {
        *next++ = (Elf64_Phdr){PT_TLS, PF_R, 0, 0, 0, 0, 8, 8};
    }
    header.e_phnum = (Elf64_Half)(next - segments);
    segments[0].p_filesz =
        options->headers ? header.e_phnum * sizeof(segments[0]) : segments[0].p_filesz;
    segments[0].p_memsz = segments[0].p_filesz;
    memcpy(image->bytes, &header, sizeof(header));
    memcpy(image->bytes + sizeof(header), segments, header.e_phnum * sizeof(segments[0]));
}

static inline void
image_make(struct image *image, struct image_options options)
{
    memset(image, 0, sizeof(*image));
    image->size = sizeof(Elf64_Ehdr) + 5 * sizeof(Elf64_Phdr);
    image_text(image, "");
    image_add_symbols(image, &options);
    image_add_hashes(image);
    image_add_needs(image);
    image_add_dynamic(image, &options);
    if (options.sections) {
        image_add_sections(image);
    }
    image_write_headers(image, &options);
}

/* ---- to damage it ---- */

static inline void
image_put(struct image *image, size_t offset, const void *bytes, size_t size)
{
    CHECK(offset + size <= image->size);
    memcpy(image->bytes + offset, bytes, size);
}

static inline void
image_put_word(struct image *image, size_t offset, uint32_t word)
{
    image_put(image, offset, &word, sizeof(word));
}

/* Where the first entry of that tag lies. */
static inline size_t
image_entry(const struct image *image, Elf64_Sxword tag)
{
    for (size_t i = 0; i < image->dynamics; i++) {
        Elf64_Dyn entry;
        size_t at = image->dynamic + i * sizeof(entry);
        memcpy(&entry, image->bytes + at, sizeof(entry));
        if (entry.d_tag == tag) {
            return at;
        }
    }
    CHECK(!"such an entry");
    return 0;
}

static inline void
image_put_entry(struct image *image, Elf64_Sxword tag, uint64_t value)
{
    image_put(image, image_entry(image, tag) + 8, &value, sizeof(value));
}

/* The program header number `index`. */
static inline Elf64_Phdr
image_segment(const struct image *image, size_t index)
{
    Elf64_Phdr segment;
    memcpy(&segment, image->bytes + sizeof(Elf64_Ehdr) + index * sizeof(segment), sizeof(segment));
    return segment;
}

static inline void
image_put_segment(struct image *image, size_t index, Elf64_Phdr segment)
{
    image_put(image, sizeof(Elf64_Ehdr) + index * sizeof(segment), &segment, sizeof(segment));
}

/* Runs check(bytes, size, arg) on many variants of it, each in memory of just its size. */
static inline void
image_vary(const struct image *image, uint32_t seed, int count,
           void (*check)(const unsigned char *bytes, size_t size))
{
    for (int i = 0; i < count; i++) {
        unsigned char *bytes = malloc(image->size);
        CHECK(bytes != NULL);
        memcpy(bytes, image->bytes, image->size);
        for (uint32_t flips = 1 + random_next(&seed) % 4; flips > 0; flips--) {
            bytes[random_next(&seed) % image->size] = (unsigned char)random_next(&seed);
        }
        check(bytes, image->size);
        free(bytes);
    }
}

#endif
