/*
 * Records of separated text: fields, and numbers in them.
 *
 * A record is a line, or several if a quoted field holds line breaks. Its fields are copied, unquoted,
 * to one text, each ended by NUL.
 */
#ifndef NABLA_SRC_CSV_H
#define NABLA_SRC_CSV_H

#include "data/input.h"
#include "data/text.h"

typedef struct nbi_csv {
    nbi_input *in;
    const char *name; /* of the input, for messages */
    char separator;
    int64_t line;   /* of the next byte, from 1 */
    int64_t record; /* the line that the present record began on */
    nbi_text text;
    size_t *start; /* [count] offsets of fields in the text */
    size_t count, room;
} nbi_csv;

nbi_csv nbi_csv_on(nbi_input *in, nbi_heap *heap, const char *name, char separator);
void nbi_csv_free(nbi_csv *c);
/* Back to the first record, behind a byte order mark if there is one. */
void nbi_csv_rewind(nbi_csv *c);
/* The next record that is not blank; *any is false at the end. */
nb_code nbi_csv_next(nbi_csv *c, bool *any, nb_reason *why);
static inline const char *nbi_csv_field(const nbi_csv *c, size_t i)
{
    return c->text.data + c->start[i];
}

/* A field, quoted, with a separator before it unless it is the first of a line. */
void nbi_csv_put(nbi_text *t, const char *field);

typedef enum nbi_value { NBI_TEXT, NBI_MISSING, NBI_FINITE, NBI_INFINITE } nbi_value;

/* What a field is; for NBI_FINITE the number too. */
nbi_value nbi_csv_value(const char *field, double *value);

#endif
