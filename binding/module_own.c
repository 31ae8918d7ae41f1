#include "../core/os.h"
#include "exit.h"
#include "lines.h"
#include "loader.h"
#include "module_parts.h"
#include "stock.h"

PyDoc_STRVAR(extensions_doc,
             "The extension modules that are private copies in this interpreter, a\n"
             "dict of names and paths: isles/_extensions.py.");

static PyObject *
extensions(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return isles__loader_copies();
}

PyDoc_STRVAR(exit_doc, "_exit(grace, /)\n--\n\n"
                       "End every interpreter, at the exit of the process: isles/_exit.py.\n\n"
                       "grace: seconds (float) for what runs to finish by itself.");

static PyObject *
at_exit(PyObject *Py_UNUSED(module), PyObject *grace)
{
    double seconds = PyFloat_AsDouble(grace);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return isles__exit((int64_t)(seconds * 1e9));
}

PyDoc_STRVAR(stock_set_doc, "_stock_set(count, modules, rules, /)\n--\n\n"
                            "Set the warm stock: isles.warm().");

static PyObject *
stock_set(PyObject *module, PyObject *args)
{
    int count;
    PyObject *modules, *rules;
    if (!PyArg_ParseTuple(args, "iO!O:_stock_set", &count, &PyList_Type, &modules, &rules)) {
        return NULL;
    }
    if (isles__stock_set(isles__state_of_module(module), count, rules, modules) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stock_state_doc, "_stock_state()\n--\n\n"
                              "How many are ready, and whether there is more to do: isles.warm().");

static PyObject *
stock_state(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return isles__stock_state(isles__state_of_module(module));
}

PyDoc_STRVAR(stock_hold_doc, "_stock_hold()\n--\n\n"
                             "Have the thread of the stock pause, for a fork.");

static PyObject *
stock_hold(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    isles__stock_hold();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stock_release_doc, "_stock_release()\n--\n\n"
                                "Have it go on.");

static PyObject *
stock_release(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    isles__stock_release();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(name_thread_doc, "_name_thread(name, /)\n--\n\n"
                              "Name the calling thread for the system's tools (str).");

static PyObject *
name_thread(PyObject *Py_UNUSED(module), PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL) {
        return NULL;
    }
    isles_thread_set_name(text);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    stream_doc,
    "_stream(target, name, encoding, errors, /)\n--\n\n"
    "A text stream of whole lines: to a descriptor (an int), which it takes over if it is\n"
    "none of the standard ones, or to a callable, which is given a list of str.");

PyMethodDef isles__own_functions[] = {
    {"_extensions", extensions, METH_NOARGS, extensions_doc},
    {"_name_thread", name_thread, METH_O, name_thread_doc},
    {"_stream", isles__lines_stream, METH_VARARGS, stream_doc},
    {"_exit", at_exit, METH_O, exit_doc},
    {"_stock_set", stock_set, METH_VARARGS, stock_set_doc},
    {"_stock_state", stock_state, METH_NOARGS, stock_state_doc},
    {"_stock_hold", stock_hold, METH_NOARGS, stock_hold_doc},
    {"_stock_release", stock_release, METH_NOARGS, stock_release_doc},
    {NULL, NULL, 0, NULL},
};
