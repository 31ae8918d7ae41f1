#include "elf_edit.h"

#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "elf_records.h"

/* An edit under way.  All is read from the original and written to the copy. */
struct edit {
    const struct isles_elf *elf;
    const struct isles_elf_changes *changes;
    unsigned char *copy;
    size_t size;
    struct isles_buffer texts; /* the new ones, each with its NUL; they follow the old ones */
};

static void
put(struct edit *edit, size_t offset, const void *record, size_t size)
{
    memcpy(edit->copy + offset, record, size);
}

/* ---- new texts ---- */

/* A symbol's name is an offset of 32 bits. */
static bool
has_room(const struct edit *edit, size_t size)
{
    size_t used = edit->elf->strings.size + edit->texts.size;
    return used <= UINT32_MAX && size <= UINT32_MAX - used;
}

/* Where it already is among the new texts; their end, if it is not. */
static size_t
find_text(const struct edit *edit, const char *text)
{
    size_t at = 0;
    while (at < edit->texts.size) {
        const char *other = (const char *)edit->texts.data + at;
        if (strcmp(other, text) == 0) {
            break;
        }
        at += strlen(other) + 1;
    }
    return at;
}

/* Its offset into the string table to be. */
static int
add_text(struct edit *edit, const char *text, uint64_t *offset)
{
    size_t at = find_text(edit, text), size = strlen(text) + 1;
    if (at == edit->texts.size) {
        if (!has_room(edit, size)) {
            return ISLES_UNSUPPORTED;
        }
        if (isles_buffer_append(&edit->texts, text, size) < 0) {
            return ISLES_NO_MEMORY;
        }
    }
    *offset = edit->elf->strings.size + at;
    return ISLES_OK;
}

/* The new name for one, or NULL. */
static const char *
renamed(const struct isles_elf_rename *renames, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(renames[i].from, name) == 0) {
            return renames[i].to;
        }
    }
    return NULL;
}

/* ---- $ORIGIN ---- */

/* How long the token for the origin is that a text starts with; 0 if it is none.  Like the
 * linker's, which looks at nothing behind it. */
static size_t
origin_token(const char *text)
{
    static const char *const tokens[] = {"$ORIGIN", "${ORIGIN}"};
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(text, tokens[i], strlen(tokens[i])) == 0) {
            return strlen(tokens[i]);
        }
    }
    return 0;
}

static bool
has_origin(const char *text)
{
    while (*text != '\0' && origin_token(text) == 0) {
        text++;
    }
    return *text != '\0';
}

/* Writes a text, NUL included, with each token replaced. */
static int
write_expanded(struct isles_buffer *out, const char *text, const char *origin)
{
    while (*text != '\0') {
        size_t token = origin_token(text);
        int status = token > 0 ? isles_buffer_append(out, origin, strlen(origin))
                               : isles_buffer_append(out, text, 1);
        if (status < 0) {
            return status;
        }
        text += token > 0 ? token : 1;
    }
    return isles_buffer_append(out, "", 1);
}

/* The offset of a path with the origin written out; untouched if it doesn't name it. */
static int
expand_origin(struct edit *edit, uint64_t *offset)
{
    const char *text = isles__elf_text(edit->elf, *offset), *origin = edit->changes->origin;
    if (origin == NULL || !has_origin(text)) {
        return ISLES_OK;
    }
    if (strpbrk(origin, ":$") != NULL) {
        return ISLES_UNSUPPORTED; /* nothing escapes them */
    }
    struct isles_buffer path;
    isles_buffer_init(&path);
    int status = write_expanded(&path, text, origin);
    if (status == ISLES_OK) {
        status = add_text(edit, (const char *)path.data, offset);
    }
    isles_buffer_fini(&path);
    return status;
}

/* ---- the dynamic section ---- */

