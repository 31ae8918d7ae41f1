/* Leaving the process with interpreters alive: docs/design/exit.md. */
#ifndef ISLES_BINDING_EXIT_H
#define ISLES_BINDING_EXIT_H

#include "state.h"

/* Ends every interpreter of isles.  What still runs gets `grace` ns to finish, then SystemExit
 * inside, and is left behind after a second more.  From the main thread in the main interpreter,
 * once.  A list of Python's idents of the threads that were left behind, or NULL. */
PyObject *isles__exit(int64_t grace);

#endif
