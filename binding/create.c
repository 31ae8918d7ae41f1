#include "create.h"

#include "../core/status.h"
#include "codec.h"
#include "errors.h"
#include "gate.h"
#include "stock.h"

int
isles__put_setting(const struct isles_state *state, PyObject *rules, struct isles_message *message)
{
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    PyObject *strings = PyList_New(0);
    if (strings == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; path && PyList_Check(path) && i < PyList_GET_SIZE(path); i++) {
        PyObject *item = PyList_GET_ITEM(path, i);
        if (PyUnicode_CheckExact(item) && PyList_Append(strings, item) < 0) {
            Py_DECREF(strings);
            return -1;
        }
    }
    struct isles_local *local = isles__local(state->here);
    PyObject *setting = local ? PyTuple_Pack(2, strings, rules) : NULL;
    int result = setting ? isles__encode(state, local, message, setting, "setting") : -1;
    Py_XDECREF(setting);
    Py_DECREF(strings);
    return result;
}

struct isles_interp *
isles__create(const struct isles_state *state, bool isolated, PyObject *rules, bool owned)
{
    struct isles_interp *interp = NULL;
    if (isolated && (isles__stock_take(state, rules, owned, &interp) < 0 || interp != NULL)) {
        return interp;
    }
    struct isles_message setting;
    isles_message_init(&setting);
    const char *why = NULL;
    if (isles__put_setting(state, rules, &setting) < 0) {
        isles_message_fini(&setting);
        return NULL;
    }
    int status = isles__gate_create(isolated, owned, &setting, &interp, &why);
    isles_message_fini(&setting);
    if (why != NULL) {
        PyErr_Format(state->error, "CPython could not make an interpreter: %s", why);
        return NULL;
    }
    if (status < 0) {
        isles__raise_status(state, status, -1);
        return NULL;
    }
    return interp;
}