static int
edit_needed(struct edit *edit, uint64_t *offset)
{
    const struct isles_elf_changes *changes = edit->changes;
    const char *name = isles__elf_text(edit->elf, *offset);
    const char *to = renamed(changes->needed, changes->needed_count, name);
    return to != NULL ? add_text(edit, to, offset) : expand_origin(edit, offset);
}

static int
edit_entry(struct edit *edit, Elf64_Dyn *entry)
{
    const struct isles_elf_changes *changes = edit->changes;
    switch (entry->d_tag) {
    case DT_SONAME:
        return changes->soname ? add_text(edit, changes->soname, &entry->d_un.d_val) : ISLES_OK;
    case DT_NEEDED:
        return edit_needed(edit, &entry->d_un.d_val);
    case DT_RPATH:
    case DT_RUNPATH:
        return expand_origin(edit, &entry->d_un.d_val);
    case DT_INIT:
    case DT_INIT_ARRAY:
    case DT_INIT_ARRAYSZ:
        entry->d_tag += changes->defer_init ? ISLES_DT_DEFERRED : 0;
        return ISLES_OK;
    default:
        return ISLES_OK;
    }
}

static int
edit_dynamic(struct edit *edit)
{
    for (size_t i = 0; i < isles__elf_dynamic_count(edit->elf); i++) {
        Elf64_Dyn entry = isles__elf_dynamic(edit->elf, i);
        int status = edit_entry(edit, &entry);
        if (status < 0) {
            return status;
        }
        put(edit, edit->elf->dynamic.start + i * sizeof(entry), &entry, sizeof(entry));
    }
    return ISLES_OK;
}

/* ---- needed versions, symbols ---- */

/* The linker looks for the library that has a version by this name, among those loaded. */
static int
edit_needs(struct edit *edit)
{
    const struct isles_elf_changes *changes = edit->changes;
    struct isles_part span = edit->elf->needs;
    Elf64_Verneed need;
    for (size_t at = span.start; at < span.start + span.size; at += need.vn_next) {
        memcpy(&need, edit->elf->data + at, sizeof(need));
        const char *name = isles__elf_text(edit->elf, need.vn_file);
        const char *to = renamed(changes->needed, changes->needed_count, name);
        uint64_t offset;
        if (to != NULL) {
            int status = add_text(edit, to, &offset);
            if (status < 0) {
                return status;
            }
            Elf64_Verneed changed = need;
            changed.vn_file = (Elf64_Word)offset;
            put(edit, at, &changed, sizeof(changed));
        }
        if (need.vn_next == 0) {
            break;
        }
    }
    return ISLES_OK;
}

static int
edit_symbol(struct edit *edit, Elf64_Sym *symbol)
{
    const struct isles_elf_changes *changes = edit->changes;
    int bind = ELF64_ST_BIND(symbol->st_info), type = ELF64_ST_TYPE(symbol->st_info);
    if (changes->demote_unique && bind == STB_GNU_UNIQUE) {
        symbol->st_info = ELF64_ST_INFO(STB_GLOBAL, type);
    }
    if (!isles__elf_is_import(symbol)) {
        return ISLES_OK;
    }
    const char *name = isles__elf_text(edit->elf, symbol->st_name);
    const char *to = renamed(changes->symbols, changes->symbols_count, name);
    uint64_t offset = symbol->st_name;
    int status = to != NULL ? add_text(edit, to, &offset) : ISLES_OK;
    symbol->st_name = (Elf64_Word)offset;
    return status;
}

/* Hash tables stay as they are.  DT_GNU_HASH has no imports; in DT_HASH one may now be in the chain
 * of another name, but chains are only walked for definitions. */
static int
edit_symbols(struct edit *edit)
{
    for (size_t i = 0; i < isles__elf_symbol_count(edit->elf); i++) {
        Elf64_Sym symbol = isles__elf_symbol(edit->elf, i);
        int status = edit_symbol(edit, &symbol);
        if (status < 0) {
            return status;
        }
        put(edit, edit->elf->symbols.start + i * sizeof(symbol), &symbol, sizeof(symbol));
    }
    return ISLES_OK;
}

