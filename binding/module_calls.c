#include "calls.h"
#include "module_parts.h"

PyDoc_STRVAR(run_string_doc,
             "run_string(id, script, /)\n--\n\n"
             "Run a str in the interpreter's __main__.  Raises RunFailedError, with the type, the\n"
             "message and the formatted traceback in its excinfo.");

static PyObject *
run_string(PyObject *module, PyObject *args)
{
    PyObject *object, *script;
    if (!PyArg_ParseTuple(args, "OU:run_string", &object, &script)) {
        return NULL;
    }
    struct isles_interp *interp = isles__interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *result = isles__exec(isles__state_of_module(module), interp, script);
    isles_interp_unref(interp);
    return result;
}

PyDoc_STRVAR(exec_doc, "exec(id, code, /)\n--\n\n"
                       "Run a str, a code object or a function without arguments; see\n"
                       "isles.Interpreter.exec().");

static PyObject *
exec_code(PyObject *module, PyObject *args)
{
    PyObject *object, *code;
    if (!PyArg_ParseTuple(args, "OO:exec", &object, &code)) {
        return NULL;
    }
    struct isles_interp *interp = isles__interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *result = isles__exec(isles__state_of_module(module), interp, code);
    isles_interp_unref(interp);
    return result;
}

PyDoc_STRVAR(run_func_doc,
             "run_func(id, callable, /)\n--\n\n"
             "Call a callable without arguments in the interpreter; its result is dropped.  It\n"
             "travels pickled, or marshalled if it is a code object.  Raises RunFailedError.");

static PyObject *
run_func(PyObject *module, PyObject *args)
{
    PyObject *object, *callable;
    if (!PyArg_ParseTuple(args, "OO:run_func", &object, &callable)) {
        return NULL;
    }
    if (!PyCallable_Check(callable) && !PyCode_Check(callable)) {
        return PyErr_Format(PyExc_TypeError, "run_func() needs a callable, not %T", callable);
    }
    struct isles_interp *interp = isles__interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    struct isles_state *state = isles__state_of_module(module);
    PyObject *result = PyCode_Check(callable) ? isles__exec(state, interp, callable)
                                              : isles__call(state, interp, callable, NULL, 0, NULL,
                                                            ISLES_CALL_DISCARD);
    isles_interp_unref(interp);
    return result;
}

/* A tuple of the positional values followed by those of `keywords`, and their names. */
static PyObject *
flatten(PyObject *positional, PyObject *keywords, PyObject **names)
{
    PyObject *keys = keywords ? PyDict_Keys(keywords) : PyList_New(0);
    PyObject *values = keywords ? PyDict_Values(keywords) : PyList_New(0);
    PyObject *list = PySequence_List(positional);
    PyObject *all = NULL;
    if (keys && values && list && (*names = PyList_AsTuple(keys)) != NULL) {
        PyObject *joined = PySequence_InPlaceConcat(list, values);
        all = joined ? PySequence_Tuple(joined) : NULL;
        Py_XDECREF(joined);
    }
    Py_XDECREF(keys);
    Py_XDECREF(values);
    Py_XDECREF(list);
    return all;
}

PyDoc_STRVAR(call_doc,
             "call(id, callable, args=(), kwargs={}, /)\n--\n\n"
             "Call the object and return a copy of its result; see isles.Interpreter.call().");

static PyObject *
call(PyObject *module, PyObject *args)
{
    PyObject *object, *callable, *positional = NULL, *keywords = NULL, *names = NULL;
    if (!PyArg_ParseTuple(args, "OO|OO!:call", &object, &callable, &positional, &PyDict_Type,
                          &keywords)) {
        return NULL;
    }
    struct isles_interp *interp = isles__interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *none = PyTuple_New(0), *result = NULL;
    PyObject *values = none ? flatten(positional ? positional : none, keywords, &names) : NULL;
    if (values != NULL) {
        Py_ssize_t count = PyTuple_GET_SIZE(values) - PyTuple_GET_SIZE(names);
        PyObject *const *items = &PyTuple_GET_ITEM(values, 0);
        result = isles__call(isles__state_of_module(module), interp, callable, items, count, names,
                             ISLES_CALL);
    }
    Py_XDECREF(none);
    Py_XDECREF(names);
    Py_XDECREF(values);
    isles_interp_unref(interp);
    return result;
}

PyDoc_STRVAR(set_main_doc, "set___main___attrs(id, mapping, /)\n--\n\n"
                           "Bind the items of a mapping from str in the interpreter's __main__.");

static PyObject *
set_main_attrs(PyObject *module, PyObject *args)
{
    PyObject *object, *mapping;
    if (!PyArg_ParseTuple(args, "OO:set___main___attrs", &object, &mapping)) {
        return NULL;
    }
    struct isles_interp *interp = isles__interp_argument(module, object);
    if (interp == NULL) {
        return NULL;
    }
    PyObject *result = isles__bind(isles__state_of_module(module), interp, mapping);
    isles_interp_unref(interp);
    return result;
}

PyMethodDef isles__call_functions[] = {
    {"run_string", run_string, METH_VARARGS, run_string_doc},
    {"run_func", run_func, METH_VARARGS, run_func_doc},
    {"exec", exec_code, METH_VARARGS, exec_doc},
    {"call", call, METH_VARARGS, call_doc},
    {"set___main___attrs", set_main_attrs, METH_VARARGS, set_main_doc},
    {NULL, NULL, 0, NULL},
};
