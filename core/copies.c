#define _GNU_SOURCE /* asprintf, memmem */
#include "copies.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "elf_edit.h"
#include "libraries.h"
#include "os.h"

/* Part of every key: another number when copies are made in another way. */
#define FORMAT 4

/* From this slot on copies don't stay on disk. */
#define SLOTS_KEPT 16

#define SLACK INT64_C(2000000000) /* nanoseconds; how coarse a file system's clock may be */

#define LIMIT_DEFAULT (UINT64_C(8) << 30) /* bytes, of the whole folder */

/* ---- originals ---- */

static int
fail(struct isles_fault *fault, int status, const char *path)
{
    int error = errno;
    if (fault != NULL) {
        fault->error = error;
        fault->why = NULL;
        (void)snprintf(fault->path, sizeof(fault->path), "%s", path);
    }
    return status;
}

static int
fail_for(struct isles_fault *fault, int status, const char *path, const char *why)
{
    (void)fail(fault, status, path);
    if (fault != NULL) {
        fault->error = 0;
        fault->why = why;
    }
    return status;
}

static int64_t
nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct isles_file_version
version_of(const struct stat *info)
{
    return (struct isles_file_version){
        .device = info->st_dev,
        .inode = info->st_ino,
        .size = (uint64_t)info->st_size,
        .modified = nanoseconds(info->st_mtim),
        .changed = nanoseconds(info->st_ctim),
    };
}

int
isles_original_open(struct isles_original *original, const char *path, struct isles_fault *fault)
{
    struct stat info;
    int status = ISLES_IO, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fail(fault, isles_status_of_errno(errno), path);
    }
    void *data = MAP_FAILED;
    errno = EINVAL;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    status = data == MAP_FAILED ? fail(fault, isles_status_of_errno(errno), path) : ISLES_OK;
    close(fd);
    if (status < 0) {
        return status;
    }
    struct isles_original made = {.data = data,
                                  .size = (size_t)info.st_size,
                                  .version = version_of(&info),
                                  .path = strdup(path)};
    status = made.path ? isles_elf_open(&made.elf, data, made.size) : ISLES_NO_MEMORY;
    if (status < 0) {
        isles_original_close(&made);
        errno = 0;
        return fail(fault, status, path);
    }
    *original = made;
    return ISLES_OK;
}

void
isles_original_close(struct isles_original *original)
{
    munmap(original->data, original->size);
    free(original->path);
}

bool
isles_original_contains(const struct isles_original *original, const char *text)
{
    return memmem(original->data, original->size, text, strlen(text)) != NULL;
}

/* ---- what was made ---- */

struct made {
    unsigned slot;
    char *from;
    char *path;
    atomic_bool passing; /* to be removed once it is loaded */
    struct made *next;
};

static isles_mutex lock = ISLES_MUTEX_INIT; /* of what follows; never held while files are read */
static struct made *all;
static struct isles_cache *cache;
static struct isles_cache *volatile lost; /* kept for those in it; volatile, or it is left out */

