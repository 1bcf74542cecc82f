/*
 * The view layer, from inside: how a node reads, and the picture that layout.c plans, route.c wires
 * and draw.c paints.
 *
 * A picture is made of items in columns, called layers. A box is a node; a bend is a line that
 * passes through a layer on its way to a later one. A wire leads from an item to one in the next
 * layer. All wires that leave one item are one net: they carry the same value, and are drawn as one
 * line that branches. All memory is the tape's scratch.
 */
#ifndef NABLA_SRC_VIEW_H
#define NABLA_SRC_VIEW_H

#include <nabla/view.h>
#include "tape/tape.h"

/* ---- text ------------------------------------------------------------------------------------ */

enum {
    NBI_VIEW_NAME = 16,                       /* columns of a name or an op */
    NBI_VIEW_TEXT = 4 * 2 * NBI_VIEW_NAME + 8 /* bytes of a line in a box */
};

/* Columns that a text takes. */
int nbi_view_width(const char *s);
/* from as printable text of at most NBI_VIEW_NAME columns, into NBI_VIEW_TEXT bytes. */
void nbi_view_clean(char *to, const char *from, bool ascii);
/* The same for at least one column, into 4 columns + 4 bytes. */
void nbi_view_cut(char *to, const char *from, int columns, bool ascii);
/* A scalar's value or a tensor's shape. */
void nbi_view_value(char *to, nb_tape *t, uint32_t i);
/* The adjoint of a scalar that the last sweep reached; false if there is none to show. */
bool nbi_view_adjoint(char *to, nb_tape *t, uint32_t i);
/* The local derivative of node i by its operand k; false where the edge has none: at tensors,
 * records and constants. */
bool nbi_view_partial(char *to, nb_tape *t, uint32_t i, size_t k);

/* ---- pictures -------------------------------------------------------------------------------- */

enum { NBI_LINES = 3 };

typedef struct nbi_item {
    uint32_t node; /* a box's; the source of a bend's line */
    bool box;
    int layer, place; /* the place within the layer, from the top */
    int n_in;         /* ports on the left side of a box */
    int lines;        /* of text, or of ports if there are more */
    int n_text;
    char text[NBI_LINES][NBI_VIEW_TEXT];
    int width;     /* of the text */
    int y, height; /* the first row, and how many */
    double key;    /* to sort by; where it would like to be */
} nbi_item;

typedef struct nbi_wire {
    int from, to, port;
    char label[32];
} nbi_wire;

/* The line of a net between two layers: from row `left` up or down to the rows of its targets,
 * which lie, like `left`, between low and high. */
typedef struct nbi_net {
    int item, left, low, high;
    int track; /* the column of its vertical part, from the left of the channel; -1: straight */
} nbi_net;

typedef struct nbi_picture {
    nb_tape *t;
    const nb_view *view;
    int n_nodes, n_items, n_wires, n_layers;
    const uint32_t *node; /* the nodes to draw, ascending */
    nbi_item *items;
    nbi_wire *wires;
    int *order;    /* items layer by layer, from the top of each */
    int *start;    /* of each layer in order; n_layers + 1 entries */
    int *x;        /* the left column of each layer */
    int *width;    /* of its boxes */
    nbi_net *nets; /* one per item; those without targets have item -1 */
    int columns, rows;
} nbi_picture;

/* Rows at which lines leave an item and enter it. */
static inline int nbi_row_out(const nbi_item *m) { return m->box ? m->y + 1 + m->lines / 2 : m->y; }

static inline int nbi_row_in(const nbi_item *m, int port)
{
    return m->box ? m->y + 1 + (2 * port + 1) * m->lines / (2 * m->n_in) : m->y;
}

/* Each returns false when the picture is too large (the tape has no error then) or memory is out.
 */
bool nbi_view_layout(nbi_picture *p);
bool nbi_view_route(nbi_picture *p);
bool nbi_view_draw(const nbi_picture *p, FILE *to);

#endif
