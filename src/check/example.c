/*
 * Examples as functions from a vector to a vector.
 *
 * An op builds its example calls from sampled inputs. The sampler starts from the same generator
 * each time, so the same example can be built as often as a law needs it: on either tape, with its
 * inputs moved, or with one of them replaced by something that it should not be. Every replacement
 * is made at one place, when the input has been drawn.
 */
#include "check/laws.h"

#include "tape/tape.h"
#include <math.h>

/* ---- replacing inputs ------------------------------------------------------------------------ */

static bool within(nb_var x, double low, double high)
{
    const nbi_record *r = nb_is_tensor(x) ? nbi_record_at(x.tape, x.index) : NULL;
    for (int64_t i = 0; r && i < r->size; i++) {
        double v = x.tape->dtype == NB_F64 ? ((double *)r->data)[i] : (double)((float *)r->data)[i];
        if (!(v >= low && v <= high))
            return false;
    }
    return r || (nb_value(x) >= low && nb_value(x) <= high);
}

/* Input j as an earlier one again where shape and range allow. */
static nb_var repeat(nbi_trial *c, size_t j, nb_var x, double low, double high)
{
    nb_tape *t = x.tape;
    size_t i = 0;
    while (i < j && !(c->twin[i] == i && nb_shape_equal(nb_shape_of(c->s.in[i]), nb_shape_of(x)) &&
                      within(c->s.in[i], low, high)))
        i++;
    c->twin[j] = i;
    if (i == j || c->twist == NBI_SHARED)
        return i == j ? x : c->s.in[i];
    if (nb_is_tensor(x)) {
        nbi_record *to = nbi_record_at(t, x.index), *from = nbi_record_at(t, c->s.in[i].index);
        memcpy(to->data, from->data, (size_t)to->size * nbi_element(t->dtype));
    } else {
        t->hot.cells[x.index].value = t->hot.cells[c->s.in[i].index].value;
    }
    return x;
}

static nb_var borrow(nbi_trial *c, size_t j, nb_var x)
{
    nb_tape *t = x.tape;
    if (!nb_is_tensor(x))
        return x;
    const nbi_record *r = nbi_record_at(t, x.index);
    void *grad = nbi_take(&c->work, (size_t)r->size * nbi_element(t->dtype), NBI_ALIGN);
    c->buffer[j] = (nb_array){grad, r->dims, r->size, r->rank, t->dtype};
    if (!grad) {
        c->code = NB_ERR_MEMORY;
        return x;
    }
    for (int64_t i = 0; i < r->size; i++) {
        if (t->dtype == NB_F64)
            ((double *)grad)[i] = (double)NAN;
        else
            ((float *)grad)[i] = (float)NAN;
    }
    return nb_borrow(t, NULL, nb_shape_of(x), r->data, grad);
}

/* A new leaf on tape t with every element v. */
static nb_var leaf(nb_tape *t, nb_shape shape, double v)
{
    return shape.rank < 0 ? nb_input(t, NULL, v) : nb_leaf(NULL, nb_full(t, shape, v));
}

static nb_var spoil(nbi_trial *c, nb_var x, double value)
{
    nb_var stale;
    nb_mark mark;
    switch (c->twist) {
    case NBI_LARGE: return nb_is_tensor(x) ? leaf(x.tape, NB_SHAPE(17, 19), value) : x;
    case NBI_DEEP:
        return nb_is_tensor(x) ? leaf(x.tape, NB_SHAPE(2, 1, 3, 1, 1, 5, 1, 11), value) : x;
    case NBI_FOREIGN: return leaf(c->elsewhere, nb_shape_of(x), value);
    case NBI_STALE:
        mark = nb_tape_mark(x.tape);
        stale = nb_leaf(NULL, x);
        nb_rewind(mark);
        return stale;
    default: return x;
    }
}

static nb_var replace(nb_sampler *s, nb_var x, double low, double high)
{
    nbi_trial *c = (nbi_trial *)(void *)s;
    const size_t j = s->n;
    c->fixed[j] = !(low < high);
    c->twin[j] = j;
    c->buffer[j] = (nb_array){.size = 0};
    c->at[j + 1] = c->at[j] + (size_t)nb_size(x);
    switch (c->twist) {
    case NBI_PLAIN: return x;
    case NBI_TWIN:
    case NBI_SHARED: return repeat(c, j, x, low, high);
    case NBI_BORROWED: return borrow(c, j, x);
    default: return j == c->victim ? spoil(c, x, low + (high - low) / 2) : x;
    }
}

/* ---- building -------------------------------------------------------------------------------- */

