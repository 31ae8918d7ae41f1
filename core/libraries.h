/* Which of the libraries that a shared object needs have to be copied with it, and where they are.
 *
 * Those that use Python, those that rely on its GIL, and those that need one of them.  Files are
 * looked for as the dynamic linker of glibc does: DT_RPATH, LD_LIBRARY_PATH, DT_RUNPATH, and what
 * is loaded already; the system's folders hold no library of an extension's.  Any thread, without a
 * GIL. */
#ifndef ISLES_LIBRARIES_H
#define ISLES_LIBRARIES_H

#include "copies.h"

/* A file, and who needs it: their DT_RPATH counts for it as well. */
struct isles_loader {
    const struct isles_original *of;
    const struct isles_loader *up;
};

/* Opens the library `name` that a file needs, if it has to be copied with it; who calls it closes
 * it.  0; ISLES_NOT_FOUND: it need not be, isn't there or is no shared object; ISLES_NO_MEMORY,
 * ISLES_TOO_MANY_FILES, ISLES_IO. */
int isles_library_open(const struct isles_loader *loader, const char *name,
                       struct isles_original *library, struct isles_fault *fault);

/* In a forked child: whoever held the lock isn't there. */
void isles_libraries_forked(void);

/* The folder that $ORIGIN means for a file, into PATH_MAX bytes; false if it is too long. */
bool isles_library_origin(const struct isles_original *original, char *folder);

#endif
