#include "sources.h"

/* Keeps the source under the name that its code gets, for tracebacks.  Of those too long to be
 * remembered only the last stays. */
static PyObject *
name_source(struct isles_local *local, PyObject *source)
{
    if (PyDict_GET_SIZE(local->sources) >= ISLES_SOURCES_MAX) {
        PyDict_Clear(local->codes);
        PyDict_Clear(local->sources);
    }
    PyObject *name = PyUnicode_FromFormat("<exec %llu>", ++local->next_source);
    if (name == NULL || PyDict_SetItem(local->sources, name, source) < 0) {
        Py_XDECREF(name);
        return NULL;
    }
    if (PyBytes_GET_SIZE(source) > ISLES_SOURCE_SIZE_MAX) {
        PyObject *before = local->last_long_source;
        if (before != NULL && PyDict_Contains(local->sources, before) == 1) {
            (void)PyDict_DelItem(local->sources, before);
        }
        Py_XSETREF(local->last_long_source, Py_NewRef(name));
    }
    return name;
}

static PyObject *
compile_source(struct isles_local *local, PyObject *source, const char *text)
{
    if (strlen(text) != (size_t)PyBytes_GET_SIZE(source)) {
        PyErr_SetString(PyExc_SyntaxError, "source code string cannot contain null bytes");
        return NULL;
    }
    PyObject *name = name_source(local, source);
    /* As compile() does with a str: a coding line says nothing about what is decoded already. */
    PyCompilerFlags flags = {
        .cf_flags = PyCF_SOURCE_IS_UTF8 | PyCF_IGNORE_COOKIE,
        .cf_feature_version = PY_MINOR_VERSION,
    };
    PyObject *code = name ? Py_CompileStringObject(text, name, Py_file_input, &flags, -1) : NULL;
    Py_XDECREF(name);
    return code;
}

static PyObject *
remember_source(struct isles_local *local, PyObject *source, PyObject *code)
{
    if (PyDict_SetItem(local->codes, source, code) < 0) {
        Py_CLEAR(code);
        return NULL;
    }
    Py_XSETREF(local->last_source, Py_NewRef(source));
    Py_XSETREF(local->last_code, Py_NewRef(code));
    return code;
}

/* Sources are kept as bytes: UTF-8, as they come. */
PyObject *
isles__sources_code(struct isles_local *local, const char *text, Py_ssize_t size)
{
    PyObject *last = local->last_source;
    if (last != NULL && PyBytes_GET_SIZE(last) == size
        && memcmp(PyBytes_AS_STRING(last), text, (size_t)size) == 0) {
        return Py_NewRef(local->last_code);
    }
    PyObject *source = PyBytes_FromStringAndSize(text, size);
    if (source == NULL) {
        return NULL;
    }
    PyObject *code = Py_XNewRef(PyDict_GetItemWithError(local->codes, source));
    if (code == NULL && !PyErr_Occurred()) {
        code = compile_source(local, source, text);
    }
    if (code != NULL && size <= ISLES_SOURCE_SIZE_MAX) {
        code = remember_source(local, source, code);
    }
    Py_DECREF(source);
    return code;
}
