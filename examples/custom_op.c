/*
 * An operation of one's own.
 *
 *     lagged(x)[i] = x[i] x[i + lag],    i = 0 … n - lag - 1
 *
 * for a vector x of length n: the terms whose mean is the autocorrelation of a signal. Element j of
 * x occurs in y[j] with the factor x[j + lag], and in y[j - lag] with the factor x[j - lag], so
 *
 *     dx[j] = g[j] x[j + lag] + g[j - lag] x[j - lag]
 *
 * where g is the adjoint of y and what lies outside counts as 0. The rule is written twice. Over
 * arrays it is fast. As graph code it is recorded when a gradient is itself to be differentiated.
 * Nothing trusts the author: nb_check_op holds the record to the laws that every operation obeys,
 * one of which is that the two rules agree.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

/* Captured by the node: what nb_apply was given. */
typedef struct lag_state {
    int64_t lag;
} lag_state;

static double get(const nb_array *a, int64_t i)
{
    return a->dtype == NB_F64 ? ((const double *)a->data)[i] : (double)((const float *)a->data)[i];
}

static void put(const nb_array *a, int64_t i, double v)
{
    if (a->dtype == NB_F64)
        ((double *)a->data)[i] = v;
    else
        ((float *)a->data)[i] = (float)v;
}

/* x [n] to [n - lag] */
static nb_code lagged_shape(const nb_call *c, nb_shape *out)
{
    int64_t lag = ((const lag_state *)c->state)->lag;
    if (c->n_in != 1 || c->in[0].rank != 1)
        return nb_refuse(c, NB_ERR_SHAPE, "one vector is wanted", NULL);
    if (lag < 0 || lag >= c->in[0].size)
        return nb_refuse(c, NB_ERR_ARGUMENT, "the lag does not fit the vector",
                         "the lag is %lld, a has %lld elements", (long long)lag,
                         (long long)c->in[0].size);
    *out = NB_SHAPE(c->in[0].size - lag);
    return NB_OK;
}

static nb_code lagged_forward(const nb_call *c)
{
    int64_t lag = ((const lag_state *)c->state)->lag;
    for (int64_t i = 0; i < c->out->size; i++)
        put(c->out, i, get(&c->in[0], i) * get(&c->in[0], i + lag));
    return NB_OK;
}

static nb_code lagged_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                     const bool *add)
{
    int64_t lag = ((const lag_state *)c->state)->lag;
    const nb_array *x = &c->in[0], *dx = gin[0];
    (void)add; /* dx holds zeros or earlier contributions: adding is right either way */
    for (int64_t i = 0; i < c->out->size; i++) {
        put(dx, i, get(dx, i) + get(g, i) * get(x, i + lag));
        put(dx, i + lag, get(dx, i + lag) + get(g, i) * get(x, i));
    }
    return NB_OK;
}

static nb_code lagged_reverse(const nb_rule *r)
{
    int64_t lag = ((const lag_state *)r->state)->lag;
    nb_var ahead = nb_slice(r->in[0], 0, lag, NB_END, 1),
           here = nb_slice(r->in[0], 0, 0, nb_size(r->g), 1);
    r->d[0] =
        nb_add(nb_pad(nb_mul(r->g, ahead), 0, 0, lag, 0), nb_pad(nb_mul(r->g, here), 0, lag, 0, 0));
    return NB_OK;
}

static nb_var lagged_sample(nb_sampler *s, int k);

static const nb_op lagged_op = {
    .name = "lagged",
    .doc = "products of elements that are a lag apart",
    .shape = lagged_shape,
    .forward = lagged_forward,
    .reverse_arrays = lagged_reverse_arrays,
    .reverse = lagged_reverse,
    .sample = lagged_sample,
};

static nb_var lagged(nb_var x, int64_t lag)
{
    lag_state state = {lag};
    return nb_apply(&lagged_op, 1, &x, &state, sizeof state);
}

/* Example calls for the laws: lags of 0, 1 and 4. */
static nb_var lagged_sample(nb_sampler *s, int k)
{
    static const int64_t lags[] = {0, 1, 4};
    return k < 3 ? lagged(nb_sample(s, NB_SHAPE(9), -2, 2), lags[k]) : NB_NONE;
}

static bool obeys_laws(void)
{
    nb_law_report report;
    nb_code code = nb_check_op(&lagged_op, &report);
    for (int k = 0; k < NB_LAW_COUNT; k++) {
        const nb_law_count *n = &report.law[k];
        const char *verdict = !n->tried              ? "nothing tried"
                              : n->passed < n->tried ? "broken"
                                                     : "holds";
        printf("  %-13s %s\n", nb_law_name((nb_law)k), verdict);
    }
    if (code != NB_OK)
        printf("%s\n", report.text);
    return code == NB_OK;
}

int main(void)
{
    enum { N = 6 };
    static const double signal[N] = {1, 3, -2, 0.5, 2, -1};
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_tensor(t, "signal", NB_SHAPE(N), signal), y = lagged(x, 2);
    double value[N - 2], gradient[N];
    nb_backward(nb_sum(y));
    bool good = nb_read(y, value, N - 2) == NB_OK && nb_read_grad(x, gradient, N) == NB_OK;
    puts(" i   x[i]   y[i]   dx[i]     with a lag of 2; dx is the gradient of the sum of y");
    for (int i = 0; i < N && good; i++) {
        double exact = (i + 2 < N ? signal[i + 2] : 0) + (i >= 2 ? signal[i - 2] : 0);
        good = gradient[i] == exact && (i + 2 >= N || value[i] == signal[i] * signal[i + 2]);
        if (i + 2 < N)
            printf("%2d  %5g  %5g  %6g\n", i, signal[i], value[i], gradient[i]);
        else
            printf("%2d  %5g  %5s  %6g\n", i, signal[i], "", gradient[i]);
    }

    puts("\nA lag that does not fit:\n");
    good = good && !nb_ok(lagged(x, 7)) && nb_status(t) == NB_ERR_ARGUMENT;
    printf("%s\n", nb_message(t));

    puts("\nThe laws:\n");
    good = obeys_laws() && good;
    nb_tape_free(t);
    return good ? 0 : 1;
}
