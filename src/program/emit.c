/*
 * Printing a program as C: the file as a whole, its header, the function of one lane.
 */
#include "program/emit.h"

#include "base/reason.h"

/* ---- making ready ---------------------------------------------------------------------------- */

/* Which nodes are needed, which vary over lanes, which arguments and functions are used. */
static void look(nbi_emission *e)
{
    const nbi_dag *d = &e->plain.d;
    memset(e->need, 0, d->count);
    for (size_t k = 0; k < e->p->out_elements; k++)
        e->need[e->plain.result[k]] = NBI_AS_VALUE;
    for (size_t k = 0; k < e->p->n_guards; k++)
        e->need[e->plain.guard[k]] = NBI_AS_VALUE;
    nbi_emit_spread_need(d, e->need);
    for (size_t i = 0; i < d->count; i++) {
        const nbi_dag_node *n = &d->node[i];
        e->varies[i] = 0;
        if (n->code == NBI_DAG_INPUT) {
            const size_t k = nbi_argument_of(e->p->in, e->p->n_in, n->in[0]);
            e->used[k] = e->used[k] || e->need[i];
            e->varies[i] = !e->p->in[k].shared;
        }
        for (int k = 0; k < nbi_dag_arity(n->code); k++)
            e->varies[i] = e->varies[i] || e->varies[n->in[k]];
        if (n->code < NBI_ROWS && e->need[i] && nbi_emit_is_call(n->code)) {
            e->calls[n->code] = true;
            e->lane_calls[n->code] = e->lane_calls[n->code] || e->varies[i];
        }
    }
}

/* Sines and cosines of the same lanes. `with` has, by operand, the first of the two, + 1. */
static bool pair_waves(nbi_emission *e)
{
    const nbi_dag *d = &e->plain.d;
    const size_t bytes = d->count * sizeof *e->partner;
    uint32_t *with = nbi_resize(e->heap, NULL, 0, bytes);
    e->partner = nbi_resize(e->heap, NULL, 0, bytes);
    const bool done = (with && e->partner) || !bytes;
    if (with && e->partner) {
        memset(with, 0, bytes);
        memset(e->partner, 0, bytes);
        for (uint32_t i = 0; i < d->count; i++) {
            const nbi_dag_node *n = &d->node[i];
            if (!e->need[i] || !e->varies[i] || (n->code != NBI_ROW_sin && n->code != NBI_ROW_cos))
                continue;
            e->partner[i] = with[n->in[0]];
            if (e->partner[i])
                e->partner[e->partner[i] - 1] = i + 1;
            e->waves = e->waves || e->partner[i];
            with[n->in[0]] = i + 1;
        }
    }
    nbi_resize(e->heap, with, with ? bytes : 0, 0);
    return done;
}

static bool open_emission(nbi_emission *e)
{
    const nb_program *p = e->p;
    const size_t flags = p->n_in + p->n_out;
    uint8_t few[64], *shared = flags > sizeof few ? nbi_resize(e->heap, NULL, 0, flags) : few;
    if (!shared)
        return false;
    for (size_t k = 0; k < p->n_in; k++)
        shared[k] = p->in[k].shared;
    const uint8_t weights = e->options.dtype == NB_F64 ? NBI_LIGHT | NBI_HEAVY : NBI_LIGHT;
    bool done = nbi_plain_make(&e->plain, p, e->heap, weights, shared);
    if (shared != few)
        nbi_resize(e->heap, shared, flags, 0);
    if (!done)
        return false;
    e->need = nbi_resize(e->heap, NULL, 0, 2 * e->plain.d.count);
    e->used = nbi_resize(e->heap, NULL, 0, p->n_in * sizeof *e->used);
    done = (e->need || !e->plain.d.count) && (e->used || !p->n_in) &&
           nbi_emit_names(e->heap, p->in, p->n_in, 'x', NULL, 0, &e->in) &&
           nbi_emit_names(e->heap, p->out, p->n_out, 'y', e->in, p->n_in, &e->out);
    if (!done)
        return false;
    e->varies = e->need ? e->need + e->plain.d.count : NULL;
    if (p->n_in)
        memset(e->used, 0, p->n_in * sizeof *e->used);
    look(e);
    return pair_waves(e);
}

