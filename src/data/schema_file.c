/*
 * Schemas: what can be asked of them, and their form in files.
 *
 * A schema is saved as what it describes, a small table of text:
 *
 *     "nabla schema", version, separator, header, missing, fill, target, label, classes, dtype, rows,
 *                     columns
 *     name, kind, fill, levels, level, level, ...          for each column of the file
 *
 * with every number whole: enumerations by their value, and doubles by their bits, in which no digit
 * can be lost.
 */
#include "data/schema.h"

#include "base/reason.h"
#include "data/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- asking ---------------------------------------------------------------------------------- */

int64_t nb_schema_columns(const nb_schema *s) { return s ? s->features : 0; }
int64_t nb_schema_classes(const nb_schema *s) { return s ? s->classes : 0; }
int64_t nb_schema_rows(const nb_schema *s) { return s ? s->rows : 0; }

/* The column of feature k, or -1. */
static int64_t column_of(const nb_schema *s, int64_t k)
{
    if (!s || k < 0 || k >= s->features)
        return -1;
    int64_t j = 0;
    while (k || !nbi_is_feature(s, j))
        k -= nbi_is_feature(s, j++);
    return j;
}

const char *nb_schema_name(const nb_schema *s, int64_t k)
{
    const int64_t j = column_of(s, k);
    return j < 0 ? NULL : s->name[j];
}

int64_t nb_schema_levels(const nb_schema *s, int64_t k)
{
    const int64_t j = column_of(s, k);
    return j < 0 ? 0 : (int64_t)s->column[j].levels.count;
}

static const char *level_of(const nb_schema *s, int64_t j, int64_t level)
{
    if (j < 0 || level < 0 || level >= (int64_t)s->column[j].levels.count)
        return NULL;
    return s->column[j].levels.name[level];
}

const char *nb_schema_level(const nb_schema *s, int64_t k, int64_t level)
{
    return level_of(s, column_of(s, k), level);
}

const char *nb_schema_class(const nb_schema *s, int64_t label)
{
    return s ? level_of(s, s->o.label, label) : NULL;
}

/* ---- saving ---------------------------------------------------------------------------------- */

enum { FIELDS = 12, FIRST_LEVEL = 4, SCHEMA_VERSION = 1 };
static const char title[] = "nabla schema", key_end[] = "schema";

static void put_whole(nbi_text *t, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)v);
    nbi_csv_put(t, text);
}

static void put_double(nbi_text *t, double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_whole(t, bits);
}

static void print(const nb_schema *s, nbi_text *t)
{
    nbi_csv_put(t, title);
    const int64_t head[] = {SCHEMA_VERSION, s->o.separator, s->header, s->o.missing};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        put_whole(t, head[i]);
    put_double(t, s->o.fill);
    const int64_t tail[] = {s->o.target, s->o.label, s->classes, s->o.dtype, s->rows, s->count};
    for (size_t i = 0; i < sizeof tail / sizeof *tail; i++)
        put_whole(t, tail[i]);
    for (int64_t j = 0; j < s->count; j++) {
        nbi_text_bytes(t, "\n", 1);
        nbi_csv_put(t, s->name[j]);
        put_whole(t, s->column[j].kind);
        put_double(t, s->column[j].fill);
        put_whole(t, (int64_t)s->column[j].levels.count);
        for (size_t i = 0; i < s->column[j].levels.count; i++)
            nbi_csv_put(t, s->column[j].levels.name[i]);
    }
}

static nb_code make_key(const char *prefix, char key[240], nb_reason *why)
{
    const int n = snprintf(key, 240, "%s%s", prefix ? prefix : "", key_end);
    return n < 240 ? NB_OK : nbi_because(why, NB_ERR_ARGUMENT, "schema: the prefix is too long");
}

nb_code nb_schema_put(const nb_schema *s, const char *prefix, nb_file *f, nb_reason *why)
{
    char key[240];
    if (!s || !f)
        return nbi_because(why, NB_ERR_ARGUMENT, "schema: no schema or no file");
    nb_code code = make_key(prefix, key, why);
    if (code)
        return code;
    nbi_heap heap = s->heap;
    nbi_text t = nbi_text_on(&heap);
    print(s, &t);
    code = t.failed ? NB_ERR_MEMORY : nb_file_put_text(f, key, t.data);
    nbi_text_free(&t);
    return code ? nbi_because(why, code, "schema: it could not be put: %s", nb_code_text(code))
                : code;
}

/* ---- loading --------------------------------------------------------------------------------- */

/* A whole number in field i, from low to high. */
static bool take(const nbi_csv *c, size_t i, int64_t low, int64_t high, int64_t *v)
{
    char end;
    long long x;
    if (i >= c->count || sscanf(nbi_csv_field(c, i), "%lld%c", &x, &end) != 1)
        return false;
    *v = x;
    return x >= low && x <= high;
}

static bool take_double(const nbi_csv *c, size_t i, double *v)
{
    int64_t bits;
    if (!take(c, i, INT64_MIN, INT64_MAX, &bits))
        return false;
    memcpy(v, &bits, sizeof bits);
    return isfinite(*v);
}

