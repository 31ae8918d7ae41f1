#define _GNU_SOURCE /* environ */

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "create.h"
#include "stock_parts.h"

/* With one reference; NULL without memory. */
static struct isles_plan *
plan_empty(void)
{
    struct isles_plan *new = malloc(sizeof(*new));
    if (new != NULL) {
        new->refs = 1;
        isles_message_init(&new->setting);
        isles_message_init(&new->modules);
        isles_buffer_init(&new->path);
        isles_buffer_init(&new->rules);
    }
    return new;
}

void
isles__plan_free(struct isles_plan *old)
{
    if (old != NULL) {
        isles_message_fini(&old->setting);
        isles_message_fini(&old->modules);
        isles_buffer_fini(&old->path);
        isles_buffer_fini(&old->rules);
        free(old);
    }
}

struct isles_plan *
isles__plan_unref(struct isles_plan *old)
{
    return old != NULL && --old->refs == 0 ? old : NULL;
}

/* 0, or -1 if it is no str, or without memory.  Messages would not do: how one is written depends
 * on who else refers to an object. */
static int
add_text(struct isles_buffer *buffer, PyObject *text)
{
    if (!PyUnicode_CheckExact(text)) {
        return -1;
    }
    Py_ssize_t head[] = {PyUnicode_KIND(text), PyUnicode_GET_LENGTH(text)};
    return isles_buffer_append(buffer, head, sizeof(head)) < 0
                   || isles_buffer_append(buffer, PyUnicode_DATA(text), head[0] * head[1]) < 0
               ? -1
               : 0;
}

void
isles__plan_add_path(struct isles_buffer *buffer)
{
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    for (Py_ssize_t i = 0; path && PyList_Check(path) && i < PyList_GET_SIZE(path); i++) {
        (void)add_text(buffer, PyList_GET_ITEM(path, i));
    }
}

int
isles__plan_add_rules(struct isles_buffer *buffer, PyObject *rules)
{
    PyObject *name, *mode;
    int result = isles_buffer_append(buffer, rules == Py_None ? "0" : "1", 1);
    for (Py_ssize_t i = 0;
         rules != Py_None && result == 0 && PyDict_Next(rules, &i, &name, &mode);) {
        result = add_text(buffer, name) < 0 || add_text(buffer, mode) < 0 ? -1 : 0;
    }
    return result;
}

struct isles_digest
isles__plan_world(void)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        isles_digest_update(&digester, *entry, strlen(*entry) + 1);
    }
    for (int fd = 0; fd <= 2; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0) {
            isles_digest_update(&digester, &status.st_dev, sizeof(status.st_dev));
            isles_digest_update(&digester, &status.st_ino, sizeof(status.st_ino));
        }
    }
    return isles_digest_final(&digester);
}

struct isles_plan *
isles__plan_new(const struct isles_state *state, PyObject *rules, PyObject *modules)
{
    struct isles_local *local = isles__local(state->here);
    struct isles_plan *new = local ? plan_empty() : NULL;
    if (new == NULL) {
        return (struct isles_plan *)(local ? PyErr_NoMemory() : NULL);
    }
    isles__plan_add_path(&new->path);
    if (isles__plan_add_rules(&new->rules, rules) < 0) {
        PyErr_NoMemory();
    } else if (isles__put_setting(state, rules, &new->setting) == 0
               && (modules == NULL
                   || isles__encode(state, local, &new->modules, modules, "preload") == 0)) {
        return new;
    }
    isles__plan_free(new);
    return NULL;
}
