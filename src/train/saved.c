/*
 * Models in files.
 *
 * What belongs to a model is a list of tensors, whose data are the model's own arrays: each parameter
 * and each statistic by its name, and what optimizer and average keep of each parameter. The same list
 * is put into a file and restored from one, so what is written and what is read cannot drift apart; and
 * nb_file_restore compares the whole list before it copies anything, which makes loading all or nothing.
 *
 * Counters have to be looked at before they are believed. So they are restored first, to variables of our own,
 * and handed on when the list has gone through, which from then on cannot fail. Batches are the
 * exception, as a reader may break down while it is wound forward; they come before the list, and go
 * back if that fails.
 *
 * Names that have a slash after one of the words below are not parameters'; any other tensor in the file must
 * be one, or the file belongs to another model.
 */
#include "train/saved.h"

#include "base/memory.h"
#include "base/reason.h"
#include "data/file.h"
#include "nn/model.h"
#include "train/owner.h"

#include <stdio.h>
#include <string.h>

static const char *const words[] = {"statistics/", "optim/",  "average/", "batches/",
                                    "prep/",       "schema/", "fit/"};
enum { WORDS = sizeof words / sizeof *words, NAME = 320 };

typedef struct list {
    nbi_heap heap;
    nbi_arena names;
    nb_file_entry *entry;
    size_t count, room;
    nb_code code;
} list;

/* Beside the arrays. The types are the file's. */
typedef struct counters {
    int64_t optim_steps, average_count, batches_at[2]; /* epoch, batch */
    nb_rng batches_start;
} counters;

/* ---- the list -------------------------------------------------------------------------------- */

static void list_start(list *l, const nb_allocator *a)
{
    *l = (list){.code = NB_OK};
    nbi_heap_init(&l->heap, a, 0);
    nbi_arena_init(&l->names, &l->heap, 1024);
}

static void list_free(list *l)
{
    nbi_arena_free(&l->names);
    nbi_resize(&l->heap, l->entry, l->room * sizeof *l->entry, 0);
}

/* word + middle + name */
static void add(list *l, const char *word, const char *middle, const char *name, nb_type type,
                nb_shape shape, void *data)
{
    const size_t size = strlen(word) + strlen(middle) + strlen(name) + 1;
    char *text = nbi_take(&l->names, size, 1);
    if (l->count == l->room) {
        const size_t more = l->room ? 2 * l->room : 16;
        void *p = more < SIZE_MAX / sizeof *l->entry / 2
                      ? nbi_resize(&l->heap, l->entry, l->room * sizeof *l->entry,
                                   more * sizeof *l->entry)
                      : NULL;
        l->entry = p ? p : l->entry;
        l->room = p ? more : l->room;
    }
    if (!text || l->count == l->room) {
        l->code = NB_ERR_MEMORY;
        return;
    }
    snprintf(text, size, "%s%s%s", word, middle, name);
    l->entry[l->count++] = (nb_file_entry){text, type, shape, data};
}

/* Parameter by parameter, the stretches of an array that stands beside their values. */
static void add_beside(list *l, nb_params *p, const char *word, const char *middle, nb_type type,
                       void *array)
{
    for (int32_t i = 0; i < nb_params_count(p); i++) {
        const nb_param_info info = nb_params_info(p, i);
        add(l, word, middle, info.name, type, info.shape,
            (char *)array + (size_t)info.offset * nb_type_size(type));
    }
}

static void add_arrays(list *l, const nb_saved *s)
{
    nb_params *p = s->params;
    const nb_type type = (nb_type)nb_params_dtype(p);
    add_beside(l, p, "", "", type, nb_params_values(p));
    for (int32_t i = 0; i < nb_params_statistic_count(p); i++) {
        const nb_param_info info = nb_params_statistic_info(p, i);
        add(l, "statistics/", "", info.name, NB_T_F64, info.shape,
            nb_params_statistics(p) + info.offset);
    }
    for (int32_t k = 0; k < nb_optim_states(s->optim); k++) {
        const char *name;
        char middle[NAME];
        void *state = nb_optim_state(s->optim, k, &name);
        snprintf(middle, sizeof middle, "%.300s/", name);
        add_beside(l, p, "optim/", middle, type, state);
    }
    if (s->average)
        add_beside(l, p, "average/", "", NB_T_F64, nb_average_data(s->average));
}

