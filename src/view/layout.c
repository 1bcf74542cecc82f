/*
 * Where everything goes: layers, the order within each, rows and columns.
 *
 * A node's layer is the length of the longest way to it, so that every edge leads to the right.
 * Inputs stand in layer 0; a constant stands just before its first use. An edge that spans several
 * layers bends once in each layer between, and edges of one source share their bends.
 *
 * Within a layer, items are sorted by the mean place of what they are connected to in the layer
 * before, then after, back and forth: the barycentre rule, which leaves few crossings. Then every
 * item would like the row at which its lines run straight. The closest rows that keep the order and
 * do not overlap are a least squares fit under order constraints, found exactly by pooling: walk
 * down, and merge neighbours that collide into one block at their common mean.
 *
 * Last, no line may enter a layer in a row in which a line of another net leaves the layer before:
 * then the wires between any two layers can be drawn without overlap, in any order of their tracks.
 */
#include "view/view.h"

#include <math.h>

enum { ROUNDS = 4, MOST_ITEMS = 256 };

static void *take(nbi_picture *p, int n, size_t size)
{
    void *m = nbi_scratch(p->t, ((size_t)n + 1) * size);
    if (m)
        memset(m, 0, ((size_t)n + 1) * size);
    return m;
}

/* The place of node i among those to draw. */
static int find(const nbi_picture *p, uint32_t i)
{
    int k = 0;
    while (p->node[k] != i)
        k++;
    return k;
}

/* ---- boxes
 * ---------------------------------------------------------------------------------------- */

static void write_title(nbi_item *m, nb_info info, bool ascii)
{
    char name[NBI_VIEW_TEXT], op[NBI_VIEW_TEXT];
    nbi_view_clean(name, info.name ? info.name : "", ascii);
    nbi_view_clean(op, info.op, ascii);
    if (info.name && info.n_in)
        snprintf(m->text[m->n_text++], NBI_VIEW_TEXT, "%.66s: %.66s", name, op);
    else if (info.name || info.n_in || !info.constant)
        snprintf(m->text[m->n_text++], NBI_VIEW_TEXT, "%s", info.name ? name : op);
}

static void make_box(nbi_picture *p, uint32_t i)
{
    nbi_item *m = &p->items[p->n_items++];
    nb_info info = nb_inspect(nbi_var(p->t, i));
    char adjoint[NBI_VIEW_TEXT];
    m->node = i;
    m->box = true;
    m->n_in = (int)info.n_in;
    write_title(m, info, p->view->ascii);
    nbi_view_value(m->text[m->n_text++], p->t, i);
    if (nbi_view_adjoint(adjoint, p->t, i))
        snprintf(m->text[m->n_text++], NBI_VIEW_TEXT, "%s %.60s", p->view->ascii ? "d" : "∂",
                 adjoint);
    for (int k = 0; k < m->n_text; k++) {
        int w = nbi_view_width(m->text[k]);
        m->width = w > m->width ? w : m->width;
    }
    m->lines = m->n_text > m->n_in ? m->n_text : m->n_in;
    m->height = m->lines + 2;
    for (int k = 0; k < m->n_in; k++) {
        int before = p->items[find(p, nbi_operand(p->t, i, (size_t)k))].layer + 1;
        m->layer = before > m->layer ? before : m->layer;
    }
    p->n_layers = m->layer + 1 > p->n_layers ? m->layer + 1 : p->n_layers;
}

/* Constants move up to where they are used first. */
static void place_constants(nbi_picture *p)
{
    for (int k = 0; k < p->n_nodes; k++) {
        nbi_item *c = &p->items[k];
        int first = p->n_layers;
        if (c->n_in || !nbi_still(p->t, c->node))
            continue;
        for (int j = k + 1; j < p->n_nodes; j++)
            for (int in = 0; in < p->items[j].n_in; in++)
                if (nbi_operand(p->t, p->items[j].node, (size_t)in) == c->node &&
                    p->items[j].layer < first)
                    first = p->items[j].layer;
        c->layer = first < p->n_layers ? first - 1 : c->layer;
    }
}

/* ---- wires
 * ----------------------------------------------------------------------------------------- */

/* The item in which the line from box `from` reaches the layer: the box, or a bend, made as needed.
 */
