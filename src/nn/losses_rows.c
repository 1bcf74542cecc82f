/*
 * Losses of rows, which lie along the last axis: of classes, of distributions, of vectors.
 *
 * A label picks an element of its row, by nb_gather with one index for each row. Labels are looked at
 * before anything is recorded. One that is to be ignored picks the first element, whose loss is then
 * selected away.
 *
 * Cross-entropy is -sum of p log q with q = softmax(z) over log q = z - logsumexp(z), never over q: so
 * its gradient is q - p to the last digit, a label whose logit is -inf costs inf, and p = 0 there costs
 * 0. Label smoothing s takes for p the mixture (1 - s) one-hot + s / classes.
 */
#include "loss.h"
#include "refuse.h"

#include <math.h>
#include <nabla/net.h>

/* ---- labels ---------------------------------------------------------------------------------- */

typedef struct rows {
    nb_shape shape;  /* of the array that labels pick from, one for each row: the last axis is 1 */
    nb_shape losses; /* without that axis */
    int64_t classes;
    int64_t *index; /* [n], kept with the tape until it is rewound */
    nb_var left;    /* 1 where a label counts, or NB_NONE if all do */
} rows;

static const char *wrong_labels(nb_var x, int64_t n, const int64_t *label, bool ignore, int64_t *at)
{
    const int64_t classes = nb_dim(x, -1),
                  count = nb_rank(x) ? nb_size(x) / (classes + !classes) : -1;
    *at = -1;
    if (count < 0)
        return "the rows have no axis";
    if (classes < 1)
        return "there are no classes";
    if (n != count || (n && !label))
        return "there must be a label for each row";
    for (*at = 0; *at < n; ++*at)
        if (label[*at] >= classes || (label[*at] < 0 && !ignore))
            return "a label is out of range";
    return NULL;
}

static bool refuse_labels(const char *who, nb_var x, int64_t n, const int64_t *label, bool ignore,
                          nb_var *out)
{
    int64_t at;
    const char *reason = wrong_labels(x, n, label, ignore, &at);
    if (reason && at >= 0)
        *out = nbi_refuse(who, NB_ERR_INDEX, 1, &x, reason, "label %lld is %lld, of %lld classes",
                          (long long)at, (long long)label[at], (long long)nb_dim(x, -1));
    else if (reason)
        *out = nbi_refuse(who, NB_ERR_SHAPE, 1, &x, reason, "%lld labels were given",
                          (long long)(label ? n : 0));
    return reason != NULL;
}

/* Memory of the tape's, gone with what is recorded now. */
static void *keep(nb_tape *t, const char *who, int64_t n, size_t width)
{
    const nb_op op = {.name = who};
    const nb_call c = {.tape = t, .op = &op};
    return nb_keep(&c, (size_t)n * width + 1);
}

static bool read_labels(const char *who, nb_var x, int64_t n, const int64_t *label,
                        const nb_loss_options *o, rows *r, nb_var *out)
{
    const bool ignore = o && o->ignore_negative;
    int64_t ignored = 0;
    if (!nbi_usable(who, 1, &x, out) || refuse_labels(who, x, n, label, ignore, out))
        return false;
    *r = (rows){.shape = nb_shape_of(x), .left = NB_NONE};
    const int last = r->shape.rank - 1;
    r->classes = r->shape.dims[last];
    r->shape.dims[last] = 1;
    r->losses = r->shape;
    r->losses.rank = last;
    r->index = keep(x.tape, who, n, sizeof *r->index);
    double *left = keep(x.tape, who, n, sizeof *left);
    if (!r->index || !left) {
        *out = NB_NONE;
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        left[i] = label[i] >= 0;
        r->index[i] = label[i] >= 0 ? label[i] : 0;
        ignored += label[i] < 0;
    }
    if (ignored)
        r->left = nb_constant_tensor(x.tape, r->losses, left);
    return true;
}

/* x at each row's label, with the last axis kept as 1 */
static nb_var at_label(nb_var x, const rows *r) { return nb_gather(x, -1, r->shape, r->index); }

static nb_var along_rows(nb_var x) { return nb_sum_over(x, NB_AXES(-1), false); }

/* ---- distributions --------------------------------------------------------------------------- */

/* With the part s of each label spread over all classes. */
static nb_var likelihood(const char *who, nb_var log_p, const rows *r, const nb_loss_options *o,
                         double s)
{
    nb_var loss = nb_neg(nb_reshape(at_label(log_p, r), r->losses));
    if (s != 0) {
        nb_var even = nb_neg(nb_mean_over(log_p, NB_AXES(-1), false));
        loss = nb_add(nb_chain(nb_num(1 - s), loss), nb_mul(s, even));
    }
    return nbi_reduce_loss(who, loss, o, NB_REDUCE_MEAN, r->left);
}

