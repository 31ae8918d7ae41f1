/* What an interpreter prints: a raw file that writes whole lines at once.
 *
 * docs/design/output.md tells why. */
#ifndef ISLES_BINDING_LINES_H
#define ISLES_BINDING_LINES_H

/* Has sys.stdout and sys.stderr of the current interpreter write to the process's descriptors in
 * whole lines.  0, or -1 with an exception. */
int isles__lines_install(void);

#endif
