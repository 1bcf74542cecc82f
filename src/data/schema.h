/*
 * What the columns of a table in a text file mean.
 *
 * A column of the file is left out, or becomes a feature, or is the label. Numbers stand for
 * themselves; a category's number is its place among the levels, in ascending order of bytes.
 */
#ifndef NABLA_SRC_SCHEMA_H
#define NABLA_SRC_SCHEMA_H

#include "data/csv.h"
#include "data/dataset.h"
#include "data/names.h"

typedef struct nbi_column {
    nb_kind kind;
    double fill; /* where a value is missing: a number or a code */
    nbi_names levels;
    int64_t *tally; /* while learning: how often each level was met; [room] */
    size_t room;
    int64_t met; /* values that were not missing */
} nbi_column;

struct nb_schema {
    nbi_heap heap;
    nb_allocator allocator;
    nb_csv_options o; /* without its pointers; label is a place from 0, or -1 */
    bool header;
    int64_t rows, classes;
    int64_t count; /* columns of the file */
    int64_t features;
    int64_t *levels;    /* [features] */
    nbi_column *column; /* [count] */
    nbi_arena texts;
    const char **name; /* [count], "" without header */
};

nb_code nbi_schema_new(const nb_allocator *allocator, nb_schema **out, nb_reason *why);
/* count is set: room for so many columns. */
nb_code nbi_schema_columns(nb_schema *s, nb_reason *why);
nb_code nbi_schema_name(nb_schema *s, int64_t j, const char *name, nb_reason *why);
/* Kinds and levels are known: the features, and their levels. */
nb_code nbi_schema_finish(nb_schema *s, nb_reason *why);

static inline bool nbi_is_feature(const nb_schema *s, int64_t j)
{
    return s->column[j].kind != NB_KIND_SKIP && j != s->o.label;
}

/* An error at column j of the present record. */
nb_code nbi_at_field(const nbi_csv *c, const nb_schema *s, int64_t j, nb_code code,
                     const char *what, const char *field, nb_reason *why);
/* A number, a code's text aside, or an error. *missing: then it is not set. */
nb_code nbi_field_number(const nbi_csv *c, const nb_schema *s, int64_t j, size_t field,
                         bool *missing, double *value, nb_reason *why);
/* Whether the present record leaves its row out, since a value is missing. Field k is that of column
 * k, or k + 1 from the label on, if there is none. */
bool nbi_drops_row(const nbi_csv *c, const nb_schema *s, bool has_label);

#endif
