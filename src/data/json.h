/*
 * The part of JSON that a safetensors header is made of: objects, strings, arrays of whole numbers.
 *
 * A header has a fixed form, so its reader asks for what must come next, and nothing is ever nested
 * deeper than that form: there is no stack to overflow. The first thing that is not as it should be
 * stays as the error; from then on every question is answered with failure.
 */
#ifndef NABLA_SRC_JSON_H
#define NABLA_SRC_JSON_H

#include <nabla/base.h>

typedef struct nbi_json {
    const char *start, *at, *end;
    char *scratch;     /* room for end - start bytes: decoded strings are never longer */
    const char *error; /* NULL: none yet */
} nbi_json;

typedef struct nbi_json_text {
    const char *text; /* decoded, ended by NUL, UTF-8; valid until the scratch is used again */
    size_t size;
    const char *raw; /* in the input, behind the opening quote */
    size_t raw_size;
} nbi_json_text;

/* Notes the first error; false, for returning it. */
bool nbi_json_fail(nbi_json *j, const char *error);
/* Skips white space and takes the character c; else an error. */
bool nbi_json_take(nbi_json *j, char c);
/* Whether the next thing is the character c; takes nothing. */
bool nbi_json_next(nbi_json *j, char c);
/* A string, decoded to the scratch's start + offset. */
bool nbi_json_string(nbi_json *j, size_t offset, nbi_json_text *s);
/* A whole number, not negative, below 2^63. */
bool nbi_json_number(nbi_json *j, int64_t *value);

/* The members of an object or the elements of an array, between `open` and `close`:
 *     for (bool more = nbi_json_open(j, '{', '}'); more; more = nbi_json_more(j, '}')) ...
 * End by looking at j->error. */
bool nbi_json_open(nbi_json *j, char open, char close);
bool nbi_json_more(nbi_json *j, char close);

#endif