static int reach(nbi_picture *p, int from, int layer)
{
    int at = from;
    while (p->items[at].layer < layer) {
        int next = p->n_nodes;
        while (next < p->n_items && (p->items[next].node != p->items[from].node ||
                                     p->items[next].layer != p->items[at].layer + 1))
            next++;
        if (next == MOST_ITEMS)
            return -1;
        if (next == p->n_items) {
            p->items[p->n_items++] = (nbi_item){
                .node = p->items[from].node, .layer = p->items[at].layer + 1, .height = 1};
            p->wires[p->n_wires++] = (nbi_wire){.from = at, .to = next};
        }
        at = next;
    }
    return at;
}

static bool make_wires(nbi_picture *p)
{
    for (int to = 0; to < p->n_nodes; to++)
        for (int k = 0; k < p->items[to].n_in; k++) {
            uint32_t i = p->items[to].node;
            int from = reach(p, find(p, nbi_operand(p->t, i, (size_t)k)), p->items[to].layer - 1);
            if (from < 0)
                return false;
            nbi_wire *w = &p->wires[p->n_wires++];
            *w = (nbi_wire){.from = from, .to = to, .port = k};
            nbi_view_partial(w->label, p->t, i, (size_t)k);
        }
    return true;
}

/* ---- the order within layers
 * ------------------------------------------------------------------------- */

/* Sorts a layer by key, stably, and numbers the places. */
static void sort_layer(nbi_picture *p, int layer)
{
    int *o = p->order + p->start[layer], n = p->start[layer + 1] - p->start[layer];
    for (int a = 1; a < n; a++)
        for (int b = a; b > 0 && p->items[o[b - 1]].key > p->items[o[b]].key; b--) {
            int swap = o[b];
            o[b] = o[b - 1];
            o[b - 1] = swap;
        }
    for (int a = 0; a < n; a++)
        p->items[o[a]].place = a;
}

/* The mean of what the wires on one side of an item wish for; `otherwise` if there are none. */
static double mean_wish(const nbi_picture *p, int item, bool left, double otherwise,
                        double (*wish)(const nbi_picture *, const nbi_wire *, bool))
{
    double sum = 0;
    int n = 0;
    for (int k = 0; k < p->n_wires; k++)
        if ((left ? p->wires[k].to : p->wires[k].from) == item) {
            sum += wish(p, &p->wires[k], left);
            n++;
        }
    return n ? sum / n : otherwise;
}

static double wish_place(const nbi_picture *p, const nbi_wire *w, bool left)
{
    const nbi_item *to = &p->items[w->to];
    if (left)
        return p->items[w->from].place;
    return to->place + (to->box ? (w->port + 0.5) / to->n_in : 0.5);
}

/* Pairs of wires between the same two layers that cross. */
static int count_crossings(const nbi_picture *p)
{
    int n = 0;
    for (int a = 0; a < p->n_wires; a++)
        for (int b = 0; b < a; b++) {
            const nbi_wire *v = &p->wires[a], *w = &p->wires[b];
            if (p->items[v->from].layer == p->items[w->from].layer) {
                int at_left = p->items[v->from].place - p->items[w->from].place;
                double at_right = wish_place(p, v, false) - wish_place(p, w, false);
                n += (at_left < 0 && at_right > 0) || (at_left > 0 && at_right < 0);
            }
        }
    return n;
}

static void first_order(nbi_picture *p)
{
    for (int k = 0, at = 0; k < p->n_layers; k++) {
        p->start[k] = at;
        for (int m = 0; m < p->n_items; m++)
            if (p->items[m].layer == k)
                p->order[at++] = m;
        p->start[k + 1] = at;
        sort_layer(p, k);
    }
}

/* Back and forth; of all the orders met the one with the fewest crossings, the earliest of equals,
 * so that inputs stay as they were recorded unless it helps. */
static void sort_layers(nbi_picture *p)
{
    int best[MOST_ITEMS];
    first_order(p);
    int fewest = count_crossings(p);
    memcpy(best, p->order, sizeof best);
    for (int round = 0; round < 2 * ROUNDS; round++) {
        bool left = round % 2 == 0;
        for (int step = 1; step < p->n_layers; step++) {
            int layer = left ? step : p->n_layers - 1 - step;
            for (int k = p->start[layer]; k < p->start[layer + 1]; k++) {
                nbi_item *m = &p->items[p->order[k]];
                m->key = mean_wish(p, p->order[k], left, m->place, wish_place);
            }
            sort_layer(p, layer);
        }
        int crossings = count_crossings(p);
        if (crossings < fewest) {
            fewest = crossings;
            memcpy(best, p->order, sizeof best);
        }
    }
    memcpy(p->order, best, sizeof best);
}

/* ---- rows
 * ---------------------------------------------------------------------------------------------- */

