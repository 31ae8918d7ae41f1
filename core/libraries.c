#define _GNU_SOURCE /* strchrnul */
#include "libraries.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os.h"

bool
isles_library_origin(const struct isles_original *original, char *folder)
{
    size_t length = strlen(original->path);
    if (length >= PATH_MAX) {
        return false;
    }
    memcpy(folder, original->path, length + 1);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        memcpy(folder, ".", 2);
    } else {
        slash[slash == folder] = 0;
    }
    return true;
}

/* ---- where a library is ---- */

static bool
is_file(const char *folder, size_t length, const char *name, char *path)
{
    int size = snprintf(path, PATH_MAX, "%.*s/%s", (int)length, folder, name);
    return size < PATH_MAX && access(path, R_OK) == 0;
}

/* One entry of a search path that begins with the origin's token, or an absolute one. */
static bool
in_entry(const char *entry, size_t length, const char *origin, const char *name, char *path)
{
    static const char *const tokens[] = {"${ORIGIN}", "$ORIGIN"};
    for (size_t i = 0; i < 2; i++) {
        size_t token = strlen(tokens[i]);
        if (length >= token && memcmp(entry, tokens[i], token) == 0) {
            char folder[PATH_MAX];
            int size = snprintf(folder, sizeof(folder), "%s%.*s", origin, (int)(length - token),
                                entry + token);
            return size < PATH_MAX && is_file(folder, (size_t)size, name, path);
        }
    }
    return length > 0 && entry[0] == '/' && is_file(entry, length, name, path);
}

static bool
in_search_path(const char *list, const struct isles_original *of, const char *name, char *path)
{
    char origin[PATH_MAX];
    if (list == NULL || !isles_library_origin(of, origin)) {
        return false;
    }
    for (const char *end; *list != 0; list = *end ? end + 1 : end) {
        end = strchrnul(list, ':');
        if (in_entry(list, (size_t)(end - list), origin, name, path)) {
            return true;
        }
    }
    return false;
}

/* DT_RPATH of who needs it, and of who needs that; a DT_RUNPATH takes its place. */
static bool
in_rpaths(const struct isles_loader *loader, const char *name, char *path)
{
    if (loader->of->elf.runpath != NULL) {
        return false;
    }
    for (; loader != NULL; loader = loader->up) {
        if (loader->of->elf.runpath == NULL
            && in_search_path(loader->of->elf.rpath, loader->of, name, path)) {
            return true;
        }
    }
    return false;
}

static bool
find(const struct isles_loader *loader, const char *name, char *path)
{
    const struct isles_original *of = loader->of;
    if (strchr(name, '/') != NULL) {
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && access(path, R_OK) == 0;
    }
    return in_rpaths(loader, name, path)
           || in_search_path(getenv("LD_LIBRARY_PATH"), of, name, path)
           || in_search_path(of->elf.runpath, of, name, path)
           || isles_loaded_library(name, path, PATH_MAX);
}

/* ---- those that need no copy ---- */

struct plain {
    char *path;
    struct plain *next;
};

static isles_mutex lock = ISLES_MUTEX_INIT;
static struct plain *plains; /* files that were read and are for all; for good */

void
isles_libraries_forked(void)
{
    isles_mutex_reset(&lock); /* the list is whole at any moment: one store adds to it */
}

static bool
is_plain(const char *path)
{
    isles_mutex_lock(&lock);
    const struct plain *one = plains;
    while (one != NULL && strcmp(one->path, path) != 0) {
        one = one->next;
    }
    isles_mutex_unlock(&lock);
    return one != NULL;
}

static void
note_plain(const char *path)
{
    struct plain *one = malloc(sizeof(*one));
    char *text = strdup(path);
    if (one == NULL || text == NULL) { /* it will be read again */
        free(one);
        free(text);
        return;
    }
    one->path = text;
    isles_mutex_lock(&lock);
    one->next = plains;
    plains = one;
    isles_mutex_unlock(&lock);
}

/* ---- which have to be copied ---- */

static bool
is_above(const struct isles_loader *loader, const char *path)
{
    while (loader != NULL && strcmp(loader->of->path, path) != 0) {
        loader = loader->up;
    }
    return loader != NULL;
}

/* Libraries that know nothing of Python and yet can't be shared by interpreters: they are not safe
 * for threads, and their extension modules call them under a lock of Python's. */
static const char *const unsafe[] = {"libhdf5"};

static bool
is_unsafe(const struct isles_original *original)
{
    const char *slash = strrchr(original->path, '/'), *base = slash ? slash + 1 : original->path;
    for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++) {
        if (strncmp(base, unsafe[i], strlen(unsafe[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* 1, 0 or a status: whether a file is for one interpreter, or needs one that is.  Python itself
 * isn't. */
static int
belongs_to_one(const struct isles_loader *loader, struct isles_fault *fault)
{
    const struct isles_elf *elf = &loader->of->elf;
    if (isles_elf_exports(elf, "Py_InitializeEx")) {
        return 0;
    }
    const char *name;
    int result = elf->uses_python || is_unsafe(loader->of);
    for (size_t i = 0; result == 0 && (name = isles_elf_needed(elf, i)) != NULL; i++) {
        struct isles_original library;
        int status = isles_library_open(loader, name, &library, fault);
        if (status == 0) {
            isles_original_close(&library);
            result = 1;
        } else if (status != ISLES_NOT_FOUND) {
            result = status;
        }
    }
    return result;
}

int
isles_library_open(const struct isles_loader *loader, const char *name,
                   struct isles_original *library, struct isles_fault *fault)
{
    char path[PATH_MAX];
    struct isles_original found;
    if (!find(loader, name, path) || is_plain(path) || is_above(loader, path)) {
        return ISLES_NOT_FOUND;
    }
    int status = isles_original_open(&found, path, fault);
    if (status < 0) { /* damaged ones are the linker's to refuse */
        bool odd = status == ISLES_UNSUPPORTED || status == ISLES_MALFORMED;
        return odd ? ISLES_NOT_FOUND : status;
    }
    struct isles_loader next = {&found, loader};
    int one = belongs_to_one(&next, fault);
    if (one == 1) {
        *library = found;
        return ISLES_OK;
    }
    if (one == 0) {
        note_plain(path);
    }
    isles_original_close(&found);
    return one == 0 ? ISLES_NOT_FOUND : one;
}
