/*
 * A program over a batch, as C.
 *
 * Blocks of as many lanes as a vector register holds, then the rest by the function of one lane; which
 * also is all there is where the compiler has no vectors. In a block, a group of eight elements of an
 * argument (sixteen floats) is loaded from the rows of its lanes and transposed, so that each element is
 * a vector over the lanes, just before it is needed; a group of results goes the other way once it is
 * known. The last group of an argument overlaps the one before, so that it is whole.
 *
 * A sum is a vector of doubles per element, added to by each block, then folded from the first lane to the
 * last; the rest's lanes follow. An element that is the same in all lanes is counted, not added.
 */
#include "program/emit.h"

/* ---- groups ---------------------------------------------------------------------------------- */

typedef struct group {
    size_t first, count;
} group;

/* Elements of a group: 64 bytes' worth. */
static size_t group_size(const nbi_emission *e) { return e->options.dtype == NB_F64 ? 8 : 16; }

static size_t groups_of(const nbi_emission *e, const nbi_argument *a)
{
    const size_t most = group_size(e);
    return (a->count + most - 1) / most;
}

/* Group g of an argument: the last one is drawn back to be whole. */
static group group_at(const nbi_emission *e, const nbi_argument *a, size_t g)
{
    const size_t most = group_size(e);
    if (a->count <= most)
        return (group){0, a->count};
    return (group){g * most < a->count - most ? g * most : a->count - most, most};
}

/* ---- the block ------------------------------------------------------------------------------- */

static void print_rows(const nbi_emission *e)
{
    const char *name = e->options.name, *real = nbi_emit_real(e->options.dtype);
    for (size_t k = 0; k < e->p->n_in; k++) {
        if (e->p->in[k].shared || !e->used[k])
            continue;
        const char *x = e->in[k];
        const size_t n = e->p->in[k].count;
        fprintf(e->to, "        const %s *row_%s[%s_LANES];\n", real, x, name);
        fprintf(e->to, "        for (int l = 0; l < %s_LANES; l++)\n            row_%s[l] = ", name,
                x);
        if (e->options.index)
            fprintf(e->to,
                    "%s + (%s_at ? (size_t)%s_at[lane + (size_t)l] : lane + (size_t)l) * %zu;\n", x,
                    x, x, n);
        else
            fprintf(e->to, "%s + (lane + (size_t)l) * %zu;\n", x, n);
    }
}

/* Inputs are loaded when the first element of their group is asked for. */
static void print_input(const nbi_emission *e, const nbi_printer *w, uint32_t i, uint8_t *loaded)
{
    const size_t place = e->plain.d.node[i].in[0];
    const size_t k = nbi_argument_of(e->p->in, e->p->n_in, place);
    const nbi_argument *a = &e->p->in[k];
    const size_t groups = groups_of(e, a), element = place - a->first;
    size_t g = groups - 1;
    while (element < group_at(e, a, g).first)
        g--;
    const group of = group_at(e, a, g);
    if (!loaded[a->first + g]) {
        fprintf(w->to, "        %s_vec in_%s_%zu[%zu];\n", w->name, e->in[k], g, of.count);
        fprintf(w->to, "        %s_load(row_%s, %zu, %zu, in_%s_%zu);\n", w->name, e->in[k],
                of.first, of.count, e->in[k], g);
        loaded[a->first + g] = 1;
    }
    fprintf(w->to, "        const %s_vec v%u = in_%s_%zu[%zu];\n", w->name, i, e->in[k], g,
            element - of.first);
}

/* ---- results --------------------------------------------------------------------------------- */

/* What there is to do once a node is known: an element to add to its sum, or a group of results to store.
 * Each goes by the place of its element, or by that of its argument plus its number. */
typedef struct agenda {
    uint32_t *after; /* by node: the first thing to do, + 1; 0: nothing */
    uint32_t *next;  /* by thing: the next one, + 1 */
    uint8_t *loaded; /* by place of an input argument plus number: that group is there */
} agenda;

static void add_thing(agenda *g, uint32_t node, size_t thing)
{
    g->next[thing] = g->after[node];
    g->after[node] = (uint32_t)thing + 1;
}