static bool take_head(nb_schema *s, const nbi_csv *c, int64_t *columns)
{
    int64_t separator, header, missing, target, dtype, version;
    const bool good = c->count == FIELDS && !strcmp(nbi_csv_field(c, 0), title) &&
                      take(c, 1, SCHEMA_VERSION, SCHEMA_VERSION, &version) &&
                      take(c, 2, 1, 127, &separator) && take(c, 3, 0, 1, &header) &&
                      take(c, 4, 0, NB_MISSING_VALUE, &missing) && take_double(c, 5, &s->o.fill) &&
                      take(c, 6, 0, NB_TARGET_NONE, &target) &&
                      take(c, 7, -1, INT32_MAX, &s->o.label) &&
                      take(c, 8, 0, INT32_MAX, &s->classes) && take(c, 9, 0, NB_F32, &dtype) &&
                      take(c, 10, 0, INT64_MAX, &s->rows) && take(c, 11, 1, INT32_MAX, columns);
    if (!good)
        return false;
    s->o.separator = (char)separator;
    s->header = header;
    s->o.missing = (nb_missing)missing;
    s->o.target = (nb_target)target;
    s->o.dtype = (nb_dtype)dtype;
    s->o.classes = s->classes;
    return true;
}

/* The text is in memory: reading it fails only if it is broken, or if there is no memory. */
static nb_code broken(nb_code code, nb_reason *why)
{
    if (code == NB_ERR_MEMORY)
        return nbi_because(why, code, "schema: no memory");
    return nbi_because(why, NB_ERR_FORMAT, "schema: its text in the file is broken");
}

static nb_code take_column(nb_schema *s, const nbi_csv *c, int64_t j, nb_reason *why)
{
    int64_t kind, levels;
    nbi_column *k = &s->column[j];
    if (c->count < FIRST_LEVEL || !take(c, 1, NB_KIND_NUMBER, NB_KIND_SKIP, &kind) ||
        !take_double(c, 2, &k->fill) || !take(c, 3, 0, INT32_MAX, &levels) ||
        (int64_t)c->count != FIRST_LEVEL + levels || (levels && kind != NB_KIND_CATEGORY))
        return broken(NB_OK, why);
    k->kind = (nb_kind)kind;
    nb_code code = nbi_schema_name(s, j, nbi_csv_field(c, 0), why);
    for (int64_t i = 0; i < levels && !code; i++) {
        const char *text = nbi_csv_field(c, (size_t)(FIRST_LEVEL + i));
        const int64_t level = nbi_names_add(&k->levels, text, strlen(text));
        if (level != i || !*text) /* an empty field is a missing value, never a level */
            code = broken(level < 0 ? NB_ERR_MEMORY : NB_OK, why);
    }
    return code;
}

static nb_code count_records(nbi_csv *c, int64_t *count)
{
    nb_code code = NB_OK;
    bool any = true;
    for (*count = 0; any && !code; *count += any)
        code = nbi_csv_next(c, &any, NULL);
    nbi_csv_rewind(c);
    return code;
}

static nb_code take_all(nb_schema *s, nbi_csv *c, nb_reason *why)
{
    bool any = false;
    int64_t records, columns;
    nb_code code = count_records(c, &records);
    if (!code)
        code = nbi_csv_next(c, &any, NULL);
    if (code || !any || !take_head(s, c, &columns) || columns != records - 1 ||
        s->o.label >= columns || (s->o.label < 0) != (s->o.target == NB_TARGET_NONE))
        return broken(code, why);
    s->count = columns;
    code = nbi_schema_columns(s, why);
    for (int64_t j = 0; j < columns && !code; j++) {
        code = nbi_csv_next(c, &any, NULL);
        code = code ? broken(code, why) : take_column(s, c, j, why);
    }
    const nbi_column *label = code || s->o.label < 0 ? NULL : &s->column[s->o.label];
    if (label && (label->kind == NB_KIND_SKIP || s->classes < (int64_t)label->levels.count))
        code = broken(NB_OK, why);
    return code ? code : nbi_schema_finish(s, why);
}

nb_code nb_schema_get(const nb_file *f, const char *prefix, const nb_allocator *allocator,
                      nb_schema **out, nb_reason *why)
{
    char key[240];
    if (!f || !out)
        return nbi_because(why, NB_ERR_ARGUMENT, "schema: no file, or nowhere to put it");
    *out = NULL;
    nb_code code = make_key(prefix, key, why);
    const char *text = code ? NULL : nb_file_text(f, key);
    if (code || !text)
        return code ? code
                    : nbi_because(why, NB_ERR_FORMAT, "schema: the file has no \"%.120s\"", key);
    nb_schema *s;
    code = nbi_schema_new(allocator, &s, why);
    if (code)
        return code;
    nbi_input in;
    nbi_input_memory(&in, text, strlen(text));
    nbi_csv c = nbi_csv_on(&in, &s->heap, "schema", ',');
    code = take_all(s, &c, why);
    nbi_csv_free(&c);
    if (code)
        nb_schema_free(s);
    else
        *out = s;
    return code;
}
