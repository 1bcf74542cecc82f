/*
 * Trials as text: a table for people, the best first, with columns as wide as what is in them, and CSV
 * for programs, by number, in which every number reads back as it was.
 *
 * A double is printed with the fewest of 15, 16 and 17 digits that give it back: 0.1, not
 * 0.10000000000000001. The CSV's decimal point is a point in all locales.
 */
#include "train/search.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER = 40 }; /* bytes of a number's text */

static const char *choice_name(const nb_dimension *d, double x)
{
    for (int64_t k = 0; d->choice_name && k < d->choices; k++)
        if (x == (d->choice ? d->choice[k] : (double)k))
            return d->choice_name[k];
    return NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* A value as it stands in the table: a name, or a number in text, [NUMBER]. */
static const char *cell(char *text, const nb_dimension *d, double x)
{
    const char *name = choice_name(d, x);
    if (!name)
        snprintf(text, NUMBER, x == floor(x) && fabs(x) < 1e15 ? "%.0f" : "%.4g", x);
    return name ? name : text;
}

static int width_of(const nb_dimension *d, int32_t k, const nb_search_result *r)
{
    char text[NUMBER];
    size_t width = strlen(d->name);
    for (int64_t i = 0; i < r->trials; i++) {
        const size_t n = strlen(cell(text, d, r->row[i].value[k]));
        width = n > width ? n : width;
    }
    return (int)width;
}

static bool fits(FILE *to, const nb_search_spec *spec, const nb_search_result *r)
{
    return to && spec && spec->dimension && r && r->row && r->dimensions == spec->dimensions;
}

static nb_code written(FILE *to) { return ferror(to) ? NB_ERR_CALLBACK : NB_OK; }

nb_code nb_search_print(FILE *to, const nb_search_spec *spec, const nb_search_result *r)
{
    int width[NB_SEARCH_DIMENSIONS];
    char text[NUMBER];
    if (!fits(to, spec, r))
        return NB_ERR_ARGUMENT;
    fprintf(to, "%5s", "trial");
    for (int32_t k = 0; k < r->dimensions; k++) {
        width[k] = width_of(&spec->dimension[k], k, r);
        fprintf(to, "  %*s", width[k], spec->dimension[k].name);
    }
    fprintf(to, "  %4s  %6s  %10s  %s\n", "rung", "budget", "score", "status");
    for (int64_t i = 0; i < r->trials; i++) {
        const nb_search_row *row = &r->row[r->order[i]];
        fprintf(to, "%5" PRId64, row->number);
        for (int32_t k = 0; k < r->dimensions; k++)
            fprintf(to, "  %*s", width[k], cell(text, &spec->dimension[k], row->value[k]));
        snprintf(text, NUMBER, isnan(row->score) ? "-" : "%.5g", row->score);
        fprintf(to, "  %4" PRId64 "  %6" PRId64 "  %10s  %s\n", row->rung, row->spent, text,
                nb_trial_status_name(row->status));
    }
    return written(to);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static void put_text(FILE *to, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, to);
        return;
    }
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', to);
        fputc(*text, to);
    }
    fputc('"', to);
}

static void put_number(FILE *to, double x)
{
    char text[NUMBER];
    if (!isfinite(x))
        return;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    const char *point = localeconv()->decimal_point, *there = strstr(text, point);
    if (!there) {
        fputs(text, to);
        return;
    }
    fprintf(to, "%.*s.%s", (int)(there - text), text, there + strlen(point));
}

nb_code nb_search_csv(FILE *to, const nb_search_spec *spec, const nb_search_result *r)
{
    if (!fits(to, spec, r))
        return NB_ERR_ARGUMENT;
    fputs("trial,seed,", to);
    for (int32_t k = 0; k < r->dimensions; k++) {
        put_text(to, spec->dimension[k].name);
        fputc(',', to);
    }
    fputs("rung,budget,score,status\n", to);
    for (int64_t i = 0; i < r->trials; i++) {
        const nb_search_row *row = &r->row[i];
        fprintf(to, "%" PRId64 ",%" PRIu64 ",", row->number, row->seed);
        for (int32_t k = 0; k < r->dimensions; k++) {
            const char *name = choice_name(&spec->dimension[k], row->value[k]);
            if (name)
                put_text(to, name);
            else
                put_number(to, row->value[k]);
            fputc(',', to);
        }
        fprintf(to, "%" PRId64 ",%" PRId64 ",", row->rung, row->spent);
        put_number(to, row->score);
        fprintf(to, ",%s\n", nb_trial_status_name(row->status));
    }
    return written(to);
}
