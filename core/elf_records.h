/* The records of an open shared object, for elf_file.c and elf_edit.c.  They are copied, as they
 * may lie unaligned. */
#ifndef ISLES_ELF_RECORDS_H
#define ISLES_ELF_RECORDS_H

#include <elf.h>
#include <string.h>

#include "elf_file.h"

static inline size_t
isles__elf_segment_count(const struct isles_elf *elf)
{
    return elf->headers.size / sizeof(Elf64_Phdr);
}

static inline Elf64_Phdr
isles__elf_segment(const struct isles_elf *elf, size_t index)
{
    Elf64_Phdr segment;
    memcpy(&segment, elf->data + elf->headers.start + index * sizeof(segment), sizeof(segment));
    return segment;
}

static inline size_t
isles__elf_dynamic_count(const struct isles_elf *elf)
{
    return elf->dynamic.size / sizeof(Elf64_Dyn);
}

static inline Elf64_Dyn
isles__elf_dynamic(const struct isles_elf *elf, size_t index)
{
    Elf64_Dyn entry;
    memcpy(&entry, elf->data + elf->dynamic.start + index * sizeof(entry), sizeof(entry));
    return entry;
}

static inline size_t
isles__elf_symbol_count(const struct isles_elf *elf)
{
    return elf->symbols.size / sizeof(Elf64_Sym);
}

static inline Elf64_Sym
isles__elf_symbol(const struct isles_elf *elf, size_t index)
{
    Elf64_Sym symbol;
    memcpy(&symbol, elf->data + elf->symbols.start + index * sizeof(symbol), sizeof(symbol));
    return symbol;
}

/* The text at an offset into the string table, which the file has; NULL if it is outside. */
static inline const char *
isles__elf_text(const struct isles_elf *elf, uint64_t offset)
{
    return offset < elf->strings.size ? (const char *)elf->data + elf->strings.start + offset
                                      : NULL;
}

/* Whether the linker looks for it elsewhere. */
static inline bool
isles__elf_is_import(const Elf64_Sym *symbol)
{
    return symbol->st_shndx == SHN_UNDEF && ELF64_ST_BIND(symbol->st_info) != STB_LOCAL;
}

static inline bool
isles__elf_overlap(struct isles_part one, struct isles_part other)
{
    return one.size > 0 && other.size > 0 && one.start < other.start + other.size
           && other.start < one.start + one.size;
}

/* All of the file that was read, what an edit changes in place first. */
#define ISLES__ELF_SPANS_CHANGED 5
#define ISLES__ELF_SPANS 9
void isles__elf_spans(const struct isles_elf *elf, struct isles_part spans[ISLES__ELF_SPANS]);

#endif