static void close_emission(nbi_emission *e)
{
    nbi_resize(e->heap, e->need, e->need ? 2 * e->plain.d.count : 0, 0);
    nbi_resize(e->heap, e->partner, e->partner ? e->plain.d.count * sizeof *e->partner : 0, 0);
    nbi_resize(e->heap, e->used, e->used ? e->p->n_in * sizeof *e->used : 0, 0);
    nbi_resize(e->heap, e->in, e->in ? e->p->n_in * sizeof *e->in : 0, 0);
    nbi_resize(e->heap, e->out, e->out ? e->p->n_out * sizeof *e->out : 0, 0);
    if (e->plain.p)
        nbi_plain_free(&e->plain);
}

/* ---- what both files say --------------------------------------------------------------------- */

void nbi_emit_prototype(const nbi_emission *e, FILE *to, bool batch, const char *end)
{
    const nb_program *p = e->p;
    const char *real = nbi_emit_real(e->options.dtype);
    fprintf(to, "%s %s%s(", p->n_guards ? "int" : "void", e->options.name, batch ? "_batch" : "");
    const char *comma = batch ? ", " : "";
    if (batch)
        fputs("size_t lanes", to);
    for (size_t k = 0; k < p->n_in; k++, comma = ", ") {
        fprintf(to, "%sconst %s *%s", comma, real, e->in[k]);
        if (batch && e->options.index && !p->in[k].shared)
            fprintf(to, ", const int64_t *%s_at", e->in[k]);
    }
    for (size_t k = 0; k < p->n_out; k++, comma = ", ")
        fprintf(to, "%s%s *%s", comma, real, e->out[k]);
    fprintf(to, ")%s", end);
}

static void print_arguments(const nbi_emission *e, FILE *to)
{
    const nb_program *p = e->p;
    fprintf(to, "/*\n * %s: a program printed by nabla, in %s.\n *\n", e->options.name,
            nbi_emit_real(e->options.dtype));
    for (size_t k = 0; k < p->n_in; k++)
        fprintf(to, " *     %s [%zu]   input%s\n", e->in[k], p->in[k].count,
                p->in[k].shared ? ", shared by all lanes" : "");
    for (size_t k = 0; k < p->n_out; k++)
        fprintf(to, " *     %s [%zu]   output%s\n", e->out[k], p->out[k].count,
                p->out[k].sum ? ", summed over lanes" : "");
    fputs(" */\n", to);
}

/* ---- the header ------------------------------------------------------------------------------ */

static void print_sizes(const nbi_emission *e, FILE *to)
{
    const nb_program *p = e->p;
    const char *comma = "";
    fputs("\n/* elements of the arguments */\nenum {\n", to);
    for (size_t k = 0; k < p->n_in; k++, comma = ",\n")
        fprintf(to, "%s    %s_size_%s = %zu", comma, e->options.name, e->in[k], p->in[k].count);
    for (size_t k = 0; k < p->n_out; k++, comma = ",\n")
        fprintf(to, "%s    %s_size_%s = %zu", comma, e->options.name, e->out[k], p->out[k].count);
    fputs("\n};\n", to);
}

static void print_header(const nbi_emission *e, FILE *to)
{
    const char *name = e->options.name;
    print_arguments(e, to);
    fprintf(to, "#ifndef %s_H\n#define %s_H\n", name, name);
    if (e->options.batch)
        fputs("\n#include <stddef.h>\n", to);
    if (e->options.batch && e->options.index)
        fputs("#include <stdint.h>\n", to);
    fputs("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n", to);
    print_sizes(e, to);
    bool sums = false;
    for (size_t k = 0; k < e->p->n_out; k++)
        sums = sums || e->p->out[k].sum;
    fprintf(to, "\n/* one lane%s%s */\n",
            sums ? "; to outputs that are summed goes what it adds" : "",
            e->p->n_guards ? "; returns 1 if it leaves the branches recorded" : "");
    nbi_emit_prototype(e, to, false, ";\n");
    if (e->options.batch) {
        fprintf(to, "/* dense rows of so many lanes%s%s */\n",
                e->options.index ? "; or rows by the index of each lane" : "",
                e->p->n_guards ? "; returns 1 if one leaves the branches recorded" : "");
        nbi_emit_prototype(e, to, true, ";\n");
    }
    fputs("\n#ifdef __cplusplus\n}\n#endif\n#endif\n", to);
}

/* ---- the source ------------------------------------------------------------------------------ */

void nbi_emit_input(const nbi_emission *e, uint32_t i)
{
    const size_t place = e->plain.d.node[i].in[0];
    const size_t k = nbi_argument_of(e->p->in, e->p->n_in, place);
    fprintf(e->to, "    const %s v%u = %s[%zu];\n", nbi_emit_real(e->options.dtype), i, e->in[k],
            place - e->p->in[k].first);
}

