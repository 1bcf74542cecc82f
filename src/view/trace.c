/*
 * The two ways to see a graph: as a drawing, if it is small, or as a table in the order of the
 * tape.
 *
 * The graph of f is what can be reached from f over operands. The tape is in topological order, so
 * one walk down from f marks it: a node is in the graph if it is f, or an operand of a node that is
 * in the graph and stands above it. No recursion, whatever the depth.
 */
#include "view/view.h"

enum { MOST_BOXES = 64, MOST_OPERANDS = 8 };

static nb_view with_defaults(const nb_view *v)
{
    nb_view d = v ? *v : (nb_view){0};
    d.columns = d.columns > 0 ? d.columns : 100;
    d.rows = d.rows > 0 ? d.rows : 40;
    d.most = d.most ? d.most : 1000;
    return d;
}

/* Whether the stream took it all. */
static nb_code written(FILE *to, nb_tape *t, const char *what)
{
    if (fflush(to) == 0 && !ferror(to))
        return NB_OK;
    return nbi_fail(t, NB_ERR_CALLBACK, "%s: the stream did not take the text", what);
}

/* ---- the table
 * ------------------------------------------------------------------------------------ */

/* One line of it, and the widths of its columns. */
enum column { PLACE, NAME, OP, VALUE, ADJOINT, COLUMNS };

typedef struct table {
    FILE *to;
    nb_tape *t;
    const nb_view *view;
    const uint8_t *listed; /* per node; NULL: all are */
    uint32_t length;       /* of the tape, or up to the last node listed */
    bool edges;            /* local derivatives beside the operands */
    int width[COLUMNS];
    char text[COLUMNS][NBI_VIEW_TEXT];
} table;

static void fill_line(table *b, uint32_t i)
{
    nb_info info = nb_inspect(nbi_var(b->t, i));
    snprintf(b->text[PLACE], NBI_VIEW_TEXT, "%u", i);
    nbi_view_clean(b->text[NAME], info.name ? info.name : "", b->view->ascii);
    nbi_view_clean(b->text[OP], info.op, b->view->ascii);
    nbi_view_value(b->text[VALUE], b->t, i);
    if (!nbi_view_adjoint(b->text[ADJOINT], b->t, i))
        b->text[ADJOINT][0] = 0;
}

/* Returns the blanks that are due before what follows, so that no line ends in them. */
static int print_line(const table *b)
{
    int blank = 0;
    for (int c = 0; c < COLUMNS; c++) {
        int pad = b->width[c] - nbi_view_width(b->text[c]);
        bool words = c == NAME || c == OP;
        if (b->text[c][0])
            fprintf(b->to, "%*s%s", blank + 2 + (words ? 0 : pad), "", b->text[c]);
        blank = b->text[c][0] ? (words ? pad : 0) : blank + 2 + pad;
    }
    return blank;
}

/* "2 (-4), 3 (0.5)": the operands and the local derivatives by them. */
static void print_operands(const table *b, uint32_t i, int blank)
{
    size_t n = nbi_operands(b->t, i);
    for (size_t k = 0; k < n && k < MOST_OPERANDS; k++) {
        char partial[NBI_VIEW_TEXT];
        fprintf(b->to, "%*s%u", k ? 0 : blank + 2, "", nbi_operand(b->t, i, k));
        if (b->edges && nbi_view_partial(partial, b->t, i, k))
            fprintf(b->to, " (%s)", partial);
        fputs(k + 1 < n ? ", " : "", b->to);
    }
    if (n > MOST_OPERANDS)
        fprintf(b->to, "and %zu more", n - MOST_OPERANDS);
    fputc('\n', b->to);
}

static void widen(table *b)
{
    for (int c = 0; c < COLUMNS; c++) {
        int w = nbi_view_width(b->text[c]);
        b->width[c] = w > b->width[c] ? w : b->width[c];
    }
}

