#include "../core/registry.h"
#include "../core/status.h"
#include "codec.h"
#include "errors.h"
#include "failures.h"
#include "gate.h"
#include "signals.h"
#include "stock_parts.h"

/* In the new interpreter, as what follows. */
static int
import_all(const struct isles_message *modules)
{
    struct isles_contents contents = isles_message_contents(modules);
    PyObject *names = isles__decode(NULL, &contents);
    int result = names ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(names); i++) {
        PyObject *module = PyImport_Import(PyList_GET_ITEM(names, i));
        result = module ? 0 : -1;
        Py_XDECREF(module);
    }
    Py_XDECREF(names);
    return result;
}

/* What the finders know of folders is as old as they are. */
static void
forget_folders(void)
{
    PyObject *cache = PySys_GetObject("path_importer_cache"); /* borrowed */
    if (cache != NULL && PyDict_Check(cache)) {
        PyDict_Clear(cache);
    }
}

static void
describe(struct isles_interp *interp, struct isles_message *message)
{
    struct isles_local *local = isles__local(interp);
    PyObject *tuple = local ? isles__describe_failure(NULL, false) : NULL;
    if (tuple == NULL || isles__encode(NULL, local, message, tuple, "failure") < 0) {
        isles_message_reset(message);
    }
    Py_XDECREF(tuple);
    PyErr_Clear();
}

static int
prepare(struct isles_interp *interp, const struct isles_message *modules,
        struct isles_message *error)
{
    struct isles_pass pass;
    int status = isles__gate_enter(&pass, interp);
    if (status < 0) {
        return status;
    }
    if (import_all(modules) < 0) {
        PyObject *raised = PyErr_GetRaisedException();
        (void)isles__local(interp); /* before the exception is set again */
        PyErr_SetRaisedException(raised);
        describe(interp, error);
        status = ISLES_IMPORT_FAILED;
    }
    forget_folders();
    isles__gate_leave(&pass);
    return status;
}

int
isles__stock_make(const struct isles_plan *how, struct isles_interp **out,
                  struct isles_message *error, const char **why)
{
    struct isles_interp *interp = NULL;
    int status = isles__gate_create_hidden(&how->setting, &interp, why);
    if (status < 0) {
        return status;
    }
    status = prepare(interp, &how->modules, error);
    if (status == 0) {
        status = isles__gate_shelve(interp);
    }
    if (status == 0) {
        *out = interp;
        return 0;
    }
    if (!isles_registry_exiting()) {
        (void)isles__gate_close(interp);
    }
    isles_interp_unref(interp);
    return status;
}

struct isles_interp *
isles__stock_make_first(const struct isles_state *state, const struct isles_plan *how)
{
    struct isles_message error;
    struct isles_interp *interp = NULL;
    const char *why = NULL;
    isles_message_init(&error);
    int status = isles__stock_make(how, &interp, &error, &why);
    PyObject *interruption = isles__signals_interrupted() ? isles__signals_take() : NULL;
    if (status == ISLES_IMPORT_FAILED && interruption != NULL) {
        PyErr_SetRaisedException(Py_NewRef(interruption));
    } else if (status == ISLES_IMPORT_FAILED) {
        struct isles_contents contents = isles_message_contents(&error);
        PyObject *tuple = contents.size > 0 ? isles__decode(NULL, &contents) : PyErr_NoMemory();
        if (tuple != NULL) {
            isles__raise_failure(state, tuple);
        }
        Py_XDECREF(tuple);
    } else if (why != NULL) {
        PyErr_Format(state->error, "CPython could not make an interpreter: %s", why);
    } else if (status < 0) {
        isles__raise_status(state, status, -1);
    }
    Py_XDECREF(interruption);
    isles_message_fini(&error);
    return interp;
}
