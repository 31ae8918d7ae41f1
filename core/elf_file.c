#include "elf_file.h"

#include <string.h>

#include "elf_records.h"

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#error "isles loads shared objects on x86-64 and aarch64 only"
#endif

/* The entries of the dynamic section that matter, in a table of their own. */
enum {
    STRTAB,
    STRSZ,
    SYMTAB,
    SYMENT,
    HASH,
    GNU_HASH,
    RELA,
    RELASZ,
    JMPREL,
    PLTRELSZ,
    VERNEED,
    SONAME,
    RUNPATH,
    RPATH,
    FLAGS,
    TAG_COUNT,
};

static const Elf64_Sxword tags[TAG_COUNT] = {
    [STRTAB] = DT_STRTAB,   [STRSZ] = DT_STRSZ,       [SYMTAB] = DT_SYMTAB,   [SYMENT] = DT_SYMENT,
    [HASH] = DT_HASH,       [GNU_HASH] = DT_GNU_HASH, [RELA] = DT_RELA,       [RELASZ] = DT_RELASZ,
    [JMPREL] = DT_JMPREL,   [PLTRELSZ] = DT_PLTRELSZ, [VERNEED] = DT_VERNEED, [SONAME] = DT_SONAME,
    [RUNPATH] = DT_RUNPATH, [RPATH] = DT_RPATH,       [FLAGS] = DT_FLAGS,
};

/* What is known while a file is opened. */
struct opening {
    struct isles_elf elf;
    Elf64_Phdr dynamic;
    bool has[TAG_COUNT];
    uint64_t value[TAG_COUNT];
    uint64_t symbol_count;
};

/* ---- bytes and addresses ---- */

static bool
is_inside(const struct isles_elf *elf, uint64_t start, uint64_t size)
{
    return start <= elf->size && size <= elf->size - start;
}

/* Where the bytes at an address lie in the file: all in one segment. */
static bool
locate(const struct isles_elf *elf, uint64_t address, uint64_t size, struct isles_part *span)
{
    for (size_t i = 0; i < isles__elf_segment_count(elf); i++) {
        Elf64_Phdr segment = isles__elf_segment(elf, i);
        if (segment.p_type != PT_LOAD || segment.p_filesz == 0 || address < segment.p_vaddr) {
            continue;
        }
        uint64_t offset = address - segment.p_vaddr;
        if (offset <= segment.p_filesz && size <= segment.p_filesz - offset) {
            *span = (struct isles_part){segment.p_offset + offset, size};
            return true;
        }
    }
    return false;
}

static uint32_t
word_at(const struct isles_elf *elf, size_t offset)
{
    uint32_t word;
    memcpy(&word, elf->data + offset, sizeof(word));
    return word;
}

/* ---- the headers ---- */

/* What tells files of other kinds apart from those of this one that are damaged. */
static bool
is_ours(const Elf64_Ehdr *header)
{
    return header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_ident[EI_DATA] == ELFDATA2LSB
           && header->e_ident[EI_VERSION] == EV_CURRENT && header->e_type == ET_DYN
           && header->e_machine == MACHINE && header->e_version == EV_CURRENT;
}

static int
read_header(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    Elf64_Ehdr header;
    if (elf->size < SELFMAG || memcmp(elf->data, ELFMAG, SELFMAG) != 0) {
        return ISLES_UNSUPPORTED;
    }
    if (elf->size < sizeof(header)) {
        return ISLES_MALFORMED;
    }
    memcpy(&header, elf->data, sizeof(header));
    if (!is_ours(&header)) {
        return ISLES_UNSUPPORTED;
    }
    size_t size = header.e_phnum * sizeof(Elf64_Phdr);
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == PN_XNUM
        || !is_inside(elf, header.e_phoff, size)) {
        return ISLES_MALFORMED;
    }
    elf->headers = (struct isles_part){header.e_phoff, size};
    return ISLES_OK;
}

