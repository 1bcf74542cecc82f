/*
 * Learning a schema from a file, in one pass.
 *
 * The first value of a column decides what it is, unless the caller did; whatever does not fit that is
 * an error with its place, because one slip of a pen must not turn a column of numbers into one of
 * categories. What is kept grows with the number of columns and categories, not with the file: names,
 * levels with tallies, and running means, m += (x - m) / n.
 */
#include "data/schema.h"

#include "base/reason.h"
#include "data/file.h"

#include <math.h>
#include <string.h>

static nb_code no_memory(nb_reason *why)
{
    return nbi_because(why, NB_ERR_MEMORY, "csv: no memory for the columns");
}

/* ---- making and freeing ---------------------------------------------------------------------- */

nb_code nbi_schema_new(const nb_allocator *allocator, nb_schema **out, nb_reason *why)
{
    nbi_heap heap;
    nbi_heap_init(&heap, allocator, 0);
    nb_schema *s = *out = nbi_resize(&heap, NULL, 0, sizeof *s);
    if (!s)
        return no_memory(why);
    *s = (nb_schema){.heap = heap, .allocator = heap.allocator, .o.label = -1};
    nbi_arena_init(&s->texts, &s->heap, 1024);
    return NB_OK;
}

nb_code nbi_schema_columns(nb_schema *s, nb_reason *why)
{
    const size_t n = (size_t)s->count;
    s->column = nbi_resize(&s->heap, NULL, 0, n * sizeof *s->column);
    if (!s->column)
        return no_memory(why);
    memset(s->column, 0, n * sizeof *s->column);
    for (size_t j = 0; j < n; j++)
        nbi_names_init(&s->column[j].levels, &s->heap);
    s->name = nbi_resize(&s->heap, NULL, 0, n * sizeof *s->name);
    if (!s->name)
        return no_memory(why);
    for (size_t j = 0; j < n; j++)
        s->name[j] = "";
    return NB_OK;
}

void nb_schema_free(nb_schema *s)
{
    if (!s)
        return;
    const size_t n = (size_t)s->count;
    for (size_t j = 0; s->column && j < n; j++) {
        nbi_names_free(&s->column[j].levels);
        nbi_resize(&s->heap, s->column[j].tally, s->column[j].room * sizeof(int64_t), 0);
    }
    nbi_resize(&s->heap, s->column, s->column ? n * sizeof *s->column : 0, 0);
    nbi_resize(&s->heap, s->name, s->name ? n * sizeof *s->name : 0, 0);
    nbi_resize(&s->heap, s->levels, s->levels ? (size_t)(s->features + 1) * sizeof *s->levels : 0,
               0);
    nbi_arena_free(&s->texts);
    nbi_heap heap = s->heap;
    nbi_resize(&heap, s, sizeof *s, 0);
}

nb_code nbi_schema_name(nb_schema *s, int64_t j, const char *name, nb_reason *why)
{
    const size_t size = strlen(name) + 1;
    char *copy = nbi_take(&s->texts, size, 1);
    if (!copy)
        return no_memory(why);
    s->name[j] = memcpy(copy, name, size);
    return NB_OK;
}

nb_code nbi_schema_finish(nb_schema *s, nb_reason *why)
{
    for (int64_t j = 0; j < s->count; j++)
        s->features += nbi_is_feature(s, j);
    s->levels = nbi_resize(&s->heap, NULL, 0, (size_t)(s->features + 1) * sizeof *s->levels);
    if (!s->levels)
        return no_memory(why);
    for (int64_t j = 0, k = 0; j < s->count; j++)
        if (nbi_is_feature(s, j))
            s->levels[k++] = (int64_t)s->column[j].levels.count;
    return NB_OK;
}

/* ---- fields ---------------------------------------------------------------------------------- */

