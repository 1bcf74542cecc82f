/*
 * Recurrent layers: over sequences, one upon another, in one direction or both.
 *
 * What comes from x is one matrix product over all steps; only the product with h stays inside the
 * recurrence. An LSTM is one node (nabla/net.h); the plain cell and the GRU are recorded step by step.
 *
 * The backward direction is the forward one on the reversed sequence, reversed again. Layer k sees the
 * results of layer k - 1, both directions side by side. States of all layers and directions lie one
 * behind another along the first axis, in the order of their parameters.
 */
#include "layer.h"
#include "model.h"
#include "refuse.h"

static int64_t gates_of(nb_cell c) { return c == NB_CELL_RNN ? 1 : c == NB_CELL_LSTM ? 4 : 3; }

static int parameters_of(nb_cell c) { return c == NB_CELL_GRU ? 4 : 3; }

/* ---- cells over a sequence ------------------------------------------------------------------- */

typedef struct sequence {
    nb_tape *tape;
    int64_t steps, n, units;
    nb_var from_x; /* x w_x + b, [steps n gates times units] */
    nb_var *h;     /* of every step; memory of the tape's */
} sequence;

/* Looks at the shapes, records from_x and the state before the first step. */
static bool begin(const char *who, int64_t gates, const nb_var *v, nb_var h0, sequence *s,
                  nb_var *h)
{
    const nb_op op = {.name = who};
    if (!nbi_usable(who, 4, v, h))
        return false;
    const nb_shape x = nb_shape_of(v[0]), w = nb_shape_of(v[2]);
    const int64_t units = w.rank == 2 ? w.dims[0] : 0, in = x.rank == 3 ? x.dims[2] : 0;
    const bool fits = units > 0 && in > 0 && x.dims[0] > 0 && w.dims[1] / gates == units &&
                      nb_shape_equal(w, NB_SHAPE(units, gates * units)) &&
                      nb_shape_equal(nb_shape_of(v[1]), NB_SHAPE(in, gates * units)) &&
                      nb_shape_equal(nb_shape_of(v[3]), NB_SHAPE(gates * units));
    if (!fits) {
        *h = nbi_refuse(
            who, NB_ERR_SHAPE, 4, v, "the shapes do not fit",
            "they must be x [steps n in], w_x [in %lldu], w_h [u %lldu], b [%lldu], with a "
            "step or more",
            (long long)gates, (long long)gates, (long long)gates);
        return false;
    }
    nb_tape *t = v[0].tape;
    const nb_shape state = NB_SHAPE(x.dims[1], units);
    if (h0.tape && !nb_shape_equal(nb_shape_of(h0), state) && nb_ok(h0)) {
        *h = nbi_refuse(who, NB_ERR_SHAPE, 2, (nb_var[]){v[0], h0}, "the first state does not fit",
                        "it must be [%lld %lld]", (long long)x.dims[1], (long long)units);
        return false;
    }
    const nb_call c = {.tape = t, .op = &op};
    *s = (sequence){t, x.dims[0], x.dims[1], units, nb_affine(v[0], v[1], v[3]), NULL};
    *h = h0.tape ? h0 : nb_zeros(t, state);
    s->h = nb_keep(&c, (size_t)s->steps * sizeof *s->h);
    return s->h != NULL;
}

static nb_var at_step(const sequence *s, int64_t step)
{
    nb_var x = nb_slice(s->from_x, 0, step, step + 1, 1);
    return nb_reshape(x, NB_SHAPE(s->n, -1));
}

static nb_var whole(const sequence *s) { return nb_stack((size_t)s->steps, s->h, 0); }

nb_var nb_rnn(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var h0, nb_activation f)
{
    sequence s;
    nb_var h;
    f = f ? f : nb_tanh;
    if (!begin("rnn", 1, (nb_var[]){x, w_x, w_h, b}, h0, &s, &h))
        return h;
    for (int64_t k = 0; k < s.steps; k++)
        s.h[k] = h = f(nb_add(at_step(&s, k), nb_matmul(h, w_h)));
    return whole(&s);
}

/* Gates first to last - 1 of those side by side. */
static nb_var gates(const sequence *s, nb_var z, int64_t first, int64_t last)
{
    return nb_slice(z, 1, first * s->units, last * s->units, 1);
}