static void plan_results(const nbi_emission *e, agenda *g)
{
    const uint32_t *result = e->plain.result;
    for (size_t k = 0; k < e->p->n_out; k++) {
        const nbi_argument *a = &e->p->out[k];
        for (size_t j = 0; a->sum && j < a->count; j++)
            add_thing(g, result[a->first + j], a->first + j);
        for (size_t j = 0; !a->sum && j < groups_of(e, a); j++) {
            const group of = group_at(e, a, j);
            uint32_t last = 0;
            for (size_t i = a->first + of.first; i < a->first + of.first + of.count; i++)
                last = result[i] > last ? result[i] : last;
            add_thing(g, last, a->first + j);
        }
    }
}

static void print_store(const nbi_emission *e, const nbi_printer *w, size_t k, size_t g)
{
    const nbi_argument *a = &e->p->out[k];
    const group of = group_at(e, a, g);
    fprintf(w->to, "        %s_vec out_%s_%zu[] = {", w->name, e->out[k], g);
    for (size_t j = 0; j < of.count; j++) {
        fputs(j ? ", " : "", w->to);
        nbi_emit_vector(w, e->plain.result[a->first + of.first + j]);
    }
    fprintf(w->to, "};\n        %s_store(%s + lane * %zu + %zu, %zu, %zu, out_%s_%zu);\n", w->name,
            e->out[k], a->count, of.first, a->count, of.count, e->out[k], g);
}

/* In the block: adds and stores whatever has node i as its last. */
static void print_results(const nbi_emission *e, const nbi_printer *w, const agenda *g, uint32_t i)
{
    for (uint32_t t = g->after[i]; t; t = g->next[t - 1]) {
        const size_t k = nbi_argument_of(e->p->out, e->p->n_out, t - 1);
        const size_t number = t - 1 - e->p->out[k].first;
        if (!e->p->out[k].sum)
            print_store(e, w, k, number);
        else if (e->varies[i])
            fprintf(w->to, "        %s_add(part_%s[%zu], v%u);\n", w->name, e->out[k], number, i);
    }
}

/* ---- the function ---------------------------------------------------------------------------- */

static void print_uniform(const nbi_emission *e)
{
    const nbi_printer w = {.to = e->to,
                           .name = e->options.name,
                           .dtype = e->options.dtype,
                           .d = &e->plain.d,
                           .need = e->need,
                           .indent = "    "};
    for (uint32_t i = 0; i < e->plain.d.count; i++) {
        if (e->varies[i] || !e->need[i])
            continue;
        if (e->plain.d.node[i].code == NBI_DAG_INPUT)
            nbi_emit_input(e, i);
        else
            nbi_emit_node(&w, i);
    }
}

static void print_block(const nbi_emission *e, agenda *g)
{
    const nbi_printer w = {.to = e->to,
                           .name = e->options.name,
                           .dtype = e->options.dtype,
                           .d = &e->plain.d,
                           .need = e->need,
                           .varies = e->varies,
                           .partner = e->partner,
                           .indent = "        "};
    const char *name = e->options.name;
    fprintf(e->to, "    for (; lanes - lane >= %s_LANES; lane += %s_LANES) {\n", name, name);
    print_rows(e);
    for (uint32_t i = 0; i < e->plain.d.count; i++) {
        if (!e->need[i])
            continue;
        if (e->varies[i] && e->plain.d.node[i].code == NBI_DAG_INPUT)
            print_input(e, &w, i, g->loaded);
        else if (e->varies[i])
            nbi_emit_node(&w, i);
        print_results(e, &w, g, i);
    }
    for (size_t k = 0; k < e->p->n_guards; k++)
        if (e->varies[e->plain.guard[k]])
            fprintf(e->to, "        left |= %s_any(v%u == 0);\n", name, e->plain.guard[k]);
    fputs("    }\n", e->to);
}

static bool has_sum(const nbi_emission *e, size_t k)
{
    return e->p->out[k].sum && e->p->out[k].count;
}

/* What the blocks leave: sums of their lanes. */
static void print_folds(const nbi_emission *e)
{
    for (size_t k = 0; k < e->p->n_out; k++) {
        const nbi_argument *a = &e->p->out[k];
        if (!has_sum(e, k))
            continue;
        fprintf(e->to, "    for (int k = 0; k < %zu; k++)\n", a->count);
        fprintf(e->to, "        for (int l = 0; l < %s_LANES; l++)\n", e->options.name);
        fprintf(e->to, "            sum_%s[k] += part_%s[k][l];\n", e->out[k], e->out[k]);
        for (size_t j = 0; j < a->count; j++) {
            const uint32_t r = e->plain.result[a->first + j];
            const nbi_printer w = {.to = e->to, .dtype = e->options.dtype, .d = &e->plain.d};
            if (e->varies[r])
                continue;
            fprintf(e->to, "    sum_%s[%zu] = (double)lane * (double)", e->out[k], j);
            nbi_emit_value(&w, r);
            fputs(";\n", e->to);
        }
    }
    for (size_t k = 0; k < e->p->n_guards; k++)
        if (!e->varies[e->plain.guard[k]])
            fprintf(e->to, "    left |= lane && v%u == 0;\n", e->plain.guard[k]);
}

