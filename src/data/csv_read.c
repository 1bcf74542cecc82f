/*
 * Reading rows of a table in a text file by a schema.
 *
 * Field f of a record belongs to column f of the schema, or, in a file without the label's column, to
 * column f + 1 from there on. A row goes to the block as a whole or not at all.
 */
#include "data/schema.h"

#include "base/reason.h"

#include <string.h>

typedef struct csv_reader {
    nb_reader r;
    const nb_schema *s;
    nbi_input in;
    nbi_csv c;
    bool has_label, header; /* of this file */
} csv_reader;

static nb_code read_level(const csv_reader *r, int64_t j, size_t field, double *value,
                          nb_reason *why)
{
    const char *text = nbi_csv_field(&r->c, field);
    const int64_t level = nbi_names_find(&r->s->column[j].levels, text, strlen(text));
    *value = (double)level;
    return level >= 0
               ? NB_OK
               : nbi_at_field(&r->c, r->s, j, NB_ERR_INDEX,
                              j == r->s->o.label ? "an unknown class" : "an unknown category", text,
                              why);
}

static nb_code read_field(const csv_reader *r, int64_t j, size_t field, double *value,
                          nb_reason *why)
{
    bool missing;
    const nbi_column *k = &r->s->column[j];
    nb_code code = nbi_field_number(&r->c, r->s, j, field, &missing, value, why);
    if (code)
        return code;
    if (missing)
        *value = k->fill;
    else if (k->kind == NB_KIND_CATEGORY)
        return read_level(r, j, field, value, why);
    if (j == r->s->o.label && r->s->o.target == NB_TARGET_CLASS && *value >= (double)r->s->classes)
        return nbi_at_field(&r->c, r->s, j, NB_ERR_INDEX,
                            "a label out of range:", nbi_csv_field(&r->c, field), why);
    return NB_OK;
}

static nb_code read_row(const csv_reader *r, nbi_table *t, nb_reason *why)
{
    const nb_schema *s = r->s;
    const int64_t row = t->d.rows, expected = s->count - (s->o.label >= 0 && !r->has_label);
    nb_code code = NB_OK;
    if ((int64_t)r->c.count != expected)
        return nbi_because(why, NB_ERR_FORMAT, "%.120s: line %lld has %lld fields, not %lld",
                           r->c.name, (long long)r->c.record, (long long)r->c.count,
                           (long long)expected);
    if (nbi_drops_row(&r->c, s, r->has_label))
        return NB_OK;
    size_t field = 0;
    for (int64_t j = 0, k = 0; j < s->count && !code; j++) {
        double v = 0;
        if (j == s->o.label && !r->has_label)
            continue;
        if (s->column[j].kind != NB_KIND_SKIP)
            code = read_field(r, j, field, &v, why);
        field++;
        if (code || s->column[j].kind == NB_KIND_SKIP)
            continue;
        if (j != s->o.label)
            nbi_set_element(t->d.dtype, t->x, row * s->features + k++, v);
        else if (s->o.target == NB_TARGET_CLASS)
            t->label[row] = (int64_t)v;
        else
            nbi_set_element(t->d.dtype, t->y, row, v);
    }
    t->d.rows += !code;
    return code;
}

static nb_code more(nb_reader *reader, nbi_table *t, int64_t most, nb_reason *why)
{
    csv_reader *r = (csv_reader *)reader;
    const int64_t end = t->d.rows + most;
    nb_code code = NB_OK;
    for (bool any = true; any && !code && t->d.rows < end;) {
        code = nbi_csv_next(&r->c, &any, why);
        if (any && !code)
            code = read_row(r, t, why);
    }
    return code;
}

static void rewind_csv(nb_reader *reader)
{
    csv_reader *r = (csv_reader *)reader;
    bool any;
    nbi_csv_rewind(&r->c);
    if (r->header)
        nbi_csv_next(&r->c, &any, NULL); /* it has been read before */
}

static void destroy(nb_reader *reader)
{
    csv_reader *r = (csv_reader *)reader;
    nbi_csv_free(&r->c);
    nbi_input_close(&r->in);
}

/* Whether the present record could be this schema's header: the names of its columns, but for the
 * label's. */
static int64_t first_difference(const csv_reader *r)
{
    const nb_schema *s = r->s;
    size_t field = 0;
    for (int64_t j = 0; j < s->count; j++) {
        if (j == s->o.label && !r->has_label)
            continue;
        if (strcmp(s->name[j], nbi_csv_field(&r->c, field++)))
            return j;
    }
    return -1;
}

/* Looks at the first record: how many fields, and whether the names are the schema's. */
static nb_code look(csv_reader *r, nb_reason *why)
{
    const nb_schema *s = r->s;
    bool any;
    nbi_csv_rewind(&r->c);
    nb_code code = nbi_csv_next(&r->c, &any, why);
    if (code)
        return code;
    if (!any)
        return nbi_because(why, NB_ERR_EMPTY, "%.150s: the file has no rows", r->c.name);
    const int64_t fields = (int64_t)r->c.count;
    r->has_label = s->o.label >= 0 && fields == s->count;
    if (fields != s->count && (s->o.label < 0 || fields != s->count - 1))
        return nbi_because(
            why, NB_ERR_FORMAT, "%.120s: line %lld has %lld fields, the schema has %lld columns",
            r->c.name, (long long)r->c.record, (long long)fields, (long long)s->count);
    r->header = s->header;
    const int64_t j = s->header ? first_difference(r) : -1;
    if (j >= 0)
        return nbi_at_field(&r->c, s, j, NB_ERR_FORMAT, "the header has another name:",
                            nbi_csv_field(&r->c, (size_t)(j - (j > s->o.label && !r->has_label &&
                                                               s->o.label >= 0))),
                            why);
    return NB_OK;
}

nb_code nb_csv_open(const char *path, const nb_schema *s, nb_reader **out, nb_reason *why)
{
    if (out)
        *out = NULL;
    if (!s || !out)
        return nbi_because(why, NB_ERR_ARGUMENT, "csv: no schema, or nowhere to put the reader");
    nb_reader *reader;
    nb_code code = nbi_reader_new(sizeof(csv_reader), &s->allocator, &reader, why);
    if (code)
        return code;
    csv_reader *r = (csv_reader *)reader;
    code = nbi_input_open(&r->in, &reader->heap, path, why);
    if (code) {
        nb_reader_free(reader);
        return code;
    }
    r->s = s;
    r->c = nbi_csv_on(&r->in, &reader->heap, r->in.path, s->o.separator);
    reader->more = more;
    reader->rewind = rewind_csv;
    reader->destroy = destroy;
    code = look(r, why);
    const bool label = r->has_label && s->o.target == NB_TARGET_CLASS;
    const nb_dataset like = {.columns = s->features,
                             .dtype = s->o.dtype,
                             .classes = s->classes,
                             .targets = r->has_label && !label,
                             .levels = s->levels};
    if (!code)
        code = nbi_table_new(&like, label, 1, &reader->allocator, &reader->block, why);
    if (code) {
        nb_reader_free(reader);
        return code;
    }
    rewind_csv(reader);
    *out = reader;
    return NB_OK;
}

nb_code nb_csv_load(const char *path, const nb_schema *s, nb_dataset **out, nb_reason *why)
{
    nb_reader *r;
    if (out)
        *out = NULL;
    nb_code code = nb_csv_open(path, s, &r, why);
    if (!code)
        code = nb_reader_load(r, out, why);
    if (code == NB_ERR_EMPTY)
        nbi_because(why, code, "%.150s: the file has no rows", path);
    nb_reader_free(r);
    return code;
}
