/*
 * The two ways to see a graph: as a drawing, if it is small, or as a table in the order of the tape.
 *
 * The graph of f is what can be reached from f over operands. The tape is in topological order, so
 * one walk down from f marks it: a node is in the graph if f is it or a node above it that is in the
 * graph has it as an operand. No recursion, whatever the depth.
 */
#include "view/view.h"

#include <stdarg.h>

enum { MOST_BOXES = 64, MOST_INPUTS = 8 };

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
    return ferror(to) ? nbi_fail(t, NB_ERR_CALLBACK, "%s: the stream reports an error", what) : NB_OK;
}

/* ---- the table ------------------------------------------------------------------------------------ */

typedef struct table {
    FILE *to;
    nb_tape *t;
    const nb_view *view;
    const uint8_t *in; /* per node, whether it is listed; NULL: all are */
    bool edges;        /* local derivatives beside the operands */
    int place, name, op, value, adjoint; /* widths */
} table;

static void cell(FILE *to, const char *text, int width, bool right)
{
    int pad = width - nbi_view_width(text);
    fprintf(to, right ? "%*s%s" : "%2$s%1$*3$s" + 0, pad > 0 ? pad : 0, "", text);
}
