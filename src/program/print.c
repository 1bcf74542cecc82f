/*
 * A program as readable text: what goes in, the operations in their order, what comes out.
 *
 *     in x[2]
 *     in w shared
 *     %0 = input x[1]
 *     %1 = sin %0
 *     %2 = mul %1 %1
 *     %3 = constant 0.5
 *     %4 = gt %2 %3
 *     guard %4
 *     out f = %2
 *     out "d w" = %3 sum
 *
 * A node's number is its place in the graph, which is the same however often a program is made,
 * derived, saved or loaded. Constants are printed so that they read back exactly. A name that is not
 * made of letters, digits and '_' stands in quotes, with '?' for bytes that a terminal might obey.
 */
#include "program/program.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

void nbi_print_number(char to[static NBI_NUMBER], nb_dtype dtype, double v)
{
    char text[NBI_NUMBER];
    const int most = dtype == NB_F64 ? 17 : 9;
    bool same = false;
    for (int digits = 1; digits <= most && !same; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        same = dtype == NB_F64 ? strtod(text, NULL) == v : strtof(text, NULL) == (float)v;
    }
    for (char *c = text; *c; c++)
        if (isfinite(v) && !strchr("0123456789+-.e", *c)) { /* a locale's decimal point */
            *c = '.';
            while (c[1] & 0x80)
                memmove(c + 1, c + 2, strlen(c + 1));
        }
    strcpy(to, text);
}

static bool is_plain(const char *name)
{
    bool plain = *name && !isdigit((unsigned char)*name);
    for (const char *c = name; *c; c++)
        plain = plain && (isalnum((unsigned char)*c) || *c == '_');
    return plain;
}

static void print_name(FILE *to, const char *name)
{
    if (is_plain(name)) {
        fputs(name, to);
        return;
    }
    fputc('"', to);
    for (const char *c = name; *c; c++)
        fputc((unsigned char)*c < 0x20 || *c == 0x7f || *c == '"' ? '?' : *c, to);
    fputc('"', to);
}

/* One element of an argument, or the argument itself if it has no axis. */
static void print_element(FILE *to, const nbi_argument *a, size_t element)
{
    print_name(to, a->name);
    if (a->vector)
        fprintf(to, "[%zu]", element);
}

static void print_input(FILE *to, const nbi_argument *a)
{
    fputs("in ", to);
    print_element(to, a, a->count);
    fputs(a->shared ? " shared\n" : "\n", to);
}

static void print_node(FILE *to, const nb_program *p, uint32_t i)
{
    const nbi_dag_node *n = &p->dag.node[i];
    fprintf(to, "%%%u = %s", i, nbi_dag_name(n->code));
    if (n->code == NBI_DAG_INPUT) {
        const nbi_argument *a = &p->in[nbi_argument_of(p->in, p->n_in, n->in[0])];
        fputc(' ', to);
        print_element(to, a, n->in[0] - a->first);
    } else if (n->code == NBI_DAG_CONSTANT) {
        char text[NBI_NUMBER];
        nbi_print_number(text, NB_F64, nbi_dag_value(&p->dag, i));
        fprintf(to, " %s", text);
    }
    for (int k = 0; k < nbi_dag_arity(n->code); k++)
        fprintf(to, " %%%u", n->in[k]);
    fputc('\n', to);
}

nb_code nb_program_print(FILE *to, const nb_program *p)
{
    if (!to || !p)
        return NB_ERR_ARGUMENT;
    for (size_t k = 0; k < p->n_in; k++)
        print_input(to, &p->in[k]);
    for (uint32_t i = 0; i < p->dag.count; i++)
        print_node(to, p, i);
    for (size_t k = 0; k < p->n_guards; k++)
        fprintf(to, "guard %%%u\n", p->guard[k]);
    for (size_t k = 0; k < p->n_out; k++)
        for (size_t e = 0; e < p->out[k].count; e++) {
            fputs("out ", to);
            print_element(to, &p->out[k], e);
            fprintf(to, " = %%%u%s\n", p->result[p->out[k].first + e], p->out[k].sum ? " sum" : "");
        }
    return fflush(to) == 0 && !ferror(to) ? NB_OK : NB_ERR_FILE;
}
