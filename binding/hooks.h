/* What private copies of extension modules call in the place of CPython's functions.
 *
 * core/copies.c gives the symbols that a copy wants from Python other names; here are those. */
#ifndef ISLES_BINDING_HOOKS_H
#define ISLES_BINDING_HOOKS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define ISLES_EXPORTED __attribute__((visibility("default")))

struct isles_interp;

/* Lets the linker find them when it loads copies, and sees to forks; 0, or -1 with ImportError or
 * MemoryError.  Cheap when done. */
int isles__hooks_init(void);

/* Says whose the copies of a slot are; for good.  0 or -1 with MemoryError. */
int isles__hooks_own(unsigned slot, struct isles_interp *interp);

/* Calls the init function of a single-phase module, which finds itself called `name`, in full. */
PyObject *isles__hooks_call_init(PyObject *(*init)(void), const char *name);

/* Has CPython not refuse a module that doesn't support interpreters (-1), or again do as the
 * current interpreter was made to (0).  An exception stays. */
void isles__hooks_override_check(int value);

/* As PyGILState_Ensure(); on a thread of the extension's own it enters the interpreter that the
 * calling copy belongs to, where CPython's enters main. */
ISLES_EXPORTED PyGILState_STATE isles_gilstate_ensure(void);

/* Instead of PyInterpreterState_Main(): the interpreter that the calling copy belongs to.  Modules
 * ask for main where they take it for the only one: to warn of others (NumPy), or for new threads.
 */
ISLES_EXPORTED PyInterpreterState *isles_interpreterstate_main(void);

/* As PyModule_Create2(); gives the module its full name, which only CPython's importer can tell
 * CPython's. */
ISLES_EXPORTED PyObject *isles_module_create2(PyModuleDef *def, int api_version);

/* As PyModule_FromDefAndSpec2() and PyModule_FromSlotsAndSpec(), also for what doesn't support
 * interpreters: a copy, or a module that a copy makes inside its own (PyO3's submodules). */
ISLES_EXPORTED PyObject *isles_module_from_def_and_spec2(PyModuleDef *def, PyObject *spec,
                                                         int api_version);
#if PY_VERSION_HEX >= 0x030F0000
ISLES_EXPORTED PyObject *isles_module_from_slots_and_spec(const PySlot *slots, PyObject *spec);
#endif

/* As Py_AddPendingCall(), which calls in main: in the interpreter whose copy `func` is in.  Of an
 * interpreter that has ended, as of a finalized CPython, none is ever called. */
ISLES_EXPORTED int isles_add_pending_call(int (*func)(void *), void *arg);

#endif