nb_var(nb_cross_entropy)(nb_var logits, int64_t n, const int64_t *label, const nb_loss_options *o)
{
    static const char who[] = "cross_entropy";
    rows r;
    nb_var out;
    if (!read_labels(who, logits, n, label, o, &r, &out))
        return out;
    if (o && !(o->smoothing >= 0 && o->smoothing <= 1))
        return nbi_refuse(who, NB_ERR_ARGUMENT, 1, &logits, "smoothing lies outside [0, 1]",
                          "it is %g", o->smoothing);
    return likelihood(who, nb_log_softmax(logits, -1), &r, o, o ? o->smoothing : 0);
}

nb_var(nb_negative_log_likelihood)(nb_var log_p, int64_t n, const int64_t *label,
                                   const nb_loss_options *o)
{
    static const char who[] = "negative_log_likelihood";
    rows r;
    nb_var out;
    if (!read_labels(who, log_p, n, label, o, &r, &out))
        return out;
    return likelihood(who, log_p, &r, o, 0);
}

/* Whether x and y are of one shape, with rows. */
static bool row_pair(const char *who, nb_var *x, nb_var *y, nb_var *out)
{
    const nb_var both[] = {*x, *y};
    if (!nbi_pair(who, x, y, out))
        return false;
    if (nb_rank(*x) > 0 && nb_rank(*y) > 0)
        return true;
    *out = nbi_refuse(who, NB_ERR_SHAPE, 2, both, "the rows have no axis", NULL);
    return false;
}

nb_var(nb_soft_cross_entropy)(nb_var logits, nb_var p, const nb_loss_options *o)
{
    static const char who[] = "soft_cross_entropy";
    nb_var out;
    if (!row_pair(who, &logits, &p, &out) || !nbi_probable(who, 1, logits, p, &out))
        return out;
    nb_var loss = nb_neg(along_rows(nb_chain(p, nb_log_softmax(logits, -1))));
    return nbi_reduce_loss(who, loss, o, NB_REDUCE_MEAN, NB_NONE);
}

nb_var(nb_kl_divergence)(nb_var log_q, nb_var p, const nb_loss_options *o)
{
    static const char who[] = "kl_divergence";
    nb_var out;
    if (!row_pair(who, &log_q, &p, &out) || !nbi_probable(who, 1, log_q, p, &out))
        return out;
    nb_var loss = along_rows(nb_sub(nb_xlogx(p), nb_chain(p, log_q)));
    return nbi_reduce_loss(who, loss, o, NB_REDUCE_MEAN, NB_NONE);
}

/* ---- margins --------------------------------------------------------------------------------- */

/* The label's own term is the margin, a constant: it is selected away, not subtracted. */
nb_var(nb_multiclass_hinge)(nb_var score, int64_t n, const int64_t *label, const nb_loss_options *o)
{
    static const char who[] = "multiclass_hinge";
    rows r;
    nb_var out;
    if (!read_labels(who, score, n, label, o, &r, &out))
        return out;
    nb_tape *t = score.tape;
    nb_var zeros = nb_zeros(t, nb_shape_of(score));
    nb_var own = nb_scatter_add(zeros, -1, r.shape, r.index, nb_ones(t, r.shape));
    nb_var term = nb_relu(nb_add(nbi_margin(o), nb_sub(score, at_label(score, &r))));
    nb_var loss = along_rows(nb_masked_fill(term, own, nb_num(0)));
    return nbi_reduce_loss(who, loss, o, NB_REDUCE_MEAN, r.left);
}

/* Rows of length 1; a row of zeros stays one, with gradient 0. */
static nb_var unit(nb_var x)
{
    nb_var length = nb_norm_over(x, NB_AXES(-1), true);
    return nb_where(nb_gt(length, 0), nb_div(x, length), nb_num(0));
}

nb_var(nb_cosine_loss)(nb_var x, nb_var y, const nb_loss_options *o)
{
    static const char who[] = "cosine_loss";
    nb_var out;
    if (!row_pair(who, &x, &y, &out))
        return out;
    nb_var loss = nb_sub(1, along_rows(nb_mul(unit(x), unit(y))));
    return nbi_reduce_loss(who, loss, o, NB_REDUCE_MEAN, NB_NONE);
}

static nb_var distance(nb_var x, nb_var y)
{
    return nb_norm_over(nb_sub(x, y), NB_AXES(-1), false);
}

nb_var(nb_triplet_loss)(nb_var anchor, nb_var near, nb_var far, const nb_loss_options *o)
{
    static const char who[] = "triplet_loss";
    nb_var out;
    if (!row_pair(who, &anchor, &near, &out) || !row_pair(who, &anchor, &far, &out))
        return out;
    nb_var gap = nb_sub(distance(anchor, near), distance(anchor, far));
    return nbi_reduce_loss(who, nb_relu(nb_add(gap, nbi_margin(o))), o, NB_REDUCE_MEAN, NB_NONE);
}
