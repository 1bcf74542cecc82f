/*
 * Painting a picture whose places are all known.
 *
 * A canvas cell knows in which of the four directions lines leave it, and for which net; the
 * character follows from that at the end. So lines may be drawn in any order and join by themselves
 * where they meet: a branch is a tee because three directions are set. A cell in which all four are
 * set is a crossing of two nets, or a branching of one, and those look different.
 */
#include "view/view.h"

enum { UP = 1, DOWN = 2, LEFT = 4, RIGHT = 8, ALL = 15 };

typedef struct spot {
    uint8_t lines;
    bool crossing;
    int net; /* the one that drew here last, 0: none */
    char text[5];
} spot;

typedef struct canvas {
    spot *at;
    int rows, columns;
} canvas;

static const char *utf8[] = {" ", "│", "│", "│", "─", "╯", "╮", "┤",
                             "─", "╰", "╭", "├", "─", "┴", "┬", "╋"};
static const char *ascii[] = {" ", "|", "|", "|", "-", "+", "+", "+",
                              "-", "+", "+", "+", "-", "+", "+", "*"};

static spot *cell(const canvas *c, int row, int column)
{
    return &c->at[row * c->columns + column];
}

static void add(const canvas *c, int row, int column, int lines, int net)
{
    spot *s = cell(c, row, column);
    s->crossing = s->crossing || (s->lines && s->net != net);
    s->lines = (uint8_t)(s->lines | lines);
    s->net = net;
}

/* Both ends included; each gets only the direction towards the other. */
static void across(const canvas *c, int row, int from, int to, int net)
{
    for (int x = from; x <= to && from < to; x++)
        add(c, row, x, (x > from ? LEFT : 0) | (x < to ? RIGHT : 0), net);
}

static void down(const canvas *c, int column, int from, int to, int net)
{
    for (int y = from; y <= to && from < to; y++)
        add(c, y, column, (y > from ? UP : 0) | (y < to ? DOWN : 0), net);
}

static void print_text(const canvas *c, int row, int column, const char *s)
{
    for (; *s; column++) {
        char *to = cell(c, row, column)->text;
        do
            *to++ = *s++;
        while (((unsigned char)*s & 0xc0) == 0x80);
        *to = 0;
    }
}

static void paint_box(const nbi_picture *p, const canvas *c, const nbi_item *m)
{
    int left = p->x[m->layer], right = left + p->width[m->layer] - 1, bottom = m->y + m->height - 1;
    across(c, m->y, left, right, 0);
    across(c, bottom, left, right, 0);
    down(c, left, m->y, bottom, 0);
    down(c, right, m->y, bottom, 0);
    for (int k = 0; k < m->n_text; k++) {
        int slack = p->width[m->layer] - 2 - nbi_view_width(m->text[k]);
        int first = m->y + 1 + (m->lines - m->n_text) / 2;
        print_text(c, first + k, left + 1 + slack / 2, m->text[k]);
    }
}

/* From the track, or straight from the item, to a target. */
static void paint_wire(const nbi_picture *p, const canvas *c, const nbi_wire *w, int from, int net)
{
    const nbi_item *to = &p->items[w->to];
    int row = nbi_row_in(to, w->port), end = p->x[to->layer];
    across(c, row, from, end - (to->box ? 1 : 0), net);
    if (!to->box)
        return;
    print_text(c, row, end - 1, p->view->ascii ? ">" : "▶");
    int width = nbi_view_width(w->label);
    if (width) {
        print_text(c, row, end - 3 - width - 1, " ");
        print_text(c, row, end - 3 - width, w->label);
        print_text(c, row, end - 3, " ");
    }
}

static void paint_net(const nbi_picture *p, const canvas *c, const nbi_net *n)
{
    const nbi_item *m = &p->items[n->item];
    int net = n->item + 1, right = p->x[m->layer] + p->width[m->layer];
    int turn = n->track < 0 ? right : right + 1 + n->track;
    across(c, n->left, m->box ? right - 1 : p->x[m->layer], turn, net);
    down(c, turn, n->low, n->high, net);
    for (int k = 0; k < p->n_wires; k++)
        if (p->wires[k].from == n->item)
            paint_wire(p, c, &p->wires[k], turn, net);
}

static const char *look(const spot *s, bool plain)
{
    if (s->text[0])
        return s->text;
    if (s->lines == ALL && s->crossing)
        return plain ? "|" : "┼";
    return (plain ? ascii : utf8)[s->lines];
}

static void print_canvas(const canvas *c, bool plain, FILE *to)
{
    for (int row = 0; row < c->rows; row++) {
        int end = c->columns;
        while (end && look(cell(c, row, end - 1), plain)[0] == ' ')
            end--;
        for (int x = 0; x < end; x++)
            fputs(look(cell(c, row, x), plain), to);
        fputc('\n', to);
    }
}

bool nbi_view_draw(const nbi_picture *p, FILE *to)
{
    size_t bytes = (size_t)p->rows * (size_t)p->columns * sizeof(spot);
    canvas c = {nbi_scratch(p->t, bytes), p->rows, p->columns};
    if (!c.at)
        return false;
    memset(c.at, 0, bytes);
    for (int k = 0; k < p->n_items; k++)
        if (p->items[k].box)
            paint_box(p, &c, &p->items[k]);
    for (int k = 0; k < p->n_items; k++)
        if (p->nets[k].item >= 0)
            paint_net(p, &c, &p->nets[k]);
    print_canvas(&c, p->view->ascii, to);
    return true;
}