/* ---- the segment for the new string table ---- */

#define PAGE 4096

/* At the end of the file: program headers, then all texts. */
struct addition {
    size_t start; /* in the file, and so are the next two */
    size_t strings;
    size_t end;
    size_t segments; /* with the new one */
    uint64_t address;
    uint64_t align;
};

static bool
align_up(uint64_t value, uint64_t align, uint64_t *out)
{
    uint64_t sum;
    if (__builtin_add_overflow(value, align - 1, &sum)) {
        return false;
    }
    *out = sum & ~(align - 1);
    return true;
}

/* The address is beyond the last segment, its bss included, by the largest alignment: whatever the
 * size of pages that the object is made for, the new segment shares none.  It is as far off a
 * multiple of the alignment as the place in the file, which needs no padding beyond PAGE. */
static int
plan_addition(const struct edit *edit, struct addition *addition)
{
    const struct isles_elf *elf = edit->elf;
    uint64_t align = elf->align > PAGE ? elf->align : PAGE, start, address, end;
    size_t segments = isles__elf_segment_count(elf) + 1;
    size_t headers = segments * sizeof(Elf64_Phdr);
    size_t size = headers + elf->strings.size + edit->texts.size;
    if (segments >= PN_XNUM || !align_up(elf->size, PAGE, &start)
        || !align_up(elf->end, align, &address)
        || __builtin_add_overflow(address, start & (align - 1), &address)
        || __builtin_add_overflow(address, size, &end)) {
        return ISLES_UNSUPPORTED;
    }
    *addition = (struct addition){
        .start = start,
        .strings = start + headers,
        .end = start + size,
        .segments = segments,
        .address = address,
        .align = align,
    };
    return ISLES_OK;
}

static Elf64_Phdr
new_segment(const struct addition *addition)
{
    size_t size = addition->end - addition->start;
    return (Elf64_Phdr){
        .p_type = PT_LOAD,
        .p_flags = PF_R,
        .p_offset = addition->start,
        .p_vaddr = addition->address,
        .p_paddr = addition->address,
        .p_filesz = size,
        .p_memsz = size,
        .p_align = addition->align,
    };
}

/* PT_PHDR says where the headers themselves are. */
static void
move_headers(Elf64_Phdr *segment, const struct addition *addition)
{
    segment->p_offset = addition->start;
    segment->p_vaddr = segment->p_paddr = addition->address;
    segment->p_filesz = segment->p_memsz = addition->segments * sizeof(*segment);
}

/* The new segment has the highest address: it comes after the last that is mapped. */
static void
write_segments(struct edit *edit, const struct addition *addition)
{
    size_t last = 0, at = addition->start;
    for (size_t i = 0; i < addition->segments - 1; i++) {
        last = isles__elf_segment(edit->elf, i).p_type == PT_LOAD ? i : last;
    }
    for (size_t i = 0; i < addition->segments - 1; i++) {
        Elf64_Phdr segment = isles__elf_segment(edit->elf, i);
        if (segment.p_type == PT_PHDR) {
            move_headers(&segment, addition);
        }
        put(edit, at, &segment, sizeof(segment));
        at += sizeof(segment);
        if (i == last) {
            segment = new_segment(addition);
            put(edit, at, &segment, sizeof(segment));
            at += sizeof(segment);
        }
    }
}

static void
write_header(struct edit *edit, const struct addition *addition)
{
    Elf64_Ehdr header;
    memcpy(&header, edit->elf->data, sizeof(header));
    header.e_phoff = addition->start;
    header.e_phnum = (Elf64_Half)addition->segments;
    put(edit, 0, &header, sizeof(header));
}