nb_code nbi_at_field(const nbi_csv *c, const nb_schema *s, int64_t j, nb_code code,
                     const char *what, const char *field, nb_reason *why)
{
    return nbi_because(why, code, "%.80s: line %lld, column %lld%s%.30s%s: %s%s%.40s%s", c->name,
                       (long long)c->record, (long long)(j + 1), *s->name[j] ? " (" : "",
                       s->name[j], *s->name[j] ? ")" : "", what, field ? " \"" : "",
                       field ? field : "", field ? "\"" : "");
}

nb_code nbi_field_number(const nbi_csv *c, const nb_schema *s, int64_t j, size_t field,
                         bool *missing, double *value, nb_reason *why)
{
    const char *text = nbi_csv_field(c, field);
    const nbi_value kind = nbi_csv_value(text, value);
    *missing = kind == NBI_MISSING;
    if (kind == NBI_MISSING && (s->o.missing == NB_MISSING_ERROR || j == s->o.label)) {
        const char *seen = text + strspn(text, " \t");
        const bool nan =
            seen[0] && strpbrk(seen, "nN") && seen[1] && strpbrk(seen, "aA") && seen[2];
        return nbi_at_field(c, s, j, nan ? NB_ERR_ANOMALY : NB_ERR_FORMAT,
                            nan ? "NaN in the data" : "a missing value", *seen ? text : NULL, why);
    }
    if (*missing || s->column[j].kind == NB_KIND_CATEGORY)
        return NB_OK;
    if (kind == NBI_INFINITE)
        return nbi_at_field(c, s, j, NB_ERR_ANOMALY, "a number that is not finite:", text, why);
    if (kind == NBI_TEXT)
        return nbi_at_field(c, s, j, NB_ERR_FORMAT, "a number was expected, found", text, why);
    if (j == s->o.label && s->o.target == NB_TARGET_CLASS) {
        if (*value < 0 || *value != floor(*value))
            return nbi_at_field(c, s, j, NB_ERR_INDEX,
                                "a class is a whole number from 0 (or declare a category), not",
                                text, why);
        if (*value >= (s->o.classes ? (double)s->o.classes : (double)INT32_MAX))
            return nbi_at_field(c, s, j, NB_ERR_INDEX, "a label out of range:", text, why);
    }
    return NB_OK;
}

bool nbi_drops_row(const nbi_csv *c, const nb_schema *s, bool has_label)
{
    double v;
    if (s->o.missing != NB_MISSING_DROP)
        return false;
    size_t field = 0;
    for (int64_t j = 0; j < s->count; j++) {
        if (j == s->o.label && !has_label)
            continue;
        if (s->column[j].kind != NB_KIND_SKIP &&
            nbi_csv_value(nbi_csv_field(c, field), &v) == NBI_MISSING)
            return true;
        field++;
    }
    return false;
}

/* ---- learning -------------------------------------------------------------------------------- */

static nb_code count_level(nb_schema *s, nbi_column *k, int64_t level, nb_reason *why)
{
    if ((size_t)level >= k->room) {
        const size_t room = k->room ? 2 * k->room : 16;
        int64_t *p = nbi_resize(&s->heap, k->tally, k->room * sizeof *p, room * sizeof *p);
        if (!p)
            return no_memory(why);
        memset(p + k->room, 0, (room - k->room) * sizeof *p);
        k->tally = p;
        k->room = room;
    }
    k->tally[level]++;
    return NB_OK;
}

static nb_code learn_field(nb_schema *s, const nbi_csv *c, int64_t j, nb_reason *why)
{
    nbi_column *k = &s->column[j];
    const char *text = nbi_csv_field(c, (size_t)j);
    double value = 0;
    bool missing;
    if (k->kind == NB_KIND_GUESS) {
        const nbi_value first = nbi_csv_value(text, &value);
        if (first != NBI_MISSING)
            k->kind = first == NBI_TEXT ? NB_KIND_CATEGORY : NB_KIND_NUMBER;
    }
    nb_code code = nbi_field_number(c, s, j, (size_t)j, &missing, &value, why);
    if (code || missing)
        return code;
    k->met++;
    if (k->kind == NB_KIND_NUMBER) {
        k->fill += (value - k->fill) / (double)k->met;
        if (j == s->o.label && s->o.target == NB_TARGET_CLASS && (int64_t)value >= s->classes)
            s->classes = (int64_t)value + 1;
        return NB_OK;
    }
    if (!nbi_is_utf8(text, strlen(text)))
        return nbi_at_field(c, s, j, NB_ERR_FORMAT, "text that is not UTF-8", NULL, why);
    const int64_t level = nbi_names_add(&k->levels, text, strlen(text));
    return level < 0 ? no_memory(why) : count_level(s, k, level, why);
}