nbi_built nbi_attempt(nbi_trial *c, nb_tape *t, double step, const double *direction)
{
    const double *part[NBI_SAMPLES];
    for (size_t j = 0; direction && j < NBI_SAMPLES; j++)
        part[j] = direction + (j < c->s.n ? c->at[j] : 0);
    c->s = (nb_sampler){.tape = t, .step = step, .replace = replace};
    c->s.rng = nb_rng_seed(((uint64_t)c->k << 8) + c->draw);
    c->s.direction = direction ? part : NULL;
    c->y = c->op->sample(&c->s, c->k);
    c->s.direction = NULL;
    c->n = c->at[c->s.n];
    if (nbi_is_inert(c->y) && !c->y.tape && nb_status(t) == NB_OK)
        return NBI_END;
    if (nb_status(t) != NB_OK || c->y.tape != t || !nb_ok(c->y))
        return NBI_FAILED;
    c->m = (size_t)nb_size(c->y);
    return NBI_BUILT;
}

/* Which inputs the result depends on: one walk down. */
static bool mark_used(nbi_trial *c)
{
    const nb_tape *t = c->y.tape;
    nbi_spot spot = c->work.at;
    bool *on = nbi_take(&c->work, (size_t)c->y.index + 1, 1);
    if (!on) {
        c->code = NB_ERR_MEMORY;
        return false;
    }
    memset(on, 0, (size_t)c->y.index + 1);
    on[c->y.index] = true;
    for (uint32_t i = c->y.index + 1; i-- > 0;)
        for (size_t k = 0; on[i] && k < nbi_operands(t, i); k++)
            on[nbi_operand(t, i, k)] = true;
    for (size_t j = 0; j < c->s.n; j++)
        c->used[j] = c->s.in[j].index <= c->y.index && on[c->s.in[j].index];
    nbi_give_back(&c->work, spot);
    return true;
}

bool nbi_build(nbi_trial *c, nb_tape *t, double step, const double *direction)
{
    nb_reset(t);
    if (nbi_attempt(c, t, step, direction) == NBI_BUILT && mark_used(c))
        return true;
    if (nb_status(t))
        nbi_violate_message(c, NB_LAW_EXAMPLES, t);
    else
        nbi_violate(c, NB_LAW_EXAMPLES, "the result is not a var of the sampler's tape");
    return false;
}

bool nbi_build_twisted(nbi_trial *c, nb_tape *t, nbi_twist twist)
{
    c->twist = twist;
    bool built = nbi_build(c, t, 0, NULL);
    c->twist = NBI_PLAIN;
    return built;
}

/* ---- vectors --------------------------------------------------------------------------------- */

double *nbi_vector(nbi_trial *c, size_t n)
{
    double *v = n < SIZE_MAX / sizeof *v ? nbi_take(&c->work, n * sizeof *v, NBI_ALIGN) : NULL;
    if (!v)
        c->code = NB_ERR_MEMORY;
    return v;
}

static double *random_vector(nbi_trial *c, size_t n, uint64_t stream)
{
    double *v = nbi_vector(c, n);
    nb_rng r = nb_rng_seed(((uint64_t)c->k << 8) + c->draw + (stream << 48));
    for (size_t i = 0; v && i < n; i++) {
        double x = nb_rng_uniform(&r) - 0.5;
        v[i] = (double)(float)(x + copysign(0.5, x));
    }
    return v;
}

double *nbi_random_seed(nbi_trial *c) { return random_vector(c, c->m, 1); }

double *nbi_random_direction(nbi_trial *c)
{
    double *v = random_vector(c, c->n, 2);
    for (size_t j = 0; v && j < c->s.n; j++)
        for (size_t i = c->at[j]; c->fixed[j] && i < c->at[j + 1]; i++)
            v[i] = 0;
    return v;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool nbi_value(nbi_trial *c, double *y) { return nb_read(c->y, y, (int64_t)c->m) == NB_OK; }

bool nbi_read_gradients(nbi_trial *c, double *g)
{
    for (size_t j = 0; j < c->s.n; j++)
        if (nb_read_grad(c->s.in[j], g + c->at[j], (int64_t)(c->at[j + 1] - c->at[j])) != NB_OK)
            return false;
    return true;
}

bool nbi_gradient(nbi_trial *c, bool accumulate, double *g)
{
    nb_sweep sweep = {.n_out = 1, .out = &c->y, .seed = &c->u, .accumulate = accumulate};
    return nb_backward_with(&sweep) == NB_OK && nbi_read_gradients(c, g);
}

bool nbi_tangent(nbi_trial *c, double *t)
{
    const double *part[NBI_SAMPLES];
    for (size_t j = 0; j < c->s.n; j++)
        part[j] = c->v + c->at[j];
    return nb_forward(c->s.n, c->s.in, part) == NB_OK &&
           nb_read_tangent(c->y, t, (int64_t)c->m) == NB_OK;
}

bool nbi_derivable(const nbi_trial *c)
{
    bool moves = false;
    for (size_t j = 0; j < c->s.n; j++)
        moves = moves || (c->used[j] && !c->fixed[j] && c->at[j + 1] > c->at[j]);
    return moves && c->m && (c->op->reverse || c->op->reverse_arrays || c->op->tangent);
}