/* Gives the address that the string table had. */
static uint64_t
move_strings(struct edit *edit, const struct addition *addition)
{
    uint64_t address = 0;
    for (size_t i = 0; i < isles__elf_dynamic_count(edit->elf); i++) {
        Elf64_Dyn entry = isles__elf_dynamic(edit->elf, i);
        if (entry.d_tag == DT_STRTAB) {
            address = entry.d_un.d_ptr;
            entry.d_un.d_ptr = addition->address + (addition->strings - addition->start);
        } else if (entry.d_tag == DT_STRSZ) {
            entry.d_un.d_val = addition->end - addition->strings;
        } else {
            continue;
        }
        put(edit, edit->elf->dynamic.start + i * sizeof(entry), &entry, sizeof(entry));
    }
    return address;
}

/* A section header may lie anywhere, if a file is made to deceive. */
static bool
is_apart(const struct isles_elf *elf, struct isles_part span)
{
    struct isles_part spans[ISLES__ELF_SPANS];
    isles__elf_spans(elf, spans);
    for (size_t i = 0; i < ISLES__ELF_SPANS; i++) {
        if (isles__elf_overlap(span, spans[i])) {
            return false;
        }
    }
    return true;
}

/* For debuggers and tools: the section that was the string table, if there is one, is the new one.
 */
static void
move_section(struct edit *edit, const struct addition *addition, uint64_t old_address)
{
    const struct isles_elf *elf = edit->elf;
    Elf64_Ehdr header;
    Elf64_Shdr section;
    memcpy(&header, elf->data, sizeof(header));
    size_t size = header.e_shnum * sizeof(section);
    if (header.e_shentsize != sizeof(section) || size > elf->size
        || header.e_shoff > elf->size - size) {
        return;
    }
    for (size_t at = header.e_shoff; size > 0; size -= sizeof(section), at += sizeof(section)) {
        memcpy(&section, elf->data + at, sizeof(section));
        if (section.sh_type == SHT_STRTAB && (section.sh_flags & SHF_ALLOC) != 0
            && section.sh_addr == old_address
            && is_apart(elf, (struct isles_part){at, sizeof(section)})) {
            section.sh_offset = addition->strings;
            section.sh_addr = addition->address + (addition->strings - addition->start);
            section.sh_size = addition->end - addition->strings;
            put(edit, at, &section, sizeof(section));
        }
    }
}

/* The string table with the new texts, if there are any. */
static int
add_segment(struct edit *edit)
{
    const struct isles_elf *elf = edit->elf;
    struct addition addition;
    if (edit->texts.size == 0) {
        return ISLES_OK;
    }
    int status = plan_addition(edit, &addition);
    if (status < 0) {
        return status;
    }
    unsigned char *copy = realloc(edit->copy, addition.end);
    if (copy == NULL) {
        return ISLES_NO_MEMORY;
    }
    edit->copy = copy;
    edit->size = addition.end;
    memset(copy + elf->size, 0, addition.start - elf->size);
    put(edit, addition.strings, elf->data + elf->strings.start, elf->strings.size);
    put(edit, addition.strings + elf->strings.size, edit->texts.data, edit->texts.size);
    write_segments(edit, &addition);
    write_header(edit, &addition);
    move_section(edit, &addition, move_strings(edit, &addition));
    return ISLES_OK;
}

/* ---- the whole ---- */

int
isles_elf_edit(const struct isles_elf *elf, const struct isles_elf_changes *changes,
               unsigned char **out, size_t *out_size)
{
    static int (*const steps[])(struct edit *edit) = {edit_dynamic, edit_needs, edit_symbols,
                                                      add_segment};
    struct edit edit = {.elf = elf, .changes = changes, .size = elf->size};
    edit.copy = malloc(elf->size);
    if (edit.copy == NULL) {
        return ISLES_NO_MEMORY;
    }
    memcpy(edit.copy, elf->data, elf->size);
    isles_buffer_init(&edit.texts);
    int status = ISLES_OK;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && status == ISLES_OK; i++) {
        status = steps[i](&edit);
    }
    isles_buffer_fini(&edit.texts);
    if (status < 0) {
        free(edit.copy);
        return status;
    }
    *out = edit.copy;
    *out_size = edit.size;
    return ISLES_OK;
}
