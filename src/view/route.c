/*
 * The wires between two layers: channels and tracks.
 *
 * A net leaves its item to the right, goes up or down in a column of its own, its track, and from
 * there to its targets, right again; a net whose targets are all in its own row needs no track. The
 * layout has seen to it that no two nets want the same stretch of a row, so any order of the tracks
 * is a valid drawing. Which of two neighbours goes first is decided by the crossings that follow;
 * nets whose rows do not meet share a track.
 */
#include "view/view.h"

/* Crossings of two nets when a's track is left of b's. */
static int crossings(const nbi_picture *p, const nbi_net *a, const nbi_net *b)
{
    int n = a->low <= b->left && b->left <= a->high;
    for (int k = 0; k < p->n_wires; k++)
        if (p->wires[k].from == a->item) {
            int row = nbi_row_in(&p->items[p->wires[k].to], p->wires[k].port);
            n += b->low <= row && row <= b->high;
        }
    return n;
}

static nbi_net net_of(const nbi_picture *p, int item)
{
    int row = nbi_row_out(&p->items[item]);
    nbi_net net = {.item = -1, .left = row, .low = row, .high = row, .track = -1};
    for (int k = 0; k < p->n_wires; k++)
        if (p->wires[k].from == item) {
            int in = nbi_row_in(&p->items[p->wires[k].to], p->wires[k].port);
            net.item = item;
            net.low = in < net.low ? in : net.low;
            net.high = in > net.high ? in : net.high;
        }
    return net;
}

/* Sets the tracks of the nets that leave a layer; returns how many there are. */
static int assign_tracks(const nbi_picture *p, nbi_net *nets, int n)
{
    int tracks = 0;
    for (int a = 1; a < n; a++)
        for (int b = a;
             b > 0 && crossings(p, &nets[b], &nets[b - 1]) < crossings(p, &nets[b - 1], &nets[b]);
             b--) {
            nbi_net swap = nets[b];
            nets[b] = nets[b - 1];
            nets[b - 1] = swap;
        }
    for (int a = 0; a < n; a++) {
        if (nets[a].low == nets[a].high)
            continue;
        nets[a].track = 0;
        for (int b = 0; b < a; b++)
            if (nets[b].low <= nets[a].high && nets[a].low <= nets[b].high &&
                nets[b].track >= nets[a].track)
                nets[a].track = nets[b].track + 1;
        tracks = nets[a].track + 1 > tracks ? nets[a].track + 1 : tracks;
    }
    return tracks;
}

/* The widest label between a layer and the next. */
static int label_width(const nbi_picture *p, int layer)
{
    int most = 0;
    for (int k = 0; k < p->n_wires; k++) {
        int w = nbi_view_width(p->wires[k].label);
        if (p->items[p->wires[k].from].layer == layer && w > most)
            most = w;
    }
    return most;
}

bool nbi_view_route(nbi_picture *p)
{
    p->columns = 0;
    for (int layer = 0; layer < p->n_layers; layer++) {
        int start = p->start[layer], n = p->start[layer + 1] - start, box = 0;
        for (int k = start; k < start + n; k++) {
            const nbi_item *m = &p->items[p->order[k]];
            box = m->box && m->width + 4 > box ? m->width + 4 : box;
            p->nets[k] = net_of(p, p->order[k]);
        }
        p->x[layer] = p->columns;
        p->width[layer] = box;
        p->columns += box;
        if (layer < p->n_layers - 1) {
            /* "─" and the tracks, then "─ label ─▶" */
            int label = label_width(p, layer);
            p->columns += 1 + assign_tracks(p, p->nets + start, n) + (label ? label + 5 : 2);
        }
    }
    return p->columns <= p->view->columns;
}
