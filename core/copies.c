#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copies_parts.h"
#include "elf_edit.h"
#include "libraries.h"

isles_mutex isles__copies_lock = ISLES_MUTEX_INIT;

static void
forked(void)
{
    isles_mutex_reset(&isles__copies_lock); /* as isles_libraries_forked() */
    isles_libraries_forked();
}

static int hooked;

static void
hook(void)
{
    hooked = isles_fork_hook(NULL, NULL, forked);
}

int
isles_copies_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hook);
    return hooked;
}

static atomic_uint next_slot;

unsigned
isles_copies_slot(void)
{
    return atomic_fetch_add(&next_slot, 1);
}

int
isles__copies_fail(struct isles_fault *fault, int status, const char *path)
{
    int error = errno;
    if (fault != NULL) {
        fault->error = error;
        fault->why = NULL;
        (void)snprintf(fault->path, sizeof(fault->path), "%s", path);
    }
    return status;
}

int
isles__copies_fail_for(struct isles_fault *fault, int status, const char *path, const char *why)
{
    (void)isles__copies_fail(fault, status, path);
    if (fault != NULL) {
        fault->error = 0;
        fault->why = why;
    }
    return status;
}

/* ---- making one ---- */

static const char *
base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The file name of an entry: the original's, so that debuggers and profilers show it. */
static void
entry_name(const char *path, char name[ISLES_CACHE_NAME_MAX + 1])
{
    const char *base = base_name(path);
    size_t length = strlen(base);
    if (length > ISLES_CACHE_NAME_MAX) { /* its end tells more than its start */
        base += length - ISLES_CACHE_NAME_MAX;
    }
    memcpy(name, base, strlen(base) + 1);
}

/* What decides how a copy looks. */
static struct isles_digest
key_of(const struct isles_original *original, unsigned slot,
       const struct isles_elf_changes *changes)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    uint64_t numbers[3] = {ISLES_COPIES_FORMAT, slot,
                           slot < ISLES_SLOTS_KEPT ? 0 : (uint64_t)getpid()};
    isles_digest_update(&digester, numbers, sizeof(numbers));
    if (slot >= ISLES_SLOTS_KEPT) {
        int64_t now = isles_now(); /* nobody else's */
        isles_digest_update(&digester, &now, sizeof(now));
    }
    isles_digest_update(&digester, changes->origin, strlen(changes->origin) + 1);
    for (size_t i = 0; i < changes->needed_count; i++) {
        const char *from = changes->needed[i].from, *to = changes->needed[i].to;
        isles_digest_update(&digester, from, strlen(from) + 1);
        isles_digest_update(&digester, to, strlen(to) + 1);
    }
    struct isles_digest data = isles__original_digest(original);
    isles_digest_update(&digester, &data, sizeof(data));
    return isles_digest_final(&digester);
}

/* The symbols that a copy wants from isles instead of Python: binding/hooks.c. */
static const struct isles_elf_rename symbols[] = {
    {"PyGILState_Ensure", "isles_gilstate_ensure"},
    {"PyModule_Create2", "isles_module_create2"},
    {"PyModule_FromDefAndSpec2", "isles_module_from_def_and_spec2"},
    {"PyModule_FromSlotsAndSpec", "isles_module_from_slots_and_spec"},
    {"Py_AddPendingCall", "isles_add_pending_call"},
    {"PyInterpreterState_Main", "isles_interpreterstate_main"},
};

static int
edit_and_store(const struct isles_original *original, unsigned slot, struct isles_digest key,
               struct isles_elf_changes *changes, char **path, struct isles_fault *fault)
{
    char soname[64] = "isles-", name[ISLES_CACHE_NAME_MAX + 1];
    isles_digest_hex(key, soname + strlen(soname));
    changes->soname = soname;
    unsigned char *data;
    size_t size;
    int status = isles_elf_edit(&original->elf, changes, &data, &size);
    if (status < 0) {
        const char *why = strpbrk(changes->origin, ":$")
                              ? "it looks for libraries beside itself, and its folder's path has a "
                                "colon or a dollar sign, which a search path can't hold"
                              : NULL;
        return isles__copies_fail_for(fault, status, original->path, why);
    }
    entry_name(original->path, name);
    status = isles__store_put(key, name, data, size, slot >= ISLES_SLOTS_KEPT, path, fault);
    free(data);
    return status;
}

