/* What the files of the copies share.
 *
 * copies.c makes one for a slot, copies_originals.c reads what they are made of, copies_made.c
 * knows what was made, copies_store.c says where they lie, copies_shareable.c which files need
 * none. */
#ifndef ISLES_COPIES_PARTS_H
#define ISLES_COPIES_PARTS_H

#include "copies.h"
#include "os.h"
#include "status.h"

/* Part of every key: another number when copies are made in another way. */
#define ISLES_COPIES_FORMAT 4

/* From this slot on copies don't stay on disk. */
#define ISLES_SLOTS_KEPT 16

/* ---- copies.c ---- */

/* Of what the other files keep; never held while files are read. */
extern isles_mutex isles__copies_lock;

/* Fills `fault`, and gives the status to return: with errno, or with what is wrong. */
int isles__copies_fail(struct isles_fault *fault, int status, const char *path);
int isles__copies_fail_for(struct isles_fault *fault, int status, const char *path,
                           const char *why);

/* ---- copies_originals.c ---- */

/* Of its contents.  Each file is read once in a process: every interpreter's copies of it are made
 * of the same. */
struct isles_digest isles__original_digest(const struct isles_original *original);

/* ---- copies_made.c ---- */

/* The path of what was made of a file for a slot, for good; NULL. */
const char *isles__made_find(const char *from, unsigned slot);

/* What counts as made: the path of this, or of what another thread of the slot's made of the same
 * file meanwhile.  `passing`: it is to be removed once it is loaded.  NULL without memory. */
const char *isles__made_note(const char *from, unsigned slot, const char *path, bool passing);

/* ---- copies_store.c ---- */

/* Whether copies lie in memory only. */
bool isles__store_is_memory(void);

/* The process's cache, opened at the first need and never closed. */
int isles__store_cache(struct isles_cache **out, struct isles_fault *fault);

/* What there is under a key and a name: its path, to be freed. */
int isles__store_find(struct isles_digest key, const char *name, char **path,
                      struct isles_fault *fault);

/* Puts something there.  `passing`: it goes as soon as it is loaded, so there is no use in looking
 * what all take. */
int isles__store_put(struct isles_digest key, const char *name, const unsigned char *data,
                     size_t size, bool passing, char **path, struct isles_fault *fault);

/* Whether this is the path of a file in memory. */
bool isles__store_has_in_memory(const char *path);

/* Removes what was loaded, or is one too many. */
void isles__store_remove(const char *path);

#endif
