/* Edited copies of a shared object: other names, other paths, symbols of its own.
 *
 * A copy is meant for the dynamic linker, beside the original in one process.  Names are replaced
 * in the dynamic section and the symbol table; new ones go to a new string table at the end of the
 * file, in a segment of its own.  Code, data, relocations, notes and what debuggers read stay where
 * they are.  A copy can be edited again.  Pure functions; any thread. */
#ifndef ISLES_ELF_EDIT_H
#define ISLES_ELF_EDIT_H

#include <stdbool.h>
#include <stddef.h>

#include "elf_file.h"
#include "status.h"

struct isles_elf_rename {
    const char *from;
    const char *to;
};

/* What is to change; nothing where a field is NULL, 0 or false. */
struct isles_elf_changes {
    /* A new DT_SONAME, if it has one. */
    const char *soname;

    /* Libraries that it needs (DT_NEEDED), also where it says which versions of their symbols. */
    const struct isles_elf_rename *needed;
    size_t needed_count;

    /* Symbols that it wants from elsewhere.  One that it wants of a version (printf@GLIBC_2.2.5)
     * binds to a definition without versions as well. */
    const struct isles_elf_rename *symbols;
    size_t symbols_count;

    /* The folder that $ORIGIN and ${ORIGIN} shall go on to mean: the original's, an absolute path.
     * Replaced in DT_RUNPATH, DT_RPATH and DT_NEEDED; all else in them stays. */
    const char *origin;

    /* STB_GNU_UNIQUE, one definition for the process, becomes STB_GLOBAL. */
    bool demote_unique;

    /* The linker runs no init function of it: DT_INIT, DT_INIT_ARRAY and DT_INIT_ARRAYSZ get the
     * tags below.  DT_FINI and DT_FINI_ARRAY stay. */
    bool defer_init;
};

/* The tags of deferred entries, of the range that belongs to the operating system.  Their values
 * are as in the file: what is an address counts from where the object is loaded (l_addr). */
#define ISLES_DT_DEFERRED 0x69736c00
#define ISLES_DT_INIT (ISLES_DT_DEFERRED + 12)
#define ISLES_DT_INIT_ARRAY (ISLES_DT_DEFERRED + 25)
#define ISLES_DT_INIT_ARRAYSZ (ISLES_DT_DEFERRED + 27)

/* An edited copy, in memory of malloc that the caller frees.  0; ISLES_NO_MEMORY;
 * ISLES_UNSUPPORTED: `origin` would have to be written but holds a colon or a dollar sign, or the
 * object has no room left for another segment or for longer texts. */
int isles_elf_edit(const struct isles_elf *elf, const struct isles_elf_changes *changes,
                   unsigned char **out, size_t *out_size);

#endif
