/* What the files of the stock share: how its interpreters are made.
 *
 * stock.c keeps them, stock_plan.c says how they are to be, stock_make.c makes them. */
#ifndef ISLES_BINDING_STOCK_PARTS_H
#define ISLES_BINDING_STOCK_PARTS_H

#include <stdbool.h>
#include <string.h>

#include "../core/digest.h"
#include "../core/message.h"
#include "stock.h"

/* How an interpreter of the stock is made.  Does not change once the stock has it. */
struct isles_plan {
    int refs;                     /* the stock's lock */
    struct isles_message setting; /* as isles__gate_create has it */
    struct isles_message modules;
    struct isles_buffer path, rules; /* what is in the setting, to compare */
};

static inline bool
isles__stock_same(const struct isles_buffer *a, const struct isles_buffer *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* Of a message that holds builtin values only.  0 or ISLES_NO_MEMORY. */
static inline int
isles__stock_copy(struct isles_message *to, const struct isles_message *from)
{
    to->stream_at = from->stream_at;
    return isles_buffer_append(&to->bytes, from->bytes.data, from->bytes.size);
}

/* ---- stock_plan.c ---- */

/* One that makes what a create() with these rules would make now, with these modules imported (a
 * list of names; NULL: none yet), with one reference; NULL with an exception. */
struct isles_plan *isles__plan_new(const struct isles_state *state, PyObject *rules,
                                   PyObject *modules);

/* Under the stock's lock: NULL, or what isles__plan_free(), which takes NULL too, is to free after
 * it. */
struct isles_plan *isles__plan_unref(struct isles_plan *plan);
void isles__plan_free(struct isles_plan *plan);

/* What `path` and `rules` of a plan would be now: appends the strings of sys.path, which without
 * memory is a shorter one that fits nothing; and rules, 0 or -1 for what can't be compared. */
void isles__plan_add_path(struct isles_buffer *buffer);
int isles__plan_add_rules(struct isles_buffer *buffer, PyObject *rules);

/* What else of the process a new interpreter takes over: the environment, and what its standard
 * streams are. */
struct isles_digest isles__plan_world(void);

/* ---- stock_make.c ---- */

enum { ISLES_IMPORT_FAILED = 1 }; /* beside the statuses */

/* 0 with a shelved interpreter; ISLES_IMPORT_FAILED with a description as failures.h has it in
 * `error`, or a status with perhaps *why.  Any thread. */
int isles__stock_make(const struct isles_plan *plan, struct isles_interp **out,
                      struct isles_message *error, const char **why);

/* The same on the caller's thread, that is, with its priority; NULL with an exception. */
struct isles_interp *isles__stock_make_first(const struct isles_state *state,
                                             const struct isles_plan *plan);

#endif
