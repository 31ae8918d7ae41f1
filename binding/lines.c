#include "lines.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "../core/os.h"
#include "../core/output.h"
#include "../core/status.h"
#include "signals.h"

/* What a raw file has not: the text since the last end of a line. */
struct lines {
    char *pending; /* malloc */
    size_t size;
    size_t capacity;
    bool closed;
    bool puts; /* lines, to its attribute `put`, instead of writing to a descriptor */
    int lane;  /* of the descriptor */
    int owned; /* a descriptor to be closed, or 0: FileIO would warn that nobody did it */
};

static struct lines *
lines_of(PyObject *self, PyTypeObject *type)
{
    return PyObject_GetTypeData(self, type);
}

static int
fd_of(PyObject *self)
{
    PyObject *number = PyObject_CallMethod(self, "fileno", NULL); /* ValueError if closed */
    int fd = number ? PyLong_AsInt(number) : -1;
    Py_XDECREF(number);
    return fd;
}

/* Writes all, without the GIL; a signal's handler may raise in between, and the rest is lost then,
 * as with Python's own files.  0, or -1 with an exception. */
static int
write_out(int fd, int lane, const char *text, size_t size)
{
    while (size > 0) {
        size_t written = 0;
        int status, error;
        Py_BEGIN_ALLOW_THREADS
            status = isles_output_write(fd, lane, text, size, &written);
            error = errno;
        Py_END_ALLOW_THREADS
        if (status == ISLES_INTERRUPTED) {
            if (isles__signals_check() < 0) {
                return -1;
            }
        } else if (status < 0) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        text += written;
        size -= written;
    }
    return 0;
}

/* The first line of a text, with its end: a line feed, a carriage return, or one after the other.
 */
static size_t
line_size(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size && text[at] != '\n' && text[at] != '\r') {
        at++;
    }
    at += at + 1 < size && text[at] == '\r' && text[at + 1] == '\n' ? 2 : 1;
    return at < size ? at : size;
}

/* Whatever was printed is a str again; bytes that are no UTF-8 are shown as such. */
static PyObject *
line_text(const char *text, Py_ssize_t size)
{
    PyObject *line = PyUnicode_DecodeUTF8(text, size, "surrogatepass");
    if (line == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        line = PyUnicode_DecodeUTF8(text, size, "backslashreplace");
    }
    return line;
}