nb_var nb_gru(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var b_n, nb_var h0)
{
    sequence s;
    nb_var h;
    if (!begin("gru", 3, (nb_var[]){x, w_x, w_h, b}, h0, &s, &h))
        return h;
    for (int64_t k = 0; k < s.steps; k++) {
        nb_var from_x = at_step(&s, k), from_h = nb_matmul(h, w_h), gate[2];
        nb_split(nb_sigmoid(nb_add(gates(&s, from_x, 0, 2), gates(&s, from_h, 0, 2))), 2, 1, gate);
        nb_var past = nb_mul(gate[0], nb_add(gates(&s, from_h, 2, 3), b_n));
        nb_var new = nb_tanh(nb_add(gates(&s, from_x, 2, 3), past));
        s.h[k] = h = nb_fma(gate[1], nb_sub(h, new), new);
    }
    return whole(&s);
}

/* ---- the layer ------------------------------------------------------------------------------- */

static const nb_init zeros = {NB_INIT_ZEROS, 0, 0};

/* One direction of one layer: "name.0.w_x", or "name.0r.w_x" backwards. */
static nb_param add_cell(nb_params *p, const char *name, const nb_recurrent_layer *l, int64_t in,
                         int layer, bool back, nb_rng *r)
{
    const int64_t u = l->units, count = gates_of(l->cell);
    const nb_recurrent_options *o = &l->options;
    char part[NBI_NAME];
    int64_t wide;
    if (!name || snprintf(part, sizeof part, "%.99s.%d%s", name, layer, back ? "r" : "") < 0 ||
        __builtin_mul_overflow(u, count, &wide)) {
        nb_params_refuse(p, NB_ERR_ARGUMENT, "recurrent: no name, or the units overflow");
        return NB_NO_PARAM;
    }
    const nb_init glorot = {.rule = NB_INIT_GLOROT_UNIFORM}, turn = {.rule = NB_INIT_ORTHOGONAL};
    const nb_param first =
        nbi_add(p, part, "w_x", NB_SHAPE(in, wide),
                (nb_param_options){.init = o->weight, .parts = count}, glorot, r);
    nbi_add(p, part, "w_h", NB_SHAPE(u, wide),
            (nb_param_options){.init = o->recurrent, .parts = count}, turn, r);
    const nb_param b =
        nbi_add(p, part, "b", NB_SHAPE(wide), (nb_param_options){.parts = 1}, zeros, r);
    if (l->cell == NB_CELL_GRU)
        nbi_add(p, part, "b_n", NB_SHAPE(u), (nb_param_options){.parts = 1}, zeros, r);
    for (int64_t k = u; l->cell == NB_CELL_LSTM && b >= 0 && k < 2 * u; k++)
        nbi_store(p->params.data, p->dtype, p->params.entry[b].offset + k, 1);
    return first;
}

nb_recurrent_layer nb_recurrent_new(nb_params *p, const char *name, nb_cell cell, int64_t in,
                                    int64_t units, const nb_recurrent_options *o, nb_rng *r)
{
    nb_recurrent_layer l = {.cell = cell, .first = NB_NO_PARAM, .in = in, .units = units};
    if (o)
        l.options = *o;
    l.options.layers = l.options.layers ? l.options.layers : 1;
    const int directions = l.options.bidirectional ? 2 : 1;
    if ((unsigned)cell > NB_CELL_GRU || l.options.layers < 1 || units > INT64_MAX / 8) {
        nb_params_refuse(p, NB_ERR_ARGUMENT, "recurrent: \"%.99s\": cell %d, %d layers, %lld units",
                         name ? name : "", (int)cell, l.options.layers, (long long)units);
        return l;
    }
    for (int k = 0; k < l.options.layers; k++)
        for (int d = 0; d < directions; d++) {
            const nb_param i = add_cell(p, name, &l, k ? directions * units : in, k, d, r);
            l.first = k || d ? l.first : i;
        }
    return l;
}

/* State k of those one behind another, [n units]; NB_NONE where there are none. */
static nb_var state_at(nb_var all, int k, int64_t n, int64_t units)
{
    if (!all.tape)
        return NB_NONE;
    return nb_reshape(nb_slice(all, 0, k, k + 1, 1), NB_SHAPE(n, units));
}

