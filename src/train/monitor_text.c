/*
 * What a monitor saw, as text: a table to read, and CSV to plot from.
 */
#include "program/program.h"
#include "train/monitor.h"

#include <math.h>
#include <string.h>

#define NAME(id, name) name,
static const char *const kind_name[] = {NB_MONITOR_KINDS(NAME)};
#undef NAME
#define NAME(id, name, text) name,
static const char *const flag_name[] = {NB_MONITOR_FLAGS(NAME)};
#undef NAME

const char *nb_monitor_kind_name(nb_monitor_kind kind)
{
    return (unsigned)kind < NB_MONITOR_KIND_COUNT ? kind_name[kind] : "?";
}

const char *nb_monitor_flag_name(nb_monitor_flag flag)
{
    return (unsigned)flag < NB_MONITOR_FLAG_COUNT ? flag_name[flag] : "?";
}

/* ---- a table --------------------------------------------------------------------------------- */

/* Bytes that a terminal might obey become '?'. */
static void print_clean(FILE *to, const char *name, int width)
{
    int columns = 0;
    for (const char *c = name; *c; c++) {
        fputc((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c, to);
        columns += (*c & 0xc0) != 0x80;
    }
    fprintf(to, "%*s", width > columns ? width - columns : 0, "");
}

static void print_row(FILE *to, const nb_monitor_row *row, int width)
{
    const nb_summary *s = &row->of;
    fputs("  ", to);
    print_clean(to, row->name, width);
    fprintf(to, " %10.2e %9.2e %10.2e %10.2e %10.2e %10.2e %10.2e", s->mean, s->deviation, s->least,
            s->q1, s->median, s->q3, s->most);
    if (!isnan(row->ratio))
        fprintf(to, "  %.1e", row->ratio);
    if (row->dead)
        fprintf(to, "  %lld of %lld dead", (long long)row->dead, (long long)row->units);
    if (row->saturated > 0)
        fprintf(to, "  %.0f %% saturated", 100 * row->saturated);
    const char *before = "  ! ";
    for (int k = 0; k < NB_MONITOR_FLAG_COUNT; k++)
        if (row->flags >> k & 1) {
            fprintf(to, "%s%s", before, flag_name[k]);
            before = ", ";
        }
    fputc('\n', to);
}

nb_code nb_monitor_print(FILE *to, const nb_monitor *m)
{
    static const char *const last[] = {"", "  of the last", "  of the last", "  of weights"};
    if (!to)
        return NB_ERR_ARGUMENT;
    const nb_monitor_row *row = m ? m->row.data : NULL;
    const size_t count = m ? m->row.count : 0;
    const int64_t step = count ? row[count - 1].step : 0;
    int width = 4;
    size_t first = count;
    for (; first && row[first - 1].step == step; first--) {
        const size_t length = strlen(row[first - 1].name);
        width = length > (size_t)width ? length < 40 ? (int)length : 40 : width;
    }
    if (!count)
        fputs("monitor: nothing was looked at yet\n", to);
    for (int kind = 0; kind < NB_MONITOR_KIND_COUNT; kind++) {
        bool head = true;
        for (size_t k = first; k < count; k++) {
            if ((int)row[k].kind != kind)
                continue;
            if (head)
                fprintf(to, "%s, step %lld\n  %-*s %10s %9s %10s %10s %10s %10s %10s%s\n",
                        kind_name[kind], (long long)step, width, "", "mean", "deviation", "least",
                        "q1", "median", "q3", "most", last[kind]);
            head = false;
            print_row(to, &row[k], width);
        }
    }
    return ferror(to) ? NB_ERR_FILE : NB_OK;
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static void put_name(FILE *to, const char *name)
{
    fputs(",\"", to);
    for (const char *c = name; *c; c++)
        fputs(*c == '"' ? "\"\"" : (char[]){*c, 0}, to);
    fputc('"', to);
}

static void put_number(FILE *to, double x)
{
    char text[NBI_NUMBER] = "";
    if (!isnan(x))
        nbi_print_number(text, NB_F64, x);
    fprintf(to, ",%s", text);
}

static void put_flags(FILE *to, uint32_t flags)
{
    const char *before = ",";
    for (int k = 0; k < NB_MONITOR_FLAG_COUNT; k++)
        if (flags >> k & 1) {
            fprintf(to, "%s%s", before, flag_name[k]);
            before = "; ";
        }
    fputs(flags ? "\n" : ",\n", to);
}

nb_code nb_monitor_write_csv(FILE *to, const nb_monitor *m)
{
    if (!to)
        return NB_ERR_ARGUMENT;
    fputs("step,name,kind,n,bad,mean,deviation,least,q1,median,q3,most,length,units,dead,"
          "saturated,ratio,flags\n",
          to);
    const nb_monitor_row *row = m ? m->row.data : NULL;
    for (size_t k = 0; m && k < m->row.count; k++, row++) {
        const nb_summary *s = &row->of;
        const double number[] = {s->mean,   s->deviation, s->least, s->q1,
                                 s->median, s->q3,        s->most,  s->length};
        fprintf(to, "%lld", (long long)row->step);
        put_name(to, row->name);
        fprintf(to, ",%s,%lld,%lld", kind_name[row->kind], (long long)s->n, (long long)s->bad);
        for (size_t j = 0; j < sizeof number / sizeof *number; j++)
            put_number(to, number[j]);
        fprintf(to, ",%lld,%lld", (long long)row->units, (long long)row->dead);
        put_number(to, row->saturated);
        put_number(to, row->ratio);
        put_flags(to, row->flags);
    }
    return ferror(to) ? NB_ERR_FILE : NB_OK;
}
