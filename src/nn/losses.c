/*
 * Losses of single entries, and how every loss is reduced.
 *
 * With weights w and a mask m the mean of losses l is
 *
 *     sum over m of w l / sum over m of w,
 *
 * the mean that the weights define, so that multiplying all of them by a number changes nothing. What
 * is masked out is selected away, not multiplied by 0, and so is what has the weight 0: a loss that is
 * infinite or NaN is then as if it were not there, in value and in gradient.
 *
 * The same holds within a loss. In  -t log p - (1 - t) log(1 - p)  the products are nb_chain, which is 0
 * where t is, even beside an infinite logarithm.
 */
#include "loss.h"

#include "model.h"
#include "refuse.h"

#include <math.h>

/* ---- operands -------------------------------------------------------------------------------- */

static nb_var on(nb_tape *t, nb_var x) { return x.tape ? x : nb_constant(t, nb_value(x)); }

bool nbi_pair(const char *who, nb_var *x, nb_var *y, nb_var *out)
{
    const nb_var both[] = {*x, *y};
    char a[NB_SHAPE_TEXT], b[NB_SHAPE_TEXT];
    if (!nbi_usable(who, 2, both, out))
        return false;
    nb_tape *t = x->tape ? x->tape : y->tape;
    const nb_shape sx = nb_shape_of(*x), sy = nb_shape_of(*y);
    if (nb_rank(*y) > 0 && !nb_shape_equal(sx, sy)) {
        *out = nbi_refuse(who, NB_ERR_SHAPE, 2, both, "the shapes differ",
                          "a is %s, b is %s; nothing is repeated", nb_shape_text(a, sx),
                          nb_shape_text(b, sy));
        return false;
    }
    *x = on(t, *x);
    *y = on(t, *y);
    return true;
}

bool nbi_probable(const char *who, int k, nb_var x, nb_var y, nb_var *out)
{
    const nb_var both[] = {x, y};
    const void *data = nb_data(both[k]);
    const nb_dtype dtype = nb_tape_dtype(x.tape);
    for (int64_t i = 0; i < nb_size(both[k]); i++) {
        const double p = data ? nbi_load(data, dtype, i) : nb_value(both[k]);
        if (p < 0 || p > 1) {
            *out = nbi_refuse(who, NB_ERR_DOMAIN, 2, both, "a probability lies outside [0, 1]",
                              "element %lld of %c is %g", (long long)i, 'a' + k, p);
            return false;
        }
    }
    return true;
}

/* ---- reducing -------------------------------------------------------------------------------- */

static bool given(nb_var x) { return x.tape || x.index || x.epoch; }

/* Whether w goes with each of the losses without making them more. */
static bool broadcasts_to(nb_var w, nb_var loss)
{
    const nb_shape s = nb_shape_of(w), to = nb_shape_of(loss);
    for (int k = 1; k <= s.rank; k++)
        if (s.dims[s.rank - k] != 1 && (k > to.rank || s.dims[s.rank - k] != to.dims[to.rank - k]))
            return false;
    return s.rank <= to.rank || s.rank <= 0;
}

static bool accompanies(const char *who, const char *what, nb_var w, nb_var loss, nb_var *out)
{
    char a[NB_SHAPE_TEXT], b[NB_SHAPE_TEXT];
    if (!given(w))
        return true;
    const nb_var both[] = {loss, w};
    if (!nbi_usable(who, 2, both, out))
        return false;
    if (broadcasts_to(w, loss))
        return true;
    *out = nbi_refuse(who, NB_ERR_SHAPE, 2, both, "what goes with the losses does not fit them",
                      "the %s is %s, the losses are %s", what, nb_shape_text(b, nb_shape_of(w)),
                      nb_shape_text(a, nb_shape_of(loss)));
    return false;
}

/* 1 for each loss, times the weight, 0 where left out: what the mean is divided by, before it is
 * summed. */
static nb_var shares(nb_var loss, nb_var weight, nb_var mask, nb_var left)
{
    nb_tape *t = loss.tape;
    nb_var w = nb_is_tensor(loss) ? nb_ones(t, nb_shape_of(loss)) : nb_constant(t, 1);
    w = given(weight) ? nb_mul(w, weight) : w;
    w = given(mask) ? nb_where(mask, w, nb_num(0)) : w;
    return nb_ok(left) ? nb_where(left, w, nb_num(0)) : w;
}

nb_var nbi_reduce_loss(const char *who, nb_var loss, const nb_loss_options *o, nb_reduction usual,
                       nb_var left)
{
    const nb_loss_options none = {.reduction = NB_REDUCE_DEFAULT};
    nb_var out;
    o = o ? o : &none;
    const nb_reduction r = o->reduction == NB_REDUCE_DEFAULT ? usual : o->reduction;
    if (!nbi_usable(who, 1, &loss, &out) || !accompanies(who, "weight", o->weight, loss, &out) ||
        !accompanies(who, "mask", o->mask, loss, &out))
        return out;
    const bool plain = !given(o->weight) && !given(o->mask) && !nb_ok(left);
    nb_var kept = given(o->weight) ? nb_chain(o->weight, loss) : loss;
    kept = given(o->mask) ? nb_where(o->mask, kept, nb_num(0)) : kept;
    kept = nb_ok(left) ? nb_where(left, kept, nb_num(0)) : kept;
    if (r == NB_REDUCE_NONE)
        return kept;
    if (r == NB_REDUCE_SUM)
        return nb_sum(kept);
    if (r != NB_REDUCE_MEAN)
        return nbi_refuse(who, NB_ERR_ARGUMENT, 1, &loss, "there is no such reduction", "%d",
                          (int)r);
    if (plain && nb_size(loss) > 0)
        return nb_mean(kept);
    nb_var total = nb_sum(shares(loss, o->weight, o->mask, left));
    if (!(nb_value(total) > 0))
        return nbi_refuse(who, NB_ERR_EMPTY, 1, &loss, "the mean of no losses",
                          "the weights that are left have the sum %g", nb_value(total));
    return nb_div(nb_sum(kept), total);
}