static nb_code learn_record(nb_schema *s, const nbi_csv *c, nb_reason *why)
{
    nb_code code = NB_OK;
    if ((int64_t)c->count != s->count)
        return nbi_because(why, NB_ERR_FORMAT,
                           "%.120s: line %lld has %lld fields, the first has %lld", c->name,
                           (long long)c->record, (long long)c->count, (long long)s->count);
    if (nbi_drops_row(c, s, true))
        return NB_OK;
    for (int64_t j = 0; j < s->count && !code; j++)
        if (s->column[j].kind != NB_KIND_SKIP)
            code = learn_field(s, c, j, why);
    s->rows++;
    return code;
}

/* The level met most often, the first in order of ties. */
static const char *most_frequent(const nbi_column *k)
{
    size_t best = 0;
    for (size_t i = 1; i < k->levels.count; i++)
        if (k->tally[i] > k->tally[best] ||
            (k->tally[i] == k->tally[best] && strcmp(k->levels.name[i], k->levels.name[best]) < 0))
            best = i;
    return k->levels.name[best];
}

/* Everything has been seen: fills, sorted levels, classes. */
static nb_code conclude(nb_schema *s, nb_reason *why)
{
    for (int64_t j = 0; j < s->count; j++) {
        nbi_column *k = &s->column[j];
        if (k->kind == NB_KIND_GUESS)
            k->kind = NB_KIND_NUMBER; /* all missing */
        if (k->kind == NB_KIND_NUMBER && (s->o.missing == NB_MISSING_VALUE || !k->met))
            k->fill = s->o.missing == NB_MISSING_VALUE ? s->o.fill : 0;
        if (k->kind != NB_KIND_CATEGORY || !k->levels.count)
            continue;
        const char *text = most_frequent(k);
        if (!nbi_names_sort(&k->levels))
            return no_memory(why);
        k->fill = (double)nbi_names_find(&k->levels, text, strlen(text));
    }
    const int64_t label = s->o.label;
    if (label >= 0 && s->column[label].kind == NB_KIND_CATEGORY)
        s->classes = (int64_t)s->column[label].levels.count;
    if (label >= 0 && s->o.classes > s->classes && s->o.target == NB_TARGET_CLASS)
        s->classes = s->o.classes;
    return nbi_schema_finish(s, why);
}

/* ---- the first lines ------------------------------------------------------------------------- */

static bool any_number(const nbi_csv *c)
{
    double v;
    for (size_t j = 0; j < c->count; j++) {
        const nbi_value k = nbi_csv_value(nbi_csv_field(c, j), &v);
        if (k == NBI_FINITE || k == NBI_INFINITE)
            return true;
    }
    return false;
}

static bool any_missing(const nbi_csv *c)
{
    double v;
    for (size_t j = 0; j < c->count; j++)
        if (nbi_csv_value(nbi_csv_field(c, j), &v) == NBI_MISSING)
            return true;
    return false;
}