static void print_vector_part(const nbi_emission *e, agenda *g)
{
    fprintf(e->to, "#ifdef %s_LANES\n", e->options.name);
    for (size_t k = 0; k < e->p->n_out; k++)
        if (has_sum(e, k))
            fprintf(e->to, "    double part_%s[%zu][%s_LANES] = {{0}};\n", e->out[k],
                    e->p->out[k].count, e->options.name);
    print_uniform(e);
    print_block(e, g);
    print_folds(e);
    fputs("#endif\n", e->to);
}

/* The lanes that are left, one by one. */
static void print_rest(const nbi_emission *e)
{
    const char *comma = "";
    fprintf(e->to, "    for (; lane < lanes; lane++) {\n        %s%s(",
            e->p->n_guards ? "left |= " : "", e->options.name);
    for (size_t k = 0; k < e->p->n_in; k++, comma = ", ") {
        const char *x = e->in[k];
        fprintf(e->to, "%s%s", comma, x);
        if (!e->p->in[k].shared && e->options.index)
            fprintf(e->to, " + (%s_at ? (size_t)%s_at[lane] : lane) * %zu", x, x,
                    e->p->in[k].count);
        else if (!e->p->in[k].shared)
            fprintf(e->to, " + lane * %zu", e->p->in[k].count);
    }
    for (size_t k = 0; k < e->p->n_out; k++, comma = ", ")
        if (has_sum(e, k))
            fprintf(e->to, "%sone_%s", comma, e->out[k]);
        else
            fprintf(e->to, "%s%s + lane * %zu", comma, e->out[k], e->p->out[k].count);
    fputs(");\n", e->to);
    for (size_t k = 0; k < e->p->n_out; k++)
        if (has_sum(e, k))
            fprintf(e->to,
                    "        for (int k = 0; k < %zu; k++)\n"
                    "            sum_%s[k] += (double)one_%s[k];\n",
                    e->p->out[k].count, e->out[k], e->out[k]);
    fputs("    }\n", e->to);
}

static void print_batch(const nbi_emission *e, agenda *g)
{
    const char *real = nbi_emit_real(e->options.dtype);
    nbi_emit_vectors(e);
    fputc('\n', e->to);
    nbi_emit_prototype(e, e->to, true, ";\n");
    nbi_emit_prototype(e, e->to, true, "\n{\n    size_t lane = 0;\n");
    for (size_t k = 0; k < e->p->n_out; k++)
        if (has_sum(e, k))
            fprintf(e->to, "    double sum_%s[%zu] = {0};\n    %s one_%s[%zu];\n", e->out[k],
                    e->p->out[k].count, real, e->out[k], e->p->out[k].count);
    if (e->p->n_guards)
        fputs("    int left = 0;\n", e->to);
    print_vector_part(e, g);
    print_rest(e);
    for (size_t k = 0; k < e->p->n_out; k++)
        if (has_sum(e, k))
            fprintf(e->to, "    for (int k = 0; k < %zu; k++)\n        %s[k] = (%s)sum_%s[k];\n",
                    e->p->out[k].count, e->out[k], real, e->out[k]);
    fputs(e->p->n_guards ? "    return left;\n}\n" : "}\n", e->to);
}

bool nbi_emit_batch(const nbi_emission *e)
{
    const size_t nodes = e->plain.d.count, things = e->p->out_elements;
    const size_t bytes = (nodes + things) * sizeof(uint32_t) + e->p->in_elements;
    agenda g = {.after = nbi_resize(e->heap, NULL, 0, bytes)};
    if (!g.after)
        return bytes == 0;
    memset(g.after, 0, bytes);
    g.next = g.after + nodes;
    g.loaded = (uint8_t *)(g.next + things);
    plan_results(e, &g);
    print_batch(e, &g);
    nbi_resize(e->heap, g.after, bytes, 0);
    return true;
}
