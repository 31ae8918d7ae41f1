#include "calls.h"

#include <marshal.h>

#include "codec.h"
#include "errors.h"
#include "failures.h"
#include "gate.h"
#include "interrupts.h"
#include "signals.h"
#include "sources.h"

enum job_kind {
    JOB_CALL,   /* cargo, and the arguments in `in` */
    JOB_SOURCE, /* text */
    JOB_CODE,   /* text: a marshalled code object */
    JOB_BIND,   /* a dict in `in` */
};

enum job_outcome {
    RETURNED,    /* `out` holds the result */
    RAISED,      /* `out` holds the description of the exception; empty: no memory for one */
    INTERRUPTED, /* by a signal handler's exception: signals.h */
    UNSHAREABLE, /* `out` holds the text: the result can't travel */
};

/* What goes in and what comes out.  `text` and the cargo belong to the sender, who is suspended on
 * this thread while the other side reads them. */
struct job {
    enum job_kind kind;
    struct isles_cargo cargo;
    const char *text;
    Py_ssize_t text_size;
    enum isles_call_kind call;
    struct isles_message in;
    enum job_outcome outcome;
    struct isles_message out;
    struct isles_pass pass; /* open as long as an interruption is an exception like any other */
};

/* exec and eval take their globals from the calling frame, and here is none: __main__'s, then. */
static bool
wants_globals(PyObject *callable)
{
    if (!PyCFunction_CheckExact(callable)) {
        return false;
    }
    const PyMethodDef *method = ((PyCFunctionObject *)callable)->m_ml;
    PyObject *self = PyCFunction_GET_SELF(callable);
    bool named = strcmp(method->ml_name, "exec") == 0 || strcmp(method->ml_name, "eval") == 0;
    const char *module = named && self && PyModule_Check(self) ? PyModule_GetName(self) : NULL;
    return module != NULL && strcmp(module, "builtins") == 0;
}

/* The callable itself goes before its arguments. */
static PyObject *
call_chunk(struct isles_args *args, PyObject *callable)
{
    PyObject *tasks = isles__import("isles._tasks");
    PyObject *run_chunk = tasks ? PyObject_GetAttrString(tasks, "run_chunk") : NULL;
    PyObject *result = NULL;
    if (run_chunk != NULL) {
        args->values[-1] = callable;
        result =
            PyObject_Vectorcall(run_chunk, args->values - 1, args->positional + 1, args->names);
    }
    Py_XDECREF(tasks);
    Py_XDECREF(run_chunk);
    return result;
}

static PyObject *
call_with_args(struct isles_local *local, const struct job *job, PyObject *callable)
{
    struct isles_contents contents = isles_message_contents(&job->in);
    struct isles_args args;
    if (isles__decode_args(local, &contents, &args) < 0) {
        return NULL;
    }
    if (args.positional == 1 && args.keywords == 0 && wants_globals(callable)) {
        args.values[args.positional++] = Py_NewRef(PyModule_GetDict(local->main_module));
    }
    PyObject *result =
        job->call == ISLES_CALL_CHUNK
            ? call_chunk(&args, callable)
            : PyObject_Vectorcall(callable, args.values,
                                  args.positional | PY_VECTORCALL_ARGUMENTS_OFFSET, args.names);
    isles__args_fini(&args);
    return result;
}

/* ---- in the other interpreter ---- */

static PyObject *
do_call(struct isles_local *local, const struct job *job)
{
    PyObject *callable = isles__function_unpack(local, &job->cargo);
    if (callable == NULL) {
        return NULL;
    }
    PyObject *result = job->in.bytes.size == 0 ? PyObject_CallNoArgs(callable)
                                               : call_with_args(local, job, callable);
    Py_DECREF(callable);
    return result;
}

static PyObject *
do_exec(struct isles_local *local, const struct job *job)
{
    PyObject *code = job->kind == JOB_SOURCE
                         ? isles__sources_code(local, job->text, job->text_size)
                         : PyMarshal_ReadObjectFromString(job->text, job->text_size);
    if (code == NULL) {
        return NULL;
    }
    PyObject *globals = PyModule_GetDict(local->main_module);
    PyObject *result = PyEval_EvalCode(code, globals, globals);
    Py_DECREF(code);
    return result;
}