static void
forked(void)
{
    isles_mutex_reset(&lock); /* as isles_libraries_forked() */
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

/* What was made of a file for a slot; NULL.  It stays as it is.  Under the lock. */
static const struct made *
look_up(const char *from, unsigned slot)
{
    const struct made *one = all;
    while (one != NULL && !(one->slot == slot && strcmp(one->from, from) == 0)) {
        one = one->next;
    }
    return one;
}

static const struct made *
find_made(const char *from, unsigned slot)
{
    isles_mutex_lock(&lock);
    const struct made *one = look_up(from, slot);
    isles_mutex_unlock(&lock);
    return one;
}

static void
made_free(struct made *one)
{
    if (one != NULL) {
        free(one->from);
        free(one->path);
        free(one);
    }
}

/* What counts as made: this, or what another thread of the slot's made of the same file meanwhile.
 * NULL without memory. */
static const struct made *
note_made(const char *from, unsigned slot, const char *path, bool passing)
{
    struct made *one = calloc(1, sizeof(*one));
    if (one == NULL || (one->from = strdup(from)) == NULL || (one->path = strdup(path)) == NULL) {
        made_free(one);
        return NULL;
    }
    one->slot = slot;
    atomic_init(&one->passing, passing);
    isles_mutex_lock(&lock);
    const struct made *before = look_up(from, slot);
    if (before == NULL) {
        one->next = all;
        all = one;
    }
    isles_mutex_unlock(&lock);
    if (before != NULL) {
        made_free(one);
    }
    return before ? before : one;
}

bool
isles_copies_slot_of(const char *path, unsigned *slot)
{
    isles_mutex_lock(&lock);
    const struct made *one = all;
    while (one != NULL && strcmp(one->path, path) != 0) {
        one = one->next;
    }
    isles_mutex_unlock(&lock);
    if (one == NULL) {
        return false;
    }
    *slot = one->slot;
    return true;
}

static void
remove_entry(const char *path)
{
    char folder[PATH_MAX];
    (void)unlink(path);
    if ((size_t)snprintf(folder, sizeof(folder), "%s", path) < sizeof(folder)) {
        *strrchr(folder, '/') = 0;
        (void)rmdir(folder); /* of its key */
    }
}

/* The linker goes on finding them by their names.  Others of the slot may not be loaded yet, by
 * another thread, or ever, as what needs them failed. */
void
isles_copies_loaded(unsigned slot)
{
    char path[PATH_MAX];
    isles_mutex_lock(&lock);
    struct made *one = all;
    isles_mutex_unlock(&lock); /* the linker has a lock of its own, under which ours is taken */
    for (; one != NULL; one = one->next) {
        if (one->slot == slot && atomic_load(&one->passing)
            && isles_loaded_library(one->path, path, sizeof(path))) {
            atomic_store(&one->passing, false);
            remove_entry(one->path);
        }
    }
}

static atomic_uint next_slot;

unsigned
isles_copies_slot(void)
{
    return atomic_fetch_add(&next_slot, 1);
}

/* ---- where they lie ---- */

static bool
in_memory(void)
{
    const char *where = getenv("ISLES_CACHE");
    return where != NULL && strcmp(where, "memory") == 0;
}

/* Why the environment names no folder that can be used; NULL if it does. */
static const char *
cache_folder(char *out, size_t size)
{
    const char *named = getenv("ISLES_CACHE_DIR"), *user = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME"), *below = "", *folder = NULL;
    if (named != NULL && *named != 0) {
        folder = named;
    } else if (user != NULL && *user == '/') {
        folder = user;
        below = "/isles/extensions";
    } else if (home != NULL && *home == '/') {
        folder = home;
        below = "/.cache/isles/extensions";
    }
    if (folder == NULL) {
        return "HOME is not set to a folder";
    }
    if ((size_t)snprintf(out, size, "%s%s", folder, below) >= size) {
        return "its path is too long";
    }
    return strchr(out, '$') ? "its path has a dollar sign, which the dynamic linker would expand"
                            : NULL;
}

static uint64_t
cache_limit(void)
{
    const char *text = getenv("ISLES_CACHE_LIMIT");
    char *end;
    errno = 0;
    unsigned long long limit = text ? strtoull(text, &end, 10) : 0;
    bool sound = text != NULL && *text >= '0' && *text <= '9' && *end == 0 && errno == 0;
    return sound ? limit : LIMIT_DEFAULT;
}

/* The process's cache, opened at the first need and never closed. */
static int
open_cache(struct isles_cache **out, struct isles_fault *fault)
{
    isles_mutex_lock(&lock);
    *out = cache;
    isles_mutex_unlock(&lock);
    if (*out != NULL) {
        return ISLES_OK;
    }
    char folder[PATH_MAX];
    struct isles_cache *opened;
    const char *why = cache_folder(folder, sizeof(folder));
    if (why != NULL) {
        return fail_for(fault, ISLES_IO, "the folder for copies", why);
    }
    int status = isles_cache_open(folder, &opened, fault);
    if (status < 0) {
        return status;
    }
    isles_mutex_lock(&lock);
    struct isles_cache *mine = opened;
    if (cache == NULL) {
        cache = opened;
        mine = NULL;
    }
    *out = cache;
    isles_mutex_unlock(&lock);
    if (mine != NULL) {
        isles_cache_close(mine); /* another thread was faster */
    }
    return ISLES_OK;
}

/* The user removed the folder under a running process: the next one to ask opens it again.  Others
 * may be inside, so it stays. */
static void
forget_cache(const struct isles_cache *gone)
{
    isles_mutex_lock(&lock);
    if (cache == gone) {
        lost = cache;
        cache = NULL;
    }
    isles_mutex_unlock(&lock);
}

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

#define MEMORY_FILE "/proc/self/fd/%d"

/* In memory: the file stays open, or another one would get its name, and the linker would take it
 * for this one. */
static int
store_in_memory(const char *name, const unsigned char *data, size_t size, char **path,
                struct isles_fault *fault)
{
    int fd, status = isles_memory_file(name, data, size, &fd);
    if (status < 0) {
        return fail(fault, status, name);
    }
    if (asprintf(path, MEMORY_FILE, fd) < 0) {
        close(fd);
        return ISLES_NO_MEMORY;
    }
    return ISLES_OK;
}

/* ---- what originals hold ---- */

struct seen {
    struct isles_file_version version;
    struct isles_digest digest;
    struct seen *next;
};

static struct seen *seen; /* under the lock; for good */

static bool
find_seen(const struct isles_file_version *version, struct isles_digest *digest)
{
    isles_mutex_lock(&lock);
    const struct seen *one = seen;
    while (one != NULL && memcmp(&one->version, version, sizeof(*version)) != 0) {
        one = one->next;
    }
    isles_mutex_unlock(&lock);
    if (one != NULL) {
        *digest = one->digest;
    }
    return one != NULL;
}

/* Not if it was changed just now: the next change might leave the same time behind. */
static void
note_seen(const struct isles_file_version *version, struct isles_digest digest)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct seen *one = nanoseconds(now) - version->changed > SLACK ? malloc(sizeof(*one)) : NULL;
    if (one != NULL) {
        one->version = *version;
        one->digest = digest;
        isles_mutex_lock(&lock);
        one->next = seen;
        seen = one;
        isles_mutex_unlock(&lock);
    }
}