/* The first row of the item on one side of the wire, were the wire to run straight. */
static double wish_row(const nbi_picture *p, const nbi_wire *w, bool left)
{
    const nbi_item *from = &p->items[w->from], *to = &p->items[w->to];
    int down = nbi_row_in(to, w->port) - nbi_row_out(from);
    return left ? to->y - down : from->y + down;
}

/* Gives a layer the rows closest to its keys: pooled blocks, kept as running sums and counts. */
static void fit_layer(nbi_picture *p, int layer)
{
    double sum[MOST_ITEMS];
    int count[MOST_ITEMS], blocks = 0, offset = 0;
    for (int k = p->start[layer]; k < p->start[layer + 1]; k++) {
        const nbi_item *m = &p->items[p->order[k]];
        sum[blocks] = m->key - offset;
        count[blocks++] = 1;
        offset += m->height;
        while (blocks > 1 &&
               sum[blocks - 2] / count[blocks - 2] > sum[blocks - 1] / count[blocks - 1]) {
            sum[blocks - 2] += sum[blocks - 1];
            count[blocks - 2] += count[blocks - 1];
            blocks--;
        }
    }
    offset = 0;
    for (int b = 0, k = p->start[layer]; b < blocks; b++)
        for (int row = (int)floor(sum[b] / count[b]); count[b]--; k++) {
            nbi_item *m = &p->items[p->order[k]];
            m->y = row + offset;
            offset += m->height;
        }
}

/* Whether some line enters m in a row in which another net leaves the layer before. */
static bool collides(const nbi_picture *p, int item)
{
    const nbi_item *m = &p->items[item];
    for (int a = 0; a < p->n_wires; a++)
        for (int b = 0; b < p->n_wires && p->wires[a].to == item; b++)
            if (p->items[p->wires[b].from].layer == m->layer - 1 &&
                p->wires[b].from != p->wires[a].from &&
                nbi_row_out(&p->items[p->wires[b].from]) == nbi_row_in(m, p->wires[a].port))
                return true;
    return false;
}

static void set_rows(nbi_picture *p)
{
    for (int round = 0; round < 2 * ROUNDS - 1; round++)
        for (int step = round ? 1 : 0; step < p->n_layers; step++) {
            bool left = round % 2 == 0;
            int layer = left ? step : p->n_layers - 1 - step;
            for (int k = p->start[layer]; k < p->start[layer + 1]; k++) {
                nbi_item *m = &p->items[p->order[k]];
                m->key = mean_wish(p, p->order[k], left, m->y, wish_row);
            }
            fit_layer(p, layer);
        }
    int first = 0;
    for (int layer = 0; layer < p->n_layers; layer++) {
        int end = p->items[p->order[p->start[layer]]].y;
        for (int k = p->start[layer]; k < p->start[layer + 1]; k++) {
            nbi_item *m = &p->items[p->order[k]];
            for (m->y = m->y < end ? end : m->y; collides(p, p->order[k]);)
                m->y++;
            end = m->y + m->height;
        }
        int top = p->items[p->order[p->start[layer]]].y;
        first = layer && first < top ? first : top;
        p->rows = end > p->rows || layer == 0 ? end : p->rows;
    }
    p->rows -= first;
    for (int m = 0; m < p->n_items; m++)
        p->items[m].y -= first;
}

bool nbi_view_layout(nbi_picture *p)
{
    int edges = 0;
    for (int k = 0; k < p->n_nodes; k++) {
        size_t n = nbi_operands(p->t, p->node[k]);
        if (n > MOST_ITEMS || (edges += (int)n) > MOST_ITEMS)
            return false;
    }
    p->items = take(p, MOST_ITEMS, sizeof *p->items);
    p->wires = take(p, edges + MOST_ITEMS, sizeof *p->wires);
    p->nets = take(p, MOST_ITEMS, sizeof *p->nets);
    p->order = take(p, MOST_ITEMS, sizeof *p->order);
    p->start = take(p, p->n_nodes + 1, sizeof *p->start);
    p->x = take(p, p->n_nodes, sizeof *p->x);
    p->width = take(p, p->n_nodes, sizeof *p->width);
    if (!p->items || !p->wires || !p->nets || !p->order || !p->start || !p->x || !p->width)
        return false;
    for (int k = 0; k < p->n_nodes; k++)
        make_box(p, p->node[k]);
    place_constants(p);
    if (!make_wires(p))
        return false;
    sort_layers(p);
    set_rows(p);
    return p->rows <= p->view->rows;
}