static PyObject *
do_bind(struct isles_local *local, const struct job *job)
{
    struct isles_contents contents = isles_message_contents(&job->in);
    PyObject *items = isles__decode(local, &contents);
    int result = items ? PyDict_Update(PyModule_GetDict(local->main_module), items) : -1;
    Py_XDECREF(items);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
perform(struct isles_local *local, const struct job *job)
{
    switch (job->kind) {
    case JOB_CALL:
        return do_call(local, job);
    case JOB_BIND:
        return do_bind(local, job);
    default:
        return do_exec(local, job);
    }
}

static void
put_failure(struct isles_local *local, struct job *job)
{
    job->outcome = RAISED;
    job->pass.open = false;
    isles_message_reset(&job->out);
    bool carry = job->call == ISLES_CALL_TASK || job->call == ISLES_CALL_CHUNK;
    PyObject *failure = isles__describe_failure(local ? local->sources : NULL, carry);
    if (failure == NULL || isles__encode(NULL, local, &job->out, failure, "failure") < 0) {
        isles_message_reset(&job->out);
        PyErr_Clear();
    }
    Py_XDECREF(failure);
}

static void
put_unshareable(struct isles_local *local, struct job *job)
{
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
        put_failure(local, job);
        return;
    }
    job->pass.open = false;
    PyObject *error = PyErr_GetRaisedException();
    PyObject *text = isles__message_of(error);
    Py_DECREF(error);
    job->outcome = UNSHAREABLE;
    isles_message_reset(&job->out);
    if (text == NULL || isles__encode(NULL, local, &job->out, text, "text") < 0) {
        PyErr_Clear(); /* an empty message stands for: no memory */
    }
    Py_XDECREF(text);
}

static void
do_job(struct isles_interp *interp, struct job *job)
{
    struct isles_local *local = isles__local(interp);
    PyObject *result = local ? perform(local, job) : NULL;
    if (result == NULL) {
        if (interp->id == 0) {
            isles__signals_keep(); /* on its way from main to main */
        }
        put_failure(local, job);
        return;
    }
    job->outcome = RETURNED;
    PyObject *wanted = job->call == ISLES_CALL_DISCARD ? Py_None : result;
    if (isles__encode(NULL, local, &job->out, wanted, "result") < 0) {
        put_unshareable(local, job);
    }
    Py_DECREF(result);
}

/* A handler's exception may have struck anywhere: in the work, while its result was encoded or its
 * failure described.  Only work that came to its end has dealt with it. */
static void
inside(struct isles_interp *interp, struct job *job)
{
    job->pass.open = true;
    do_job(interp, job);
    job->pass.open = false;
    if (job->outcome != RETURNED && isles__signals_interrupted()) {
        job->outcome = INTERRUPTED;
    }
}

/* ---- back again ---- */

/* What a signal handler raised, carried here through the other interpreter. */
static PyObject *
raise_interruption(const struct isles_state *state)
{
    PyObject *error = state->here->id == 0 ? isles__signals_take() : NULL;
    if (error != NULL) {
        PyErr_SetRaisedException(error);
    } else { /* further on the way to main */
        PyErr_SetNone(PyExc_KeyboardInterrupt);
    }
    return NULL;
}

static PyObject *
outcome(struct isles_state *state, struct job *job)
{
    if (job->outcome == INTERRUPTED) {
        return raise_interruption(state);
    }
    if (state->here->id == 0 && isles__signals_interrupted()) {
        Py_XDECREF(isles__signals_take()); /* the code inside caught it: it is dealt with */
    }
    if (job->out.bytes.size == 0) {
        return PyErr_NoMemory();
    }
    struct isles_contents contents = isles_message_contents(&job->out);
    struct isles_local *local = isles__local(state->here);
    PyObject *detail = local ? isles__decode(local, &contents) : NULL;
    if (job->outcome == RETURNED) {
        return detail;
    }
    if (detail != NULL && job->outcome == RAISED) {
        isles__raise_failure(state, detail);
    } else if (detail != NULL) {
        PyErr_Format(state->not_shareable, "the result can't come back: %U", detail);
    }
    Py_XDECREF(detail);
    return NULL;
}

static void
job_init(struct job *job, enum job_kind kind)
{
    job->kind = kind;
    job->cargo.owner = NULL;
    job->call = kind == JOB_CALL ? ISLES_CALL : ISLES_CALL_DISCARD;
    isles_message_init(&job->in);
    isles_message_init(&job->out);
}

static void
job_fini(struct job *job)
{
    isles_message_fini(&job->in);
    isles_message_fini(&job->out);
    Py_XDECREF(job->cargo.owner);
}