static void print_header(table *b)
{
    static const char *title[COLUMNS] = {"place", "name", "op", "value", "adjoint"};
    for (int c = 0; c < COLUMNS; c++)
        snprintf(b->text[c], NBI_VIEW_TEXT, "%s", title[c]);
    widen(b);
    print_line(b);
    fputs(b->edges ? "  operands (local derivative)\n" : "  operands\n", b->to);
}

/* One walk over the nodes; the first of two only finds how wide the columns are. */
static void walk_table(table *b, bool print)
{
    size_t lines = 0, left_out = 0;
    for (uint32_t i = 0; i < b->length; i++) {
        if (b->listed && !b->listed[i])
            continue;
        if (lines++ >= b->view->most) {
            left_out++;
            continue;
        }
        fill_line(b, i);
        if (print)
            print_operands(b, i, print_line(b));
        else
            widen(b);
    }
    if (print && left_out)
        fprintf(b->to, "  and %zu more\n", left_out);
}

static void print_table(table *b)
{
    walk_table(b, false);
    print_header(b);
    walk_table(b, true);
}

nb_code nb_print_trace(FILE *to, nb_tape *t) { return nb_print_trace_with(to, t, NULL); }

nb_code nb_print_trace_with(FILE *to, nb_tape *t, const nb_view *view)
{
    if (!to || !t)
        return nbi_fail(t, NB_ERR_ARGUMENT, "print_trace: the stream or the tape is NULL");
    nb_view v = with_defaults(view);
    table b = {.to = to, .t = t, .view = &v, .length = t->hot.length};
    print_table(&b);
    return written(to, t, "print_trace");
}

/* ---- the graph
 * --------------------------------------------------------------------------------------- */

/* Marks the graph of f and counts its nodes; NULL when there is no memory. */
static uint8_t *mark_graph(nb_tape *t, uint32_t f, size_t *count)
{
    uint8_t *in = nbi_scratch(t, (size_t)f + 1);
    if (!in)
        return NULL;
    memset(in, 0, (size_t)f + 1);
    in[f] = 1;
    *count = 0;
    for (uint32_t i = f + 1; i-- > 0;) {
        size_t n = in[i] ? nbi_operands(t, i) : 0;
        *count += in[i];
        for (size_t k = 0; k < n; k++)
            in[nbi_operand(t, i, k)] = 1;
    }
    return in;
}

/* Draws the graph if there is room for that; false otherwise. */
static bool draw(FILE *to, nb_tape *t, const nb_view *v, const uint8_t *in, uint32_t f)
{
    uint32_t node[MOST_BOXES];
    nbi_picture p = {.t = t, .view = v, .node = node};
    for (uint32_t i = 0; i <= f; i++)
        if (in[i])
            node[p.n_nodes++] = i;
    return nbi_view_layout(&p) && nbi_view_route(&p) && nbi_view_draw(&p, to);
}

nb_code nb_print_graph(FILE *to, nb_var f) { return nb_print_graph_with(to, f, NULL); }

nb_code nb_print_graph_with(FILE *to, nb_var f, const nb_view *view)
{
    nb_tape *t = f.tape;
    if (!to)
        return nbi_fail(t, NB_ERR_ARGUMENT, "print_graph: the stream is NULL");
    if (!nbi_check("print_graph", f))
        return t && t->code ? t->code : NB_ERR_HANDLE;
    nb_view v = with_defaults(view);
    nbi_spot spot = t->scratch.at;
    nb_code code = NB_OK;
    size_t count;
    uint8_t *in = mark_graph(t, f.index, &count);
    if (!in) {
        code = nbi_no_memory(t, "print_graph");
    } else if (count > MOST_BOXES || !draw(to, t, &v, in, f.index)) {
        table b = {
            .to = to, .t = t, .view = &v, .listed = in, .length = f.index + 1, .edges = true};
        print_table(&b);
    }
    nbi_give_back(&t->scratch, spot);
    return code == NB_OK ? written(to, t, "print_graph") : code;
}