static nb_var reduce(const char *who, nb_var loss, const nb_loss_options *o)
{
    return nbi_reduce_loss(who, loss, o, NB_REDUCE_MEAN, NB_NONE);
}

/* ---- of real targets ------------------------------------------------------------------------- */

nb_var(nb_squared_error)(nb_var y, nb_var target, const nb_loss_options *o)
{
    static const char who[] = "squared_error";
    nb_var out;
    if (!nbi_pair(who, &y, &target, &out))
        return out;
    return reduce(who, nb_square(nb_sub(y, target)), o);
}

nb_var(nb_quadratic_cost)(nb_var y, nb_var target, const nb_loss_options *o)
{
    static const char who[] = "quadratic_cost";
    nb_var out;
    if (!nbi_pair(who, &y, &target, &out))
        return out;
    nb_var half = nb_mul(0.5, nb_square(nb_sub(y, target)));
    return nbi_reduce_loss(who, half, o, NB_REDUCE_SUM, NB_NONE);
}

nb_var(nb_absolute_error)(nb_var y, nb_var target, const nb_loss_options *o)
{
    static const char who[] = "absolute_error";
    nb_var out;
    if (!nbi_pair(who, &y, &target, &out))
        return out;
    return reduce(who, nb_abs(nb_sub(y, target)), o);
}

nb_var(nb_huber)(nb_var y, nb_var target, const nb_loss_options *o)
{
    static const char who[] = "huber";
    const double delta = o && o->delta != 0 ? o->delta : 1;
    nb_var out;
    if (!nbi_pair(who, &y, &target, &out))
        return out;
    if (!(delta > 0))
        return nbi_refuse(who, NB_ERR_ARGUMENT, 2, (nb_var[]){y, target}, "delta must be above 0",
                          "it is %g", delta);
    nb_var e = nb_sub(y, target), size = nb_abs(e);
    nb_var curved = nb_mul(0.5, nb_square(e)), straight = nb_mul(delta, nb_sub(size, delta / 2));
    return reduce(who, nb_where(nb_le(size, delta), curved, straight), o);
}

nb_var(nb_poisson_loss)(nb_var x, nb_var count, const nb_loss_options *o)
{
    static const char who[] = "poisson_loss";
    nb_var out;
    if (!nbi_pair(who, &x, &count, &out))
        return out;
    return reduce(who, nb_sub(nb_exp(x), nb_chain(count, x)), o);
}

/* ---- of two classes -------------------------------------------------------------------------- */

static nb_var other(nb_var p) { return nb_sub(1, p); }

nb_var(nb_binary_cross_entropy)(nb_var p, nb_var target, const nb_loss_options *o)
{
    static const char who[] = "binary_cross_entropy";
    nb_var out;
    if (!nbi_pair(who, &p, &target, &out) || !nbi_probable(who, 0, p, target, &out) ||
        !nbi_probable(who, 1, p, target, &out))
        return out;
    nb_var yes = nb_chain(target, nb_log(p)), no = nb_chain(other(target), nb_log1p(nb_neg(p)));
    return reduce(who, nb_neg(nb_add(yes, no)), o);
}

nb_var(nb_logistic_loss)(nb_var x, nb_var target, const nb_loss_options *o)
{
    static const char who[] = "logistic_loss";
    nb_var out;
    if (!nbi_pair(who, &x, &target, &out) || !nbi_probable(who, 1, x, target, &out))
        return out;
    nb_var yes = nb_chain(target, nb_softplus(nb_neg(x)));
    return reduce(who, nb_add(yes, nb_chain(other(target), nb_softplus(x))), o);
}

double nbi_margin(const nb_loss_options *o) { return o && o->margin != 0 ? o->margin : 1; }

nb_var(nb_hinge)(nb_var score, nb_var label, const nb_loss_options *o)
{
    static const char who[] = "hinge";
    nb_var out;
    if (!nbi_pair(who, &score, &label, &out))
        return out;
    return reduce(who, nb_relu(nb_sub(nbi_margin(o), nb_mul(label, score))), o);
}

/* The step is a constant for the sweep, its derivative being 0. Where it is right, the product is
 * 0 times the score, a selection: an infinite score that is right costs nothing. */
nb_var(nb_perceptron_loss)(nb_var score, nb_var target, const nb_loss_options *o)
{
    static const char who[] = "perceptron_loss";
    nb_var out;
    if (!nbi_pair(who, &score, &target, &out))
        return out;
    nb_var error = nb_sub(nb_detach(nb_step(score)), target);
    return reduce(who, nb_chain(error, score), o);
}