static void add_counters(list *l, const nb_saved *s, counters *c)
{
    if (s->optim)
        add(l, "optim/", "", "steps", NB_T_I64, NB_POINT, &c->optim_steps);
    if (s->average)
        add(l, "average/", "", "count", NB_T_I64, NB_POINT, &c->average_count);
    if (s->batches) {
        add(l, "batches/", "", "at", NB_T_I64, NB_SHAPE(2), c->batches_at);
        add(l, "batches/", "", "start", NB_T_U64, NB_SHAPE(4), c->batches_start.s);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static bool is_apart(const char *name)
{
    for (int k = 0; k < WORDS; k++)
        if (!strncmp(name, words[k], strlen(words[k])))
            return true;
    return false;
}

static const nb_allocator *allocator_of(const nb_saved *s)
{
    return s && s->params ? &s->params->allocator : NULL;
}

static nb_code check(const nb_saved *s, const char *who, nb_reason *why)
{
    if (!s || !s->params)
        return nbi_because(why, NB_ERR_ARGUMENT, "%s: there are no parameters", who);
    const nb_params *p = s->params;
    if (nb_params_status(p) != NB_OK)
        return nbi_because(why, nb_params_status(p), "%s: %s", who, nb_params_message(p));
    for (int32_t i = 0; i < nb_params_count(p); i++)
        if (is_apart(nb_params_info(p, i).name))
            return nbi_because(why, NB_ERR_ARGUMENT,
                               "%s: parameter \"%.80s\" has a name that the file keeps for others",
                               who, nb_params_info(p, i).name);
    if ((s->optim && nbi_optim_params(s->optim) != p) ||
        (s->average && nbi_average_params(s->average) != p))
        return nbi_because(why, NB_ERR_ARGUMENT, "%s: the %s is that of other parameters", who,
                           s->optim && nbi_optim_params(s->optim) != p ? "optimizer" : "average");
    for (int32_t k = 0; k < nb_optim_states(s->optim); k++)
        if (!nb_optim_state(s->optim, k, NULL))
            return nbi_because(why, NB_ERR_ARGUMENT,
                               "%s: the optimizer's state has been taken for something else", who);
    return NB_OK;
}

/* A tensor of the file that ought to be a parameter of the model, and is not. */
static nb_code check_strangers(const nb_params *p, const nb_file *f, nb_reason *why)
{
    for (size_t i = 0; i < nb_file_count(f); i++) {
        const char *name = nb_file_at(f, i)->name;
        if (!is_apart(name) && nb_params_find(p, name) == NB_NO_PARAM)
            return nbi_because(why, NB_ERR_FORMAT,
                               "load: the file has a parameter \"%.80s\", the model has none",
                               name);
    }
    return NB_OK;
}

static nb_code check_texts(const nb_saved *s, const nb_file *f, nb_reason *why)
{
    const char *version = nb_file_text(f, "model.version"), *rule = nb_file_text(f, "optim.rule");
    if (version && strcmp(version, "1"))
        return nbi_because(why, NB_ERR_FORMAT, "load: the model's version is %.20s, not 1",
                           version);
    if (s->optim && rule && strcmp(rule, nb_optim_name(s->optim)))
        return nbi_because(why, NB_ERR_FORMAT,
                           "load: the file's optimizer is %.60s, the one at hand %.60s", rule,
                           nb_optim_name(s->optim));
    return NB_OK;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static counters counters_of(const nb_saved *s)
{
    const nb_batch_state b = nb_batches_state(s->batches);
    return (counters){.optim_steps = nb_optim_steps(s->optim),
                      .average_count = nb_average_count(s->average),
                      .batches_at = {b.epoch, b.batch},
                      .batches_start = b.start};
}

nb_code nbi_saved_put(const nb_saved *s, nb_file *f, nb_reason *why)
{
    nb_code code = check(s, "save", why);
    if (code)
        return code;
    list arrays, numbers;
    list_start(&arrays, &s->params->allocator);
    list_start(&numbers, &s->params->allocator);
    counters c = counters_of(s);
    add_arrays(&arrays, s);
    add_counters(&numbers, s, &c);
    nb_file_put_text(f, "model.version", "1");
    if (s->optim)
        nb_file_put_text(f, "optim.rule", nb_optim_name(s->optim));
    for (size_t i = 0; i < arrays.count; i++)
        nb_file_put(f, &arrays.entry[i]);
    for (size_t i = 0; i < numbers.count; i++)
        nb_file_put_copy(f, &numbers.entry[i]);
    if (arrays.code || numbers.code)
        code = nbi_because(why, NB_ERR_MEMORY, "save: no memory for the list of tensors");
    else if (f->code)
        code = nbi_because(why, f->code, "save: %s", f->why.text);
    if (!code && s->prep)
        code = nb_prep_put(s->prep, "prep/", f, why);
    if (!code && s->schema)
        code = nb_schema_put(s->schema, "schema/", f, why);
    list_free(&arrays);
    list_free(&numbers);
    return code;
}

nb_code nb_save(const nb_saved *s, const char *path, nb_reason *why)
{
    nb_file *f = nb_file_new(allocator_of(s));
    nb_code code =
        f ? nbi_saved_put(s, f, why) : nbi_because(why, NB_ERR_MEMORY, "save: no memory");
    if (!code)
        code = nb_file_save(f, path, why);
    nb_file_free(f);
    return code;
}

/* ---- loading --------------------------------------------------------------------------------- */

static nb_code take_made(nb_saved *s, const nb_file *f, nb_reason *why)
{
    const nb_allocator *a = &s->params->allocator;
    nb_code code = NB_OK;
    s->prep = NULL;
    s->schema = NULL;
    if (nb_file_text(f, "prep/prep"))
        code = nb_prep_get(f, "prep/", a, &s->prep, why);
    if (!code && nb_file_text(f, "schema/schema"))
        code = nb_schema_get(f, "schema/", a, &s->schema, why);
    return code;
}

static nb_code take_counters(const nb_saved *s, const nb_file *f, counters *c, nb_reason *why)
{
    list numbers;
    list_start(&numbers, &s->params->allocator);
    add_counters(&numbers, s, c);
    nb_code code = numbers.code ? nbi_because(why, NB_ERR_MEMORY, "load: no memory")
                                : nb_file_restore(f, numbers.count, numbers.entry, false, why);
    list_free(&numbers);
    if (!code && (c->optim_steps < 0 || c->optim_steps > (int64_t)1 << 52 || c->average_count < 0))
        code = nbi_because(why, NB_ERR_FORMAT, "load: %lld steps, %lld averaged: broken counters",
                           (long long)c->optim_steps, (long long)c->average_count);
    return code;
}

static nb_code take_arrays(nb_saved *s, const nb_file *f, const counters *c, nb_reason *why)
{
    const nb_batch_state before = nb_batches_state(s->batches);
    list arrays;
    list_start(&arrays, &s->params->allocator);
    add_arrays(&arrays, s);
    nb_code code =
        arrays.code ? nbi_because(why, NB_ERR_MEMORY, "load: no memory for the list") : NB_OK;
    if (!code && s->batches)
        code = nb_batches_restore(
            s->batches, &(nb_batch_state){c->batches_start, c->batches_at[0], c->batches_at[1]},
            why);
    if (!code) {
        code = nb_file_restore(f, arrays.count, arrays.entry, false, why);
        if (code && s->batches)
            nb_batches_restore(s->batches, &before, NULL);
    }
    list_free(&arrays);
    return code;
}

nb_code nbi_saved_take(nb_saved *s, const nb_file *f, nb_reason *why)
{
    counters c = {0};
    nb_saved made = *s;
    nb_code code = check(s, "load", why);
    if (!code)
        code = check_texts(s, f, why);
    if (!code)
        code = check_strangers(s->params, f, why);
    if (!code)
        code = take_counters(s, f, &c, why);
    if (code)
        return code;
    code = take_made(&made, f, why);
    if (!code)
        code = take_arrays(s, f, &c, why);
    if (code) {
        nb_prep_free(made.prep);
        nb_schema_free(made.schema);
        return code;
    }
    if (s->optim)
        nb_optim_set_steps(s->optim, c.optim_steps, NULL);
    if (s->average)
        nb_average_set_count(s->average, c.average_count, NULL);
    *s = made;
    return NB_OK;
}

nb_code nb_load(nb_saved *s, const char *path, nb_reason *why)
{
    nb_code code = check(s, "load", why);
    nb_file *f = NULL;
    if (!code)
        code = nb_file_load(path, &s->params->allocator, &f, why);
    if (!code)
        code = nbi_saved_take(s, f, why);
    nb_file_free(f);
    return code;
}