/* Does the job and gives everything back. */
static PyObject *
run(struct isles_state *state, struct isles_interp *interp, struct job *job)
{
    PyObject *result = NULL;
    int status = isles__gate_enter(&job->pass, interp);
    if (status < 0) {
        isles__raise_status(state, status, interp->id);
    } else {
        inside(interp, job);
        isles__gate_leave(&job->pass);
        result = outcome(state, job);
        if (isles__interrupts_due()) {
            /* What is called from here ended, in whatever way; this was meant for us. */
            Py_CLEAR(result);
            PyErr_Clear();
            if (isles__interrupts_check() == 0) { /* swallowed by a finalizer, just now */
                PyErr_SetNone(PyExc_KeyboardInterrupt);
            }
        }
    }
    job_fini(job);
    return result;
}

PyObject *
isles__call(struct isles_state *state, struct isles_interp *interp, PyObject *callable,
            PyObject *const *args, Py_ssize_t count, PyObject *kwnames, enum isles_call_kind kind)
{
    struct job job;
    job_init(&job, JOB_CALL);
    job.call = kind;
    bool any = count > 0 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0);
    if (isles__function_pack(state, callable, &job.cargo) < 0) {
        return NULL;
    }
    struct isles_local *local = any ? isles__local(state->here) : NULL;
    if (any
        && (local == NULL || isles__encode_args(state, local, &job.in, args, count, kwnames) < 0)) {
        job_fini(&job);
        return NULL;
    }
    return run(state, interp, &job);
}

static PyObject *
exec_source(struct isles_state *state, struct isles_interp *interp, PyObject *source)
{
    struct job job;
    job_init(&job, JOB_SOURCE);
    job.text = PyUnicode_AsUTF8AndSize(source, &job.text_size);
    return job.text ? run(state, interp, &job) : NULL;
}

static PyObject *
exec_code(struct isles_state *state, struct isles_interp *interp, PyObject *code)
{
    Py_ssize_t free_variables = PyCode_GetNumFree((PyCodeObject *)code);
    if (free_variables > 0) { /* CPython would read cells that are not there */
        return PyErr_Format(PyExc_TypeError, "code may not have free variables, this has %zd",
                            free_variables);
    }
    struct job job;
    job_init(&job, JOB_CODE);
    PyObject *bytes = PyMarshal_WriteObjectToString(code, Py_MARSHAL_VERSION);
    if (bytes == NULL) {
        return NULL;
    }
    job.cargo.owner = bytes;
    job.text = PyBytes_AS_STRING(bytes);
    job.text_size = PyBytes_GET_SIZE(bytes);
    return run(state, interp, &job);
}

PyObject *
isles__exec(struct isles_state *state, struct isles_interp *interp, PyObject *code)
{
    if (PyUnicode_Check(code)) {
        return exec_source(state, interp, code);
    }
    if (PyCode_Check(code)) {
        return exec_code(state, interp, code);
    }
    if (PyFunction_Check(code)) {
        return isles__call(state, interp, code, NULL, 0, NULL, ISLES_CALL_DISCARD);
    }
    return PyErr_Format(PyExc_TypeError,
                        "code must be a str, a code object or a function without arguments, not %T",
                        code);
}

/* A mapping from str as a dict. */
static PyObject *
as_dict(PyObject *mapping)
{
    if (!PyObject_HasAttrString(mapping, "keys")) {
        return PyErr_Format(PyExc_TypeError, "names and values come in a mapping, not %T", mapping);
    }
    PyObject *dict = PyDict_New();
    if (dict == NULL || PyDict_Update(dict, mapping) < 0) {
        Py_XDECREF(dict);
        return NULL;
    }
    PyObject *key;
    for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, NULL);) {
        if (!PyUnicode_Check(key)) {
            PyErr_Format(PyExc_TypeError, "a name in __main__ must be a str, not %T", key);
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

PyObject *
isles__bind(struct isles_state *state, struct isles_interp *interp, PyObject *mapping)
{
    struct job job;
    job_init(&job, JOB_BIND);
    PyObject *items = as_dict(mapping);
    struct isles_local *local = items ? isles__local(state->here) : NULL;
    int encoded = local ? isles__encode(state, local, &job.in, items, "ns") : -1;
    Py_XDECREF(items);
    if (encoded < 0) {
        job_fini(&job);
        return NULL;
    }
    return run(state, interp, &job);
}