static int
put_lines(PyObject *self, const char *text, size_t size)
{
    PyObject *list = PyList_New(0), *result = NULL;
    while (list != NULL && size > 0) {
        size_t length = line_size(text, size);
        PyObject *line = line_text(text, (Py_ssize_t)length);
        if (line == NULL || PyList_Append(list, line) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(line);
        text += length;
        size -= length;
    }
    if (list != NULL) {
        result = PyObject_CallMethod(self, "put", "O", list);
        Py_DECREF(list);
    }
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int
check_open(PyObject *self)
{
    PyObject *result = PyObject_CallMethod(self, "_checkClosed", NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Takes the first `count` bytes out before the GIL is given up: other threads of the interpreter
 * may print meanwhile. */
static int
put_out(PyObject *self, struct lines *lines, size_t count)
{
    int fd = lines->puts ? check_open(self) : fd_of(self);
    if (fd < 0 || count == 0) {
        return fd < 0 ? -1 : 0;
    }
    char *text = lines->pending;
    size_t rest = lines->size - count;
    char *tail = rest ? malloc(rest) : NULL;
    if (rest > 0 && tail == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (rest > 0) {
        memcpy(tail, text + count, rest);
    }
    lines->pending = tail;
    lines->size = lines->capacity = rest;
    int result =
        lines->puts ? put_lines(self, text, count) : write_out(fd, lines->lane, text, count);
    free(text);
    return result;
}

static int
keep(struct lines *lines, const Py_buffer *bytes)
{
    if (bytes->len == 0) {
        return 0; /* memcpy() must not see the NULL of no text yet */
    }
    size_t size = lines->size + (size_t)bytes->len;
    if (size > lines->capacity) {
        size_t capacity = size < 256 ? 256 : size + size / 2;
        char *grown = realloc(lines->pending, capacity);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        lines->pending = grown;
        lines->capacity = capacity;
    }
    memcpy(lines->pending + lines->size, bytes->buf, (size_t)bytes->len);
    lines->size = size;
    return 0;
}

/* How much of it is whole lines; a carriage return ends one as well, as it does in Python's
 * line-buffered streams: progress is shown so. */
static size_t
whole(const char *text, size_t size)
{
    while (size > 0 && text[size - 1] != '\n' && text[size - 1] != '\r') {
        size--;
    }
    return size;
}

static PyObject *
lines_write(PyObject *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t count,
            PyObject *kwnames)
{
    Py_buffer bytes;
    if (count != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_SetString(PyExc_TypeError, "write() takes exactly one positional argument");
        return NULL;
    }
    struct lines *lines = lines_of(self, type);
    if (lines->closed) {
        PyErr_SetString(PyExc_ValueError, "I/O operation on closed file");
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &bytes, PyBUF_CONTIG_RO) < 0) {
        return NULL;
    }
    size_t ends = whole(bytes.buf, (size_t)bytes.len);
    size_t ready = ends ? lines->size + ends : 0;
    Py_ssize_t size = bytes.len;
    int result = keep(lines, &bytes);
    PyBuffer_Release(&bytes);
    if (result < 0 || (ready > 0 && put_out(self, lines, ready) < 0)) {
        return NULL;
    }
    return PyLong_FromSsize_t(size);
}

static PyObject *
lines_flush(PyObject *self, PyTypeObject *type, PyObject *const *Py_UNUSED(args),
            Py_ssize_t Py_UNUSED(count), PyObject *Py_UNUSED(kwnames))
{
    struct lines *lines = lines_of(self, type);
    if (put_out(self, lines, lines->size) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
lines_writable(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

/* The base's close() flushes first.  Everything ends here: a file that is dropped is closed. */
static PyObject *
lines_close(PyObject *self, PyTypeObject *type, PyObject *const *Py_UNUSED(args),
            Py_ssize_t Py_UNUSED(count), PyObject *Py_UNUSED(kwnames))
{
    PyObject *result = PyObject_CallMethod((PyObject *)type->tp_base, "close", "O", self);
    struct lines *lines = lines_of(self, type);
    free(lines->pending);
    if (lines->owned > 0) {
        (void)close(lines->owned);
    }
    *lines = (struct lines){.closed = true};
    return result;
}

#define METHOD(function) (PyCFunction)(void (*)(void))(function)
#define FLAGS (METH_METHOD | METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef lines_methods[] = {
    {"write", METHOD(lines_write), FLAGS, NULL},
    {"flush", METHOD(lines_flush), FLAGS, NULL},
    {"close", METHOD(lines_close), FLAGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lines_slots[] = {
    {Py_tp_doc, (void *)"A file that writes whole lines at once, and the rest with flush()."},
    {Py_tp_methods, lines_methods},
    {0, NULL},
};

static PyType_Spec lines_spec = {
    .name = "isles._interpreters.Lines",
    .basicsize = -(int)sizeof(struct lines),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = lines_slots,
};

/* The same for lines that go to a callable.  In C, because an interpreter's very last objects may
 * hold one: a method in Python would leave something behind then, and so all its memory. */
static PyMethodDef putting_methods[] = {
    {"write", METHOD(lines_write), FLAGS, NULL},
    {"flush", METHOD(lines_flush), FLAGS, NULL},
    {"close", METHOD(lines_close), FLAGS, NULL},
    {"writable", lines_writable, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot putting_slots[] = {
    {Py_tp_doc, (void *)"A file that hands whole lines to its put(), and the rest with flush()."},
    {Py_tp_methods, putting_methods},
    {0, NULL},
};

static PyType_Spec putting_spec = {
    .name = "isles._interpreters.PuttingLines",
    .basicsize = -(int)sizeof(struct lines),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = putting_slots,
};

/* To a descriptor, which becomes the file's if it is none of the standard ones. */
static PyObject *
writing_new(PyObject *io, int fd)
{
    PyObject *base = PyObject_GetAttrString(io, "FileIO");
    PyObject *type = base ? PyType_FromSpecWithBases(&lines_spec, base) : NULL;
    PyObject *file = type ? PyObject_CallFunction(type, "isO", fd, "w", Py_False) : NULL;
    if (file != NULL) {
        struct lines *lines = lines_of(file, (PyTypeObject *)type);
        lines->lane = isles_output_lane(fd);
        lines->owned = fd > 2 ? fd : 0;
    }
    Py_XDECREF(base);
    Py_XDECREF(type);
    return file;
}

/* To a callable. */
static PyObject *
putting_new(PyObject *io, PyObject *put)
{
    PyObject *base = PyObject_GetAttrString(io, "_RawIOBase");
    PyObject *type = base ? PyType_FromSpecWithBases(&putting_spec, base) : NULL;
    PyObject *file = type ? PyObject_CallNoArgs(type) : NULL;
    if (file != NULL) {
        lines_of(file, (PyTypeObject *)type)->puts = true;
        if (PyObject_SetAttrString(file, "put", put) < 0) {
            Py_CLEAR(file);
        }
    }
    Py_XDECREF(base);
    Py_XDECREF(type);
    return file;
}

/* To an int or a callable. */
static PyObject *
lines_new(PyObject *io, PyObject *target, const char *name)
{
    int fd = PyLong_Check(target) ? PyLong_AsInt(target) : 0;
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *file = PyLong_Check(target) ? writing_new(io, fd) : putting_new(io, target);
    PyObject *text = file ? PyUnicode_FromString(name) : NULL;
    if (text == NULL || PyObject_SetAttrString(file, "name", text) < 0) {
        Py_CLEAR(file);
    }
    Py_XDECREF(text);
    return file;
}

static PyObject *
stream_new(PyObject *target, const char *name, PyObject *encoding, PyObject *errors)
{
    PyObject *io = PyImport_ImportModule("_io");
    PyObject *file = io ? lines_new(io, target, name) : NULL;
    PyObject *type = file ? PyObject_GetAttrString(io, "TextIOWrapper") : NULL;
    PyObject *stream = NULL;
    if (type != NULL) { /* each write goes through at once: lines are made here */
        stream =
            PyObject_CallFunction(type, "OOOsOO", file, encoding, errors, "\n", Py_False, Py_True);
    }
    PyObject *mode = stream ? PyUnicode_FromString("w") : NULL;
    if (stream != NULL && (mode == NULL || PyObject_SetAttrString(stream, "mode", mode) < 0)) {
        Py_CLEAR(stream);
    }
    Py_XDECREF(io);
    Py_XDECREF(file);
    Py_XDECREF(type);
    Py_XDECREF(mode);
    return stream;
}

PyObject *
isles__lines_stream(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *name;
    PyObject *target, *encoding, *errors;
    return PyArg_ParseTuple(args, "OsUU:_stream", &target, &name, &encoding, &errors)
               ? stream_new(target, name, encoding, errors)
               : NULL;
}

/* With the encoding and the errors of the one before. */
static PyObject *
stream_like(PyObject *before, int fd, const char *name)
{
    PyObject *target = PyLong_FromLong(fd);
    PyObject *encoding = target ? PyObject_GetAttrString(before, "encoding") : NULL;
    PyObject *errors = encoding ? PyObject_GetAttrString(before, "errors") : NULL;
    PyObject *stream = errors ? stream_new(target, name, encoding, errors) : NULL;
    Py_XDECREF(target);
    Py_XDECREF(encoding);
    Py_XDECREF(errors);
    return stream;
}

static int
install(int fd, const char *name, const char *first_name, const char *shown)
{
    PyObject *before = PySys_GetObject(name); /* borrowed */
    if (before == NULL || before == Py_None) {
        return 0; /* the process has none */
    }
    PyObject *stream = stream_like(before, fd, shown);
    if (stream == NULL) {
        return -1;
    }
    int result = PySys_SetObject(first_name, stream);
    result = result < 0 ? -1 : PySys_SetObject(name, stream);
    Py_DECREF(stream);
    return result;
}

int
isles__lines_install(void)
{
    int result = install(1, "stdout", "__stdout__", "<stdout>");
    return result < 0 ? -1 : install(2, "stderr", "__stderr__", "<stderr>");
}