static int
find_stored(const struct isles_original *original, struct isles_digest key, char **path,
            struct isles_fault *fault)
{
    char name[ISLES_CACHE_NAME_MAX + 1];
    entry_name(original->path, name);
    return isles__store_find(key, name, path, fault);
}

static int make(const struct isles_loader *loader, unsigned slot, char **path,
                struct isles_fault *fault);

/* Copies what a file needs, where that uses Python: the new names.  0 or a status; the names that
 * were made so far are the caller's to free. */
static int
copy_needed(const struct isles_loader *loader, unsigned slot, struct isles_elf_rename *renames,
            size_t *count, struct isles_fault *fault)
{
    const char *name;
    int status = ISLES_OK;
    for (size_t i = 0; status == 0 && (name = isles_elf_needed(&loader->of->elf, i)); i++) {
        struct isles_original library;
        status = isles_library_open(loader, name, &library, fault);
        if (status == ISLES_NOT_FOUND) {
            status = ISLES_OK; /* the process's */
            continue;
        }
        if (status == 0) {
            struct isles_loader next = {&library, loader};
            char *path = NULL;
            status = make(&next, slot, &path, fault);
            if (status == 0) {
                renames[(*count)++] = (struct isles_elf_rename){name, path};
            }
            isles_original_close(&library);
        }
    }
    return status;
}

static size_t
count_needed(const struct isles_elf *elf)
{
    size_t count = 0;
    while (isles_elf_needed(elf, count) != NULL) {
        count++;
    }
    return count;
}

static int
make_new(const struct isles_loader *loader, unsigned slot, struct isles_elf_rename *renames,
         size_t *count, char **path, struct isles_fault *fault)
{
    const struct isles_original *original = loader->of;
    int status = copy_needed(loader, slot, renames, count, fault);
    if (status < 0) {
        return status;
    }
    char origin[PATH_MAX];
    if (!isles_library_origin(original, origin)) {
        errno = ENAMETOOLONG;
        return isles__copies_fail(fault, ISLES_IO, original->path);
    }
    struct isles_elf_changes changes = {
        .needed = renames,
        .needed_count = *count,
        .symbols = symbols,
        .symbols_count = sizeof(symbols) / sizeof(symbols[0]),
        .origin = origin,
        .demote_unique = true,
    };
    struct isles_digest key = key_of(original, slot, &changes);
    status = find_stored(original, key, path, fault);
    return status == ISLES_NOT_FOUND ? edit_and_store(original, slot, key, &changes, path, fault)
                                     : status;
}

/* Gives the path of what counts, for this file and slot; what is one too many goes. */
static int
settle_on(const char *from, unsigned slot, const char *made, char **path)
{
    bool memory = isles__store_has_in_memory(made), passing = slot >= ISLES_SLOTS_KEPT;
    const char *noted = isles__made_note(from, slot, made, passing && !memory);
    if (noted != NULL && strcmp(noted, made) != 0 && (memory || passing)) {
        isles__store_remove(made);
    }
    *path = noted ? strdup(noted) : NULL;
    return *path ? ISLES_OK : ISLES_NO_MEMORY;
}

static int
make(const struct isles_loader *loader, unsigned slot, char **path, struct isles_fault *fault)
{
    const char *from = loader->of->path, *before = isles__made_find(from, slot);
    if (before != NULL) {
        *path = strdup(before);
        return *path ? ISLES_OK : ISLES_NO_MEMORY;
    }
    char *found = NULL;
    size_t count = 0, most = count_needed(&loader->of->elf);
    struct isles_elf_rename *renames = calloc(most + 1, sizeof(*renames));
    if (renames == NULL) {
        return ISLES_NO_MEMORY;
    }
    int status = make_new(loader, slot, renames, &count, &found, fault);
    if (status == 0) {
        status = settle_on(from, slot, found, path);
        free(found);
    }
    for (size_t i = 0; i < count; i++) {
        free((char *)renames[i].to);
    }
    free(renames);
    return status;
}

int
isles_copies_make(const struct isles_original *original, unsigned slot, char **path,
                  struct isles_fault *fault)
{
    struct isles_loader loader = {original, NULL};
    return make(&loader, slot, path, fault);
}