/* Segments that are mapped come in the order of their addresses and share no byte in memory. */
static int
add_segment(struct isles_elf *elf, const Elf64_Phdr *segment)
{
    uint64_t align = segment->p_align > 0 ? segment->p_align : 1;
    uint64_t end;
    if (segment->p_filesz > segment->p_memsz || segment->p_vaddr < elf->end
        || (segment->p_filesz > 0 && !is_inside(elf, segment->p_offset, segment->p_filesz))
        || __builtin_add_overflow(segment->p_vaddr, segment->p_memsz, &end)
        || (align & (align - 1)) != 0
        || ((segment->p_vaddr - segment->p_offset) & (align - 1)) != 0) {
        return ISLES_MALFORMED;
    }
    elf->end = end;
    elf->align = align > elf->align ? align : elf->align;
    return ISLES_OK;
}

static int
read_segments(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    size_t dynamics = 0;
    elf->align = 1;
    for (size_t i = 0; i < isles__elf_segment_count(elf); i++) {
        Elf64_Phdr segment = isles__elf_segment(elf, i);
        if (segment.p_type == PT_LOAD && add_segment(elf, &segment) < 0) {
            return ISLES_MALFORMED;
        }
        if (segment.p_type == PT_DYNAMIC) {
            dynamics++;
            opening->dynamic = segment;
        }
        elf->has_tls = elf->has_tls || segment.p_type == PT_TLS;
    }
    return dynamics == 1 ? ISLES_OK : ISLES_MALFORMED;
}

/* ---- the dynamic section ---- */

/* Twice the same is refused: readers disagree on which one counts. */
static bool
note_tag(struct opening *opening, const Elf64_Dyn *entry)
{
    for (int i = 0; i < TAG_COUNT; i++) {
        if (tags[i] == entry->d_tag) {
            bool again = opening->has[i];
            opening->has[i] = true;
            opening->value[i] = entry->d_un.d_val;
            return !again;
        }
    }
    return true;
}

static int
read_dynamic(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    const Elf64_Phdr *segment = &opening->dynamic;
    if (!locate(elf, segment->p_vaddr, segment->p_filesz, &elf->dynamic)) {
        return ISLES_MALFORMED;
    }
    size_t count = isles__elf_dynamic_count(elf);
    for (size_t i = 0; i < count; i++) {
        Elf64_Dyn entry = isles__elf_dynamic(elf, i);
        if (entry.d_tag == DT_NULL) {
            elf->dynamic.size = i * sizeof(entry);
            elf->static_tls = (opening->value[FLAGS] & DF_STATIC_TLS) != 0;
            return ISLES_OK;
        }
        if (!note_tag(opening, &entry)) {
            return ISLES_MALFORMED;
        }
    }
    return ISLES_MALFORMED;
}

/* ---- texts ---- */

/* The text that an entry names, if there is one. */
static bool
read_text(const struct opening *opening, int tag, const char **text)
{
    if (opening->has[tag]) {
        *text = isles__elf_text(&opening->elf, opening->value[tag]);
        return *text != NULL;
    }
    return true;
}

static bool
are_needed_texts(const struct isles_elf *elf)
{
    for (size_t i = 0; i < isles__elf_dynamic_count(elf); i++) {
        Elf64_Dyn entry = isles__elf_dynamic(elf, i);
        if (entry.d_tag == DT_NEEDED && isles__elf_text(elf, entry.d_un.d_val) == NULL) {
            return false;
        }
    }
    return true;
}

static int
read_texts(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    if (!opening->has[STRTAB] || opening->value[STRSZ] == 0
        || !locate(elf, opening->value[STRTAB], opening->value[STRSZ], &elf->strings)
        || elf->data[elf->strings.start + elf->strings.size - 1] != '\0') {
        return ISLES_MALFORMED;
    }
    bool good = read_text(opening, SONAME, &elf->soname)
                && read_text(opening, RUNPATH, &elf->runpath)
                && read_text(opening, RPATH, &elf->rpath) && are_needed_texts(elf);
    return good ? ISLES_OK : ISLES_MALFORMED;
}

/* ---- symbols ---- */

/* DT_HASH says how many there are: a chain has a link for each. */
static int
count_by_hash(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    uint64_t start = opening->value[HASH];
    struct isles_part words;
    if (!locate(elf, start, 8, &words)) {
        return ISLES_MALFORMED;
    }
    uint64_t buckets = word_at(elf, words.start), chains = word_at(elf, words.start + 4);
    opening->symbol_count = chains;
    return locate(elf, start, 8 + 4 * (buckets + chains), &elf->counted[0]) ? ISLES_OK
                                                                            : ISLES_MALFORMED;
}