/* Columns and header from the first two records; the input is left at the first row of data. */
static nb_code start(nb_schema *s, nbi_csv *c, nb_reason *why)
{
    bool any;
    nbi_csv_rewind(c);
    nb_code code = nbi_csv_next(c, &any, why);
    if (code)
        return code;
    if (!any)
        return nbi_because(why, NB_ERR_EMPTY, "%.150s: the file has no rows", c->name);
    s->count = (int64_t)c->count;
    s->header = s->o.header == NB_HEADER_YES;
    if (s->o.header == NB_HEADER_GUESS && !any_number(c) && !any_missing(c)) {
        code = nbi_csv_next(c, &any, why);
        s->header = !code && any && any_number(c);
        nbi_csv_rewind(c);
        if (!code)
            code = nbi_csv_next(c, &any, why);
    }
    if (!code)
        code = nbi_schema_columns(s, why);
    for (int64_t j = 0; s->header && j < s->count && !code; j++) {
        const char *name = nbi_csv_field(c, (size_t)j);
        code = nbi_is_utf8(name, strlen(name))
                   ? nbi_schema_name(s, j, name, why)
                   : nbi_because(why, NB_ERR_FORMAT, "%.120s: the name of column %lld is not UTF-8",
                                 c->name, (long long)(j + 1));
    }
    if (!s->header)
        nbi_csv_rewind(c);
    return code;
}

static nb_code apply_options(nb_schema *s, const nb_csv_options *o, const char *path,
                             nb_reason *why)
{
    if (o->kind && o->kinds != s->count)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "%.120s: %lld kinds were given, it has %lld columns", path,
                           (long long)o->kinds, (long long)s->count);
    for (int64_t j = 0; o->kind && j < s->count; j++)
        s->column[j].kind = o->kind[j];
    s->o.label = -1;
    if (o->target == NB_TARGET_NONE)
        return NB_OK;
    const int64_t label = o->label > 0 ? o->label - 1 : s->count - (o->label ? -o->label : 1);
    if (label < 0 || label >= s->count)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "%.120s: label column %lld, but it has %lld columns", path,
                           (long long)o->label, (long long)s->count);
    if (s->column[label].kind == NB_KIND_SKIP)
        return nbi_because(why, NB_ERR_ARGUMENT, "%.120s: the label's column cannot be skipped",
                           path);
    if (o->target == NB_TARGET_NUMBER)
        s->column[label].kind = NB_KIND_NUMBER;
    s->o.label = label;
    return NB_OK;
}

static nb_code scan_file(nb_schema *s, nbi_csv *c, const nb_csv_options *o, nb_reason *why)
{
    bool any = true;
    nb_code code = start(s, c, why);
    if (!code)
        code = apply_options(s, o, c->name, why);
    while (!code && any) {
        code = nbi_csv_next(c, &any, why);
        if (!code && any)
            code = learn_record(s, c, why);
    }
    if (!code && !s->rows)
        return nbi_because(why, NB_ERR_EMPTY, "%.150s: the file has no rows", c->name);
    if (!code)
        code = conclude(s, why);
    if (!code && !nb_schema_columns(s))
        return nbi_because(why, NB_ERR_EMPTY, "%.150s: no column is left for features", c->name);
    return code;
}

nb_code nb_csv_scan(const char *path, const nb_csv_options *options, nb_schema **out,
                    nb_reason *why)
{
    static const nb_csv_options defaults = {0};
    const nb_csv_options *o = options ? options : &defaults;
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "csv: nowhere to put the schema");
    *out = NULL;
    if (strchr("\"\r\n", o->separator) && o->separator)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "csv: quotes and line breaks cannot separate fields");
    nb_schema *s;
    nbi_input in;
    nb_code code = nbi_schema_new(o->allocator, &s, why);
    if (code)
        return code;
    s->o = *o;
    s->o.kind = NULL;
    s->o.allocator = NULL;
    s->o.separator = o->separator ? o->separator : ',';
    code = nbi_input_open(&in, &s->heap, path, why);
    if (!code) {
        nbi_csv c = nbi_csv_on(&in, &s->heap, path, s->o.separator);
        code = scan_file(s, &c, o, why);
        nbi_csv_free(&c);
        nbi_input_close(&in);
    }
    if (code)
        nb_schema_free(s);
    else
        *out = s;
    return code;
}
