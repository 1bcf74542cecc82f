/*
 * Separated text, after RFC 4180.
 *
 *     record = field *(separator field) line-break            blank lines are no records
 *     field  = *(anything but separator, quote and line-break)
 *            | quote *(anything but quote | quote quote) quote
 *
 * Numbers are scanned here and not by strtod alone, which takes hexadecimal and follows the locale. Up
 * to 19 digits make a whole number m; where m < 2^53 and the power of ten is at most 10^22, both are
 * exact doubles, and so one multiplication or division rounds once, correctly. Other numbers, which are
 * rare in tables, go to strtod, with the locale's own decimal point.
 */
#include "data/csv.h"

#include "base/reason.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- records --------------------------------------------------------------------------------- */

nbi_csv nbi_csv_on(nbi_input *in, nbi_heap *heap, const char *name, char separator)
{
    return (nbi_csv){
        .in = in, .name = name, .separator = separator, .line = 1, .text = nbi_text_on(heap)};
}

void nbi_csv_free(nbi_csv *c)
{
    nbi_resize(c->text.heap, c->start, c->room * sizeof *c->start, 0);
    nbi_text_free(&c->text);
    c->start = NULL;
    c->count = c->room = 0;
}

void nbi_csv_rewind(nbi_csv *c)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    uint8_t first[3] = {0};
    if (c->in->fd < 0)
        c->in->at = 0;
    else
        nbi_input_seek(c->in, 0);
    c->line = 1;
    if (c->in->fd >= 0 && c->in->size >= 3 && !nbi_input_read(c->in, 0, 3, first, NULL) &&
        !memcmp(first, mark, 3))
        nbi_input_seek(c->in, 3);
}

static nb_code bad(const nbi_csv *c, int64_t line, nb_reason *why, const char *what)
{
    return nbi_because(why, NB_ERR_FORMAT, "%.120s: line %lld, field %lld: %s", c->name,
                       (long long)line, (long long)c->count, what);
}

static bool begin_field(nbi_csv *c)
{
    if (c->count == c->room) {
        const size_t room = c->room ? 2 * c->room : 64;
        size_t *start =
            nbi_resize(c->text.heap, c->start, c->room * sizeof *start, room * sizeof *start);
        if (!start)
            return false;
        c->start = start;
        c->room = room;
    }
    c->start[c->count++] = c->text.size;
    return true;
}

/* Behind the opening quote: up to the closing one. */
static nb_code take_quoted(nbi_csv *c, nb_reason *why)
{
    for (int b; (b = nbi_input_byte(c->in)) >= 0;) {
        const char byte = (char)b;
        if (b == '"') {
            if (nbi_input_peek(c->in) != '"')
                return NB_OK;
            nbi_input_byte(c->in);
        } else if (b == 0) {
            return bad(c, c->line, why, "a NUL byte: this is not text");
        }
        c->line += b == '\n';
        nbi_text_bytes(&c->text, &byte, 1);
    }
    return bad(c, c->record, why, "a quote that is never closed");
}

/* The field, up to what ends it: the separator, '\n', or -1 at the end of the input. */
static nb_code take_field(nbi_csv *c, int *end, nb_reason *why)
{
    bool quoted = nbi_input_peek(c->in) == '"';
    if (quoted) {
        nbi_input_byte(c->in);
        nb_code code = take_quoted(c, why);
        if (code)
            return code;
    }
    for (;;) {
        const int b = nbi_input_byte(c->in);
        const char byte = (char)b;
        if (b == '\r' && nbi_input_peek(c->in) == '\n')
            continue;
        if (b < 0 || b == '\n' || byte == c->separator) {
            c->line += b == '\n';
            *end = b;
            nbi_text_bytes(&c->text, "", 1);
            return NB_OK;
        }
        if (quoted)
            return bad(c, c->line, why, "something follows the closing quote");
        if (b == '"')
            return bad(c, c->line, why, "a quote within a field that does not begin with one");
        if (b == 0)
            return bad(c, c->line, why, "a NUL byte: this is not text");
        nbi_text_bytes(&c->text, &byte, 1);
    }
}

static nb_code take_record(nbi_csv *c, nb_reason *why)
{
    int end = c->separator;
    nb_code code = NB_OK;
    c->record = c->line;
    c->count = c->text.size = 0;
    while (!code && end >= 0 && end != '\n') {
        if (!begin_field(c))
            return nbi_because(why, NB_ERR_MEMORY, "%.120s: no memory for a line", c->name);
        code = take_field(c, &end, why);
    }
    if (!code && c->in->failed)
        return nbi_input_failure(c->in, why);
    if (!code && c->text.failed)
        return nbi_because(why, NB_ERR_MEMORY, "%.120s: no memory for line %lld", c->name,
                           (long long)c->record);
    return code;
}