/* One direction of one layer, in its own order of time. *c: the last cell state of an LSTM. */
static nb_var run(const nb_recurrent_layer *l, const nb_pass *m, int k, nb_var x,
                  const nb_recurrent_state *start, nb_var *c)
{
    const nb_param at = l->first + k * parameters_of(l->cell);
    nb_var w_x = nb_pass_var(m, at), w_h = nb_pass_var(m, at + 1), b = nb_pass_var(m, at + 2);
    nb_var h0 = state_at(start->h, k, nb_dim(x, 1), l->units);
    if (l->cell == NB_CELL_RNN)
        return nb_rnn(x, w_x, w_h, b, h0, l->options.f);
    if (l->cell == NB_CELL_GRU)
        return nb_gru(x, w_x, w_h, b, nb_pass_var(m, at + 3), h0);
    nb_var c0 = state_at(start->c, k, nb_dim(x, 1), l->units);
    return nb_lstm_state(x, w_x, w_h, b, h0, c0, c);
}

static nb_var last_step(nb_var h) { return nb_slice(h, 0, -1, NB_END, 1); }

/* One layer, both directions; appends its last states to end. */
static nb_var layer(const nb_recurrent_layer *l, const nb_pass *m, int k, nb_var x,
                    const nb_recurrent_state *start, nb_recurrent_state *end)
{
    const int directions = l->options.bidirectional ? 2 : 1;
    nb_var h[2];
    for (int d = 0; d < directions; d++) {
        const bool lstm = l->cell == NB_CELL_LSTM;
        nb_var c = NB_NONE, in = d ? nb_flip(x, NB_AXES(0)) : x;
        h[d] = run(l, m, k * directions + d, in, start, end && lstm ? &c : NULL);
        if (end) {
            nb_var last = last_step(h[d]);
            end->h = end->h.tape ? nb_concat(2, (nb_var[]){end->h, last}, 0) : last;
            if (lstm) {
                last = nb_unsqueeze(c, 0);
                end->c = end->c.tape ? nb_concat(2, (nb_var[]){end->c, last}, 0) : last;
            }
        }
    }
    return directions == 1 ? h[0] : nb_concat(2, (nb_var[]){h[0], nb_flip(h[1], NB_AXES(0))}, 2);
}

static bool state_fits(const nb_recurrent_layer *l, nb_var x, nb_var state, nb_var *out)
{
    const int64_t all = l->options.layers * (l->options.bidirectional ? 2 : 1);
    const nb_var both[] = {x, state};
    if (!state.tape)
        return true;
    if (!nbi_usable("recurrent", 2, both, out))
        return false;
    if (nb_shape_equal(nb_shape_of(state), NB_SHAPE(all, nb_dim(x, 1), l->units)))
        return true;
    *out = nbi_refuse("recurrent", NB_ERR_SHAPE, 2, both, "the first state does not fit",
                      "it must be [%lld %lld %lld]", (long long)all, (long long)nb_dim(x, 1),
                      (long long)l->units);
    return false;
}

nb_var nb_recurrent_apply(const nb_recurrent_layer *l, const nb_pass *m, nb_var x,
                          const nb_recurrent_state *start, nb_recurrent_state *end)
{
    const nb_recurrent_state none = {NB_NONE, NB_NONE};
    nb_var out;
    start = start ? start : &none;
    if (!nbi_usable("recurrent", 1, &x, &out))
        return out;
    if (nb_rank(x) != 3 || nb_dim(x, 0) < 1 || nb_dim(x, 2) != l->in || l->first < 0)
        return nbi_refuse("recurrent", NB_ERR_SHAPE, 1, &x,
                          l->first < 0 ? "the layer was not made" : "the sequence does not fit",
                          "it must be [steps n %lld], with a step or more", (long long)l->in);
    if (!state_fits(l, x, start->h, &out) || !state_fits(l, x, start->c, &out))
        return out;
    nb_recurrent_state last = none;
    for (int k = 0; k < l->options.layers; k++) {
        if (k && l->options.dropout != 0)
            x = nb_dropout_apply(m, x, l->options.dropout);
        x = layer(l, m, k, x, start, end ? &last : NULL);
    }
    if (end)
        *end = last;
    return x;
}
