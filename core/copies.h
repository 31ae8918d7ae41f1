/* Private copies of shared objects: one for each slot, with all that it needs and that uses Python.
 *
 * An interpreter that loads extension modules privately has a *slot*, a number of its own in this
 * process.  The copy of a file for a slot is another file, so the dynamic linker gives it data of
 * its own; what the copy needs and what itself uses Python, at any depth, is copied for the slot as
 * well, and named by its path.  All other libraries stay the process's.  docs/design/extensions.md.
 *
 * Copies lie in the user's cache folder (cache.h), where later processes find them and debuggers
 * their symbols; those of high slots, which few processes reach, go as soon as they are loaded; or
 * all of them in memory only, if the user says so (ISLES_CACHE=memory).
 *
 * Any thread, without a GIL: files are read and written. */
#ifndef ISLES_COPIES_H
#define ISLES_COPIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache.h"
#include "elf_file.h"

/* Of which file, and which of its contents: another one differs. */
struct isles_file_version {
    uint64_t device, inode, size;
    int64_t modified, changed; /* nanoseconds */
};

/* A shared object on disk, read. */
struct isles_original {
    char *path;
    struct isles_elf elf; /* of `data` */
    void *data;           /* mapped */
    size_t size;
    struct isles_file_version version;
};

/* Once for the process, before the others; later calls give the same result.  0 or
 * ISLES_NO_MEMORY. */
int isles_copies_init(void);

/* Reads a file.  0; ISLES_UNSUPPORTED, ISLES_MALFORMED: no shared object; ISLES_READ_ONLY,
 * ISLES_TOO_MANY_FILES, ISLES_NO_MEMORY, ISLES_IO. */
int isles_original_open(struct isles_original *original, const char *path,
                        struct isles_fault *fault);
void isles_original_close(struct isles_original *original);

/* Whether this text is somewhere in the file. */
bool isles_original_contains(const struct isles_original *original, const char *text);

/* A slot that nobody had before. */
unsigned isles_copies_slot(void);

/* Finds or makes the copy of a file for a slot, and gives its path, to be freed.  0 or a status of
 * isles_original_open(), isles_cache_open() or isles_cache_store(), and then *fault says more. */
int isles_copies_make(const struct isles_original *original, unsigned slot, char **path,
                      struct isles_fault *fault);

/* The slot that the file at this path was made for; whether there is one. */
bool isles_copies_slot_of(const char *path, unsigned *slot);

/* The linker has loaded what was made for the slot: what need not stay on disk goes. */
void isles_copies_loaded(unsigned slot);

/* Whether it is on record, in the cache folder, that a file needs no copy.  `context` tells apart
 * what the answer depends on: the version of Python.  The second one puts it on record, if it can.
 */
bool isles_copies_is_shareable(const struct isles_original *original, unsigned context);
void isles_copies_note_shareable(const struct isles_original *original, unsigned context);

#endif