/* Each file is read once in a process: every interpreter's copies of it are made of the same. */
static struct isles_digest
digest_of(const struct isles_original *original)
{
    struct isles_digest digest;
    if (!find_seen(&original->version, &digest)) {
        digest = isles_digest_of(original->data, original->size);
        note_seen(&original->version, digest);
    }
    return digest;
}

/* ---- making one ---- */

/* What decides how a copy looks. */
static struct isles_digest
key_of(const struct isles_original *original, unsigned slot,
       const struct isles_elf_changes *changes)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    uint64_t numbers[3] = {FORMAT, slot, slot < SLOTS_KEPT ? 0 : (uint64_t)getpid()};
    isles_digest_update(&digester, numbers, sizeof(numbers));
    if (slot >= SLOTS_KEPT) {
        int64_t now = isles_now(); /* nobody else's */
        isles_digest_update(&digester, &now, sizeof(now));
    }
    isles_digest_update(&digester, changes->origin, strlen(changes->origin) + 1);
    for (size_t i = 0; i < changes->needed_count; i++) {
        const char *from = changes->needed[i].from, *to = changes->needed[i].to;
        isles_digest_update(&digester, from, strlen(from) + 1);
        isles_digest_update(&digester, to, strlen(to) + 1);
    }
    struct isles_digest data = digest_of(original);
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

/* After `size` more bytes.  To look what all take reads the whole folder, so it is done after the
 * first that a process stores, and then each time that a 64th of the limit has come on top. */