/* DT_GNU_HASH covers the end of the symbol table.  Its last chain ends with the last symbol: the
 * link with the lowest bit set.  0 if it covers none. */
static int
count_by_gnu_hash(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    struct isles_part *hash = &elf->counted[0], words;
    uint64_t start = opening->value[GNU_HASH];
    if (!locate(elf, start, 16, &words)) {
        return ISLES_MALFORMED;
    }
    uint64_t buckets = word_at(elf, words.start), first = word_at(elf, words.start + 4);
    uint64_t size = 16 + 8 * (uint64_t)word_at(elf, words.start + 8) + 4 * buckets;
    if (!locate(elf, start, size, hash)) {
        return ISLES_MALFORMED;
    }
    uint64_t last = 0;
    for (size_t at = hash->start + size - 4 * buckets; buckets > 0; buckets--, at += 4) {
        uint64_t symbol = word_at(elf, at);
        last = symbol > last ? symbol : last;
    }
    if (last < first || last == 0) {
        return ISLES_OK;
    }
    do {
        uint64_t chains = size + 4 * (last - first + 1);
        if (!locate(elf, start, chains, hash)) {
            return ISLES_MALFORMED;
        }
        last++;
    } while ((word_at(elf, hash->start + hash->size - 4) & 1) == 0);
    opening->symbol_count = last;
    return ISLES_OK;
}

/* The symbols that relocations name: all that matter where no hash table says how many there are,
 * because nobody finds a definition then, and an import without a relocation has no use. */
static int
count_by_relocations(struct opening *opening, int address, int size, struct isles_part *span)
{
    const struct isles_elf *elf = &opening->elf;
    if (!opening->has[address]) {
        return ISLES_OK;
    }
    if (!locate(elf, opening->value[address], opening->value[size], span)) {
        return ISLES_MALFORMED;
    }
    for (size_t i = 0; i < span->size / sizeof(Elf64_Rela); i++) {
        Elf64_Rela relocation;
        memcpy(&relocation, elf->data + span->start + i * sizeof(relocation), sizeof(relocation));
        uint64_t symbol = ELF64_R_SYM(relocation.r_info);
        if (symbol >= opening->symbol_count) {
            opening->symbol_count = symbol + 1;
        }
    }
    return ISLES_OK;
}

static int
count_symbols(struct opening *opening)
{
    int status = ISLES_OK;
    if (opening->has[HASH]) {
        return count_by_hash(opening);
    }
    if (opening->has[GNU_HASH]) {
        status = count_by_gnu_hash(opening);
    }
    if (status == ISLES_OK && opening->symbol_count == 0) {
        status = count_by_relocations(opening, RELA, RELASZ, &opening->elf.counted[1]);
        if (status == ISLES_OK) {
            status = count_by_relocations(opening, JMPREL, PLTRELSZ, &opening->elf.counted[2]);
        }
    }
    return status;
}

static bool
is_python(const char *name)
{
    return strncmp(name, "Py", 2) == 0 || strncmp(name, "_Py", 3) == 0;
}

static int
read_symbols(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    if (!opening->has[SYMTAB]
        || (opening->has[SYMENT] && opening->value[SYMENT] != sizeof(Elf64_Sym))
        || !locate(elf, opening->value[SYMTAB], opening->symbol_count * sizeof(Elf64_Sym),
                   &elf->symbols)) {
        return ISLES_MALFORMED;
    }
    for (size_t i = 0; i < isles__elf_symbol_count(elf); i++) {
        Elf64_Sym symbol = isles__elf_symbol(elf, i);
        const char *name = isles__elf_text(elf, symbol.st_name);
        if (name == NULL) {
            return ISLES_MALFORMED;
        }
        if (isles__elf_is_import(&symbol) && is_python(name)) {
            elf->uses_python = true;
        }
        if (ELF64_ST_BIND(symbol.st_info) == STB_GNU_UNIQUE) {
            elf->has_unique = true;
        }
    }
    return ISLES_OK;
}

/* ---- the versions that it needs ---- */

