/* A shared object in memory, read: what it is called, what it needs, which symbols it wants and
 * has.
 *
 * ELF of 64 bits, little-endian, of the machine that isles is built for (x86-64, aarch64).  Only
 * program headers and the dynamic section are looked at, as the dynamic linker does: section
 * headers may be missing or wrong.  Pure functions over bytes, which may be anything:
 * isles_elf_open() checks all that the other functions then rely on.  The bytes are the caller's;
 * they must stay as they are while the struct is used, and all texts given point into them.  Any
 * thread.
 *
 * Not called elf.h: core/ is searched before the system's headers, and <link.h> includes <elf.h>.
 */
#ifndef ISLES_ELF_FILE_H
#define ISLES_ELF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Bytes of the file; they lie inside it. */
struct isles_part {
    size_t start;
    size_t size;
};

struct isles_elf {
    const char *soname;  /* DT_SONAME, or NULL */
    const char *runpath; /* DT_RUNPATH, or NULL; where there is one, the linker ignores rpath */
    const char *rpath;   /* DT_RPATH, or NULL */
    bool uses_python;    /* imports a symbol that starts with Py or _Py */
    bool has_tls;        /* has thread-local variables of its own (PT_TLS) */
    bool static_tls;     /* wants them, or others', in the static block (DF_STATIC_TLS) */
    bool has_unique; /* some symbol is STB_GNU_UNIQUE: one for the process, whoever defines it */

    /* For elf_edit.c. */
    const unsigned char *data;
    size_t size;
    struct isles_part headers; /* program headers: whole ones */
    struct isles_part dynamic; /* entries before DT_NULL */
    struct isles_part strings; /* ends with a NUL, so that a text that starts inside ends inside */
    struct isles_part symbols; /* whole ones; all names start in `strings` */
    struct isles_part needs;   /* from the first Elf64_Verneed to the end of the last; or empty */
    struct isles_part counted[3]; /* what the number of symbols was read from */
    uint64_t end;                 /* first address after all segments */
    uint64_t align;               /* the largest alignment of a segment, at least 1 */
};

/* Reads `size` bytes.  0; ISLES_UNSUPPORTED: no shared object of this machine; ISLES_MALFORMED: one
 * that is damaged. */
int isles_elf_open(struct isles_elf *elf, const void *data, size_t size);

/* The name of the library number `index`, from 0, that it needs (DT_NEEDED); NULL beyond the last.
 */
const char *isles_elf_needed(const struct isles_elf *elf, size_t index);

/* Whether it wants a symbol of that name from elsewhere. */
bool isles_elf_imports(const struct isles_elf *elf, const char *name);

/* Whether others find a symbol of that name in it. */
bool isles_elf_exports(const struct isles_elf *elf, const char *name);

#endif