static void print_guards(const nbi_emission *e, const nbi_printer *w)
{
    for (size_t k = 0; k < e->p->n_guards; k++) {
        fputs(k ? " || " : "    return ", e->to);
        nbi_emit_value(w, e->plain.guard[k]);
        fputs(" == 0", e->to);
    }
    if (e->p->n_guards)
        fputs(";\n", e->to);
}

void nbi_emit_lane(const nbi_emission *e)
{
    const nbi_dag *d = &e->plain.d;
    const nbi_printer w = {.to = e->to,
                           .name = e->options.name,
                           .dtype = e->options.dtype,
                           .d = d,
                           .need = e->need,
                           .indent = "    "};
    fputc('\n', e->to);
    nbi_emit_prototype(e, e->to, false, ";\n");
    nbi_emit_prototype(e, e->to, false, "\n{\n");
    for (size_t k = 0; k < e->p->n_in; k++)
        if (!e->used[k])
            fprintf(e->to, "    (void)%s;\n", e->in[k]);
    for (uint32_t i = 0; i < d->count; i++)
        if (e->need[i] && d->node[i].code == NBI_DAG_INPUT)
            nbi_emit_input(e, i);
    for (uint32_t i = 0; i < d->count; i++)
        nbi_emit_node(&w, i);
    for (size_t k = 0; k < e->p->n_out; k++) {
        if (!e->p->out[k].count)
            fprintf(e->to, "    (void)%s;\n", e->out[k]);
        for (size_t j = 0; j < e->p->out[k].count; j++) {
            fprintf(e->to, "    %s[%zu] = ", e->out[k], j);
            nbi_emit_value(&w, e->plain.result[e->p->out[k].first + j]);
            fputs(";\n", e->to);
        }
    }
    print_guards(e, &w);
    fputs("}\n", e->to);
}

/* Otherwise compilers may fuse products and sums. */
static void print_strict(const nbi_emission *e)
{
    if (e->p->strict)
        fputs("\n#if defined __clang__\n"
              "#pragma STDC FP_CONTRACT OFF\n"
              "#elif defined __GNUC__\n"
              "#pragma GCC optimize(\"fp-contract=off\")\n"
              "#endif\n",
              e->to);
}

static bool print_source(nbi_emission *e, FILE *to)
{
    e->to = to;
    print_arguments(e, to);
    if (e->calls[NBI_ROW_lgamma] || e->calls[NBI_ROW_polygamma])
        fputs("#define _DEFAULT_SOURCE /* lgamma_r */\n", to);
    fputs("#include <math.h>\n#include <stddef.h>\n", to);
    if (e->options.batch)
        fputs("#include <stdint.h>\n", to);
    print_strict(e);
    if (!nbi_emit_helpers(e))
        return false;
    nbi_emit_lane(e);
    return !e->options.batch || nbi_emit_batch(e);
}

static bool taken(FILE *f) { return !f || (fflush(f) == 0 && !ferror(f)); }

nb_code nb_program_emit(const nb_program *p, const nb_emit *options, FILE *source, FILE *header,
                        nb_reason *why)
{
    nbi_heap h;
    if (!p)
        return nbi_because(why, NB_ERR_ARGUMENT, "emit: the program is NULL");
    nbi_heap_init(&h, &p->heap.allocator, 0);
    nbi_emission e = {.p = p, .heap = &h, .options = options ? *options : (nb_emit){0}};
    if (!e.options.name)
        e.options.name = "program";
    if (strlen(e.options.name) > NBI_EMIT_LONGEST || !nbi_emit_is_free(e.options.name) ||
        nbi_emit_occurs(e.options.name))
        return nbi_because(why, NB_ERR_ARGUMENT, "emit: \"%.80s\" cannot name a C function",
                           e.options.name);
    if (e.options.dtype != NB_F64 && e.options.dtype != NB_F32)
        return nbi_because(why, NB_ERR_ARGUMENT, "emit: %d is no element type",
                           (int)e.options.dtype);
    bool done = open_emission(&e);
    if (done && header)
        print_header(&e, header);
    done = done && (!source || print_source(&e, source));
    close_emission(&e);
    if (!done)
        return nbi_because(why, NB_ERR_MEMORY, "emit: out of memory");
    return taken(source) && taken(header)
               ? NB_OK
               : nbi_because(why, NB_ERR_FILE, "emit: the stream did not take the text");
}