nb_code nbi_csv_next(nbi_csv *c, bool *any, nb_reason *why)
{
    nb_code code = NB_OK;
    *any = false;
    while (!code && !*any && nbi_input_peek(c->in) >= 0) {
        const bool quoted = nbi_input_peek(c->in) == '"';
        code = take_record(c, why);
        *any = !code && (c->count > 1 || quoted || *nbi_csv_field(c, 0));
    }
    if (!code && c->in->failed)
        return nbi_input_failure(c->in, why);
    return code;
}

void nbi_csv_put(nbi_text *t, const char *field)
{
    if (t->size && t->data[t->size - 1] != '\n')
        nbi_text_bytes(t, ",", 1);
    nbi_text_bytes(t, "\"", 1);
    for (; *field; field++) {
        nbi_text_bytes(t, field, 1);
        if (*field == '"')
            nbi_text_bytes(t, "\"", 1);
    }
    nbi_text_bytes(t, "\"", 1);
}

/* ---- values ---------------------------------------------------------------------------------- */

enum { LONGEST = 400 };

typedef struct scanned {
    uint64_t digits;
    int64_t power; /* of ten */
    int count;     /* of significant digits, those beyond 19 not in `digits` */
    bool negative;
} scanned;

static const char *take_digits(const char *p, scanned *n, int64_t step, bool *any)
{
    for (; *p >= '0' && *p <= '9'; p++, n->power -= step) {
        *any = true;
        if (n->count || *p != '0')
            n->count++;
        if (n->count <= 19)
            n->digits = n->digits * 10 + (uint64_t)(*p - '0');
    }
    return p;
}

/* The end of the number at p, or NULL if there is none. */
static const char *scan(const char *p, scanned *n)
{
    bool any = false;
    n->negative = *p == '-';
    p += *p == '-' || *p == '+';
    p = take_digits(p, n, 0, &any);
    if (*p == '.')
        p = take_digits(p + 1, n, 1, &any);
    if (!any)
        return NULL;
    if (*p != 'e' && *p != 'E')
        return p;
    const bool down = *++p == '-';
    p += *p == '-' || *p == '+';
    if (*p < '0' || *p > '9')
        return NULL;
    int64_t power = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        power = power < 100000 ? power * 10 + (*p - '0') : power;
    n->power += down ? -power : power;
    return p;
}

/* By strtod, whose decimal point may be another. */
static double convert(const char *p, size_t size)
{
    char text[LONGEST + 16];
    const char *point = localeconv()->decimal_point, *dot = memchr(p, '.', size);
    const size_t before = dot ? (size_t)(dot - p) : size, width = dot ? strlen(point) : 0;
    memcpy(text, p, before);
    memcpy(text + before, point, width);
    memcpy(text + before + width, p + before + (dot != NULL), size - before - (dot != NULL));
    text[size + width - (dot != NULL)] = 0;
    return strtod(text, NULL);
}

static nbi_value number(const char *p, size_t size, double *value)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    scanned n = {0};
    const char *end = scan(p, &n);
    if (!end || end != p + size || size > LONGEST)
        return NBI_TEXT;
    if (n.count <= 19 && n.digits <= (uint64_t)1 << 53 && n.power >= -22 && n.power <= 22) {
        const double m = (double)n.digits;
        const double v = n.power < 0 ? m / tens[-n.power] : m * tens[n.power];
        *value = n.negative ? -v : v;
    } else {
        *value = convert(p, size);
    }
    return isfinite(*value) ? NBI_FINITE : NBI_INFINITE;
}

static bool is_word(const char *p, size_t size, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == size && !strncasecmp(p, *words, size))
            return true;
    return false;
}

nbi_value nbi_csv_value(const char *field, double *value)
{
    static const char *const missing[] = {"",     "NA",   "N/A", "NaN", "+NaN",
                                          "-NaN", "null", "?",   NULL};
    static const char *const infinite[] = {"inf",       "+inf",      "-inf", "infinity",
                                           "+infinity", "-infinity", NULL};
    const char *p = field + strspn(field, " \t");
    size_t size = strlen(p);
    while (size && (p[size - 1] == ' ' || p[size - 1] == '\t'))
        size--;
    if (is_word(p, size, missing))
        return NBI_MISSING;
    return is_word(p, size, infinite) ? NBI_INFINITE : number(p, size, value);
}