static void
trim(struct isles_cache *opened, uint64_t size)
{
    static _Atomic uint64_t since = UINT64_MAX / 2;
    uint64_t limit = cache_limit();
    if (atomic_fetch_add(&since, size) + size > limit / 64) {
        atomic_store(&since, 0);
        (void)isles_cache_trim(opened, limit, NULL);
    }
}

/* `passing`: it goes as soon as it is loaded, so there is no use in looking what all take. */
static int
store_on_disk(struct isles_digest key, const char *name, const unsigned char *data, size_t size,
              bool passing, char **path, struct isles_fault *fault)
{
    struct isles_cache *opened;
    int status = open_cache(&opened, fault);
    if (status < 0) {
        return status;
    }
    status = isles_cache_store(opened, key, name, data, size, path, fault);
    if (status == ISLES_IO && fault->error == ENOENT) {
        forget_cache(opened);
        status = open_cache(&opened, fault);
        status =
            status < 0 ? status : isles_cache_store(opened, key, name, data, size, path, fault);
    }
    if (status == 0 && !passing) {
        trim(opened, size);
    }
    return status;
}

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
        return fail_for(fault, status, original->path, why);
    }
    entry_name(original->path, name);
    status = in_memory() ? store_in_memory(name, data, size, path, fault)
                         : store_on_disk(key, name, data, size, slot >= SLOTS_KEPT, path, fault);
    free(data);
    return status;
}

static int
find_stored(const struct isles_original *original, struct isles_digest key, char **path,
            struct isles_fault *fault)
{
    char name[ISLES_CACHE_NAME_MAX + 1];
    struct isles_cache *opened;
    if (in_memory()) {
        return ISLES_NOT_FOUND;
    }
    int status = open_cache(&opened, fault);
    if (status < 0) {
        return status;
    }
    entry_name(original->path, name);
    return isles_cache_find(opened, key, name, path, fault);
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
        return fail(fault, ISLES_IO, original->path);
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
    int fd;
    bool memory = sscanf(made, MEMORY_FILE, &fd) == 1, passing = slot >= SLOTS_KEPT && !memory;
    const struct made *noted = note_made(from, slot, made, passing);
    if (noted != NULL && strcmp(noted->path, made) != 0) {
        if (memory) {
            close(fd);
        } else if (passing) {
            remove_entry(made);
        }
    }
    *path = noted ? strdup(noted->path) : NULL;
    return *path ? ISLES_OK : ISLES_NO_MEMORY;
}

static int
make(const struct isles_loader *loader, unsigned slot, char **path, struct isles_fault *fault)
{
    const char *from = loader->of->path;
    const struct made *before = find_made(from, slot);
    if (before != NULL) {
        *path = strdup(before->path);
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

/* ---- what needs no copy ---- */

static const char shareable[] = "shareable"; /* the name of such an entry */

static struct isles_digest
context_key(const struct isles_original *original, unsigned context)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    unsigned numbers[2] = {FORMAT, context};
    isles_digest_update(&digester, numbers, sizeof(numbers));
    struct isles_digest data = digest_of(original);
    isles_digest_update(&digester, &data, sizeof(data));
    return isles_digest_final(&digester);
}

bool
isles_copies_is_shareable(const struct isles_original *original, unsigned context)
{
    struct isles_cache *opened;
    char *path = NULL;
    bool known =
        !in_memory() && open_cache(&opened, NULL) == 0
        && isles_cache_find(opened, context_key(original, context), shareable, &path, NULL) == 0;
    free(path);
    return known;
}

void
isles_copies_note_shareable(const struct isles_original *original, unsigned context)
{
    struct isles_cache *opened;
    char *path = NULL;
    if (!in_memory() && open_cache(&opened, NULL) == 0) {
        (void)isles_cache_store(opened, context_key(original, context), shareable, "", 0, &path,
                                NULL);
        free(path);
    }
}