/* Only the records for the libraries matter; those for the versions lie between or after them. */
static int
read_needs(struct opening *opening)
{
    struct isles_elf *elf = &opening->elf;
    if (!opening->has[VERNEED]) {
        return ISLES_OK;
    }
    Elf64_Verneed need;
    struct isles_part span;
    uint64_t address = opening->value[VERNEED];
    for (uint64_t size = sizeof(need);; size += need.vn_next) {
        if (!locate(elf, address, size, &span)) {
            return ISLES_MALFORMED;
        }
        memcpy(&need, elf->data + span.start + size - sizeof(need), sizeof(need));
        if (isles__elf_text(elf, need.vn_file) == NULL
            || (need.vn_next != 0 && need.vn_next < sizeof(need))) {
            return ISLES_MALFORMED;
        }
        if (need.vn_next == 0) {
            elf->needs = span;
            return ISLES_OK;
        }
    }
}

/* ---- the whole ---- */

void
isles__elf_spans(const struct isles_elf *elf, struct isles_part spans[ISLES__ELF_SPANS])
{
    const struct isles_part all[ISLES__ELF_SPANS] = {
        {0, sizeof(Elf64_Ehdr)},
        elf->headers,
        {elf->dynamic.start, elf->dynamic.size + sizeof(Elf64_Dyn)},
        elf->symbols,
        elf->needs,
        elf->strings,
        elf->counted[0],
        elf->counted[1],
        elf->counted[2],
    };
    memcpy(spans, all, sizeof(all));
}

/* What an edit changes in place lies apart from all that was read, or it would change more. */
static int
check_apart(struct opening *opening)
{
    struct isles_part spans[ISLES__ELF_SPANS];
    isles__elf_spans(&opening->elf, spans);
    for (size_t i = 0; i < ISLES__ELF_SPANS_CHANGED; i++) {
        for (size_t j = i + 1; j < ISLES__ELF_SPANS; j++) {
            if (isles__elf_overlap(spans[i], spans[j])) {
                return ISLES_MALFORMED;
            }
        }
    }
    return ISLES_OK;
}

int
isles_elf_open(struct isles_elf *elf, const void *data, size_t size)
{
    static int (*const steps[])(struct opening *opening) = {
        read_header,   read_segments, read_dynamic, read_texts,
        count_symbols, read_symbols,  read_needs,   check_apart,
    };
    struct opening opening = {.elf = {.data = data, .size = size}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int status = steps[i](&opening);
        if (status < 0) {
            return status;
        }
    }
    *elf = opening.elf;
    return ISLES_OK;
}

/* ---- questions ---- */

const char *
isles_elf_needed(const struct isles_elf *elf, size_t index)
{
    for (size_t i = 0; i < isles__elf_dynamic_count(elf); i++) {
        Elf64_Dyn entry = isles__elf_dynamic(elf, i);
        if (entry.d_tag == DT_NEEDED && index-- == 0) {
            return isles__elf_text(elf, entry.d_un.d_val);
        }
    }
    return NULL;
}

static bool
is_export(const Elf64_Sym *symbol)
{
    int bind = ELF64_ST_BIND(symbol->st_info);
    int visibility = ELF64_ST_VISIBILITY(symbol->st_other);
    return symbol->st_shndx != SHN_UNDEF
           && (bind == STB_GLOBAL || bind == STB_WEAK || bind == STB_GNU_UNIQUE)
           && (visibility == STV_DEFAULT || visibility == STV_PROTECTED);
}

static bool
has_symbol(const struct isles_elf *elf, const char *name, bool (*fits)(const Elf64_Sym *symbol))
{
    for (size_t i = 0; i < isles__elf_symbol_count(elf); i++) {
        Elf64_Sym symbol = isles__elf_symbol(elf, i);
        if (fits(&symbol) && strcmp(isles__elf_text(elf, symbol.st_name), name) == 0) {
            return true;
        }
    }
    return false;
}

bool
isles_elf_imports(const struct isles_elf *elf, const char *name)
{
    return has_symbol(elf, name, isles__elf_is_import);
}

bool
isles_elf_exports(const struct isles_elf *elf, const char *name)
{
    return has_symbol(elf, name, is_export);
}
