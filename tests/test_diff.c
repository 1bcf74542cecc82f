/*
 * Second derivatives: Hessians against closed forms and against differences of gradients, Hessian
 * times vector against the Hessian.
 */
#include "matrix.h"

enum { MOST = 64 };

/* H of f by in, and that nb_hvp is H v, within tol. */
static void hessian_and_products(nb_var f, size_t n_in, const nb_var *in, size_t n, double *H,
                                 double tol)
{
    const double *v[MOST];
    double *out[MOST], *flat = doubles(4 * n), *x = flat, *y = x + n, *z = y + n;
    nb_rng r = nb_rng_seed(n);
    ck_assert_uint_le(n_in, MOST);
    ck_assert_int_eq(nb_hessian(f, n_in, in, H), NB_OK);
    for (size_t i = 0; i < n; i++) {
        x[i] = y[i] = nb_rng_normal(&r);
        for (size_t j = 0; j < n; j++)
            ck_assert(H[i * n + j] == H[j * n + i]);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            z[i] += H[i * n + j] * x[j];
    for (size_t k = 0, at = 0; k < n_in; at += (size_t)nb_size(in[k++]))
        v[k] = out[k] = y + at;
    ck_assert_int_eq(nb_hvp(f, n_in, in, v, out), NB_OK); /* in place */
    same(n, y, z, tol);
    free(flat);
}

/* ---- Rosenbrock ------------------------------------------------------------------------------ */

/* The sum over i of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2. */
static nb_var rosenbrock(size_t n, const nb_var *x)
{
    nb_var f = nb_num(0);
    for (size_t i = 0; i + 1 < n; i++)
        f = nb_add(f, nb_add(nb_mul(100, nb_square(nb_sub(x[i + 1], nb_square(x[i])))),
                             nb_square(nb_sub(1, x[i]))));
    return f;
}

static nb_var rosenbrock_of_tensor(nb_var x)
{
    nb_var a = nb_slice(x, 0, 0, -1, 1), b = nb_slice(x, 0, 1, NB_END, 1);
    return nb_add(nb_mul(100, nb_sum(nb_square(nb_sub(b, nb_square(a))))),
                  nb_sum(nb_square(nb_sub(1, a))));
}

static void rosenbrock_hessian(size_t n, const double *x, double *H)
{
    memset(H, 0, n * n * sizeof *H);
    for (size_t i = 0; i + 1 < n; i++) {
        H[i * n + i] += 1200 * x[i] * x[i] - 400 * x[i + 1] + 2;
        H[(i + 1) * n + i + 1] += 200;
        H[i * n + i + 1] = H[(i + 1) * n + i] = -400 * x[i];
    }
}

static const size_t sizes[] = {2, 3, 10, 64};

START_TEST(rosenbrock_of_scalars)
{
    size_t n = sizes[_i];
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(n);
    double x[MOST] = {0}, *H = doubles(2 * n * n), *closed = H + n * n;
    nb_var in[MOST];
    for (size_t i = 0; i < n; i++)
        in[i] = nb_input(t, NULL, x[i] = nb_rng_normal(&r));
    hessian_and_products(rosenbrock(n, in), n, in, n, H, 1e-13);
    rosenbrock_hessian(n, x, closed);
    same(n * n, H, closed, 1e-14);
    free(H);
    nb_tape_free(t);
}
END_TEST

START_TEST(rosenbrock_of_a_tensor)
{
    const size_t n = sizes[_i];
    nb_rng r = nb_rng_seed(n);
    double x[MOST], *H = doubles(3 * n * n), *single = H + n * n, *closed = single + n * n;
    for (size_t i = 0; i < n; i++)
        x[i] = (double)(float)nb_rng_normal(&r);
    rosenbrock_hessian(n, x, closed);
    for (int d = 0; d < 2; d++) {
        nb_tape *t = nb_tape_new(&(nb_options){.dtype = d ? NB_F32 : NB_F64});
        nb_var in = nb_tensor(t, "x", NB_SHAPE((int64_t)n), x);
        hessian_and_products(rosenbrock_of_tensor(in), 1, &in, n, d ? single : H, d ? 1e-5 : 1e-13);
        nb_tape_free(t);
    }
    same(n * n, H, closed, 1e-14);
    same(n * n, single, closed, 1e-6);
    free(H);
}
END_TEST

/* A thousand inputs: every row of the Hessian, and products, are tridiagonal. */
START_TEST(rosenbrock_of_a_thousand)
{
    enum { N = 1000 };
    nb_tape *t = nb_tape_new(NULL);
    double *x = doubles(4 * N), *v = x + N, *got = v + N, *want = got + N;
    double *H = doubles(2 * N * N), *closed = H + N * N;
    const double *to_v[N];
    double *to_got[N];
    nb_var in[N];
    nb_rng r = nb_rng_seed(5);
    for (size_t i = 0; i < N; i++) {
        in[i] = nb_input(t, NULL, x[i] = nb_rng_normal(&r));
        v[i] = nb_rng_normal(&r);
        to_v[i] = &v[i];
        to_got[i] = &got[i];
    }
    nb_var f = rosenbrock(N, in);
    rosenbrock_hessian(N, x, closed);
    for (size_t i = 0; i < N; i++)
        for (size_t j = i ? i - 1 : 0; j < N && j <= i + 1; j++)
            want[i] += closed[i * N + j] * v[j];
    ck_assert_int_eq(nb_hvp(f, N, in, to_v, to_got), NB_OK);
    same(N, got, want, 1e-13);
    ck_assert_int_eq(nb_hessian(f, N, in, H), NB_OK);
    same((size_t)N * N, H, closed, 1e-14);
    free(x);
    free(H);
    nb_tape_free(t);
}
END_TEST

/* ---- log-sum-exp: diag p - p p', with p the softmax ------------------------------------------ */

static void log_sum_exp_hessian(size_t n, const double *x, double *H)
{
    double most = x[0], total = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, x[i]);
    for (size_t i = 0; i < n; i++)
        total += exp(x[i] - most);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double p = exp(x[i] - most) / total, q = exp(x[j] - most) / total;
            H[i * n + j] = (i == j ? p : 0) - p * q;
        }
}

START_TEST(log_sum_exp)
{
    enum { N = 9 };
    nb_tape *t = nb_tape_new(NULL);
    double x[N] = {1, -2, 0.5, 3, 0, -30, 2.5, 700, 699}, H[N * N], closed[N * N];
    nb_var in[N], tensor = nb_tensor(t, "x", NB_SHAPE(3, 3), x);
    for (int i = 0; i < N; i++)
        in[i] = nb_input(t, NULL, x[i]);
    log_sum_exp_hessian(N, x, closed);
    hessian_and_products(nb_logsumexp(tensor), 1, &tensor, N, H, 1e-14);
    same(N * N, H, closed, 1e-13);
    hessian_and_products(nb_logsumexp_of(N, in), N, in, N, H, 1e-14);
    same(N * N, H, closed, 1e-13);
    nb_tape_free(t);
}
END_TEST

/* ---- models without a closed form: differences of the gradient ------------------------------- */

typedef struct model {
    size_t n_in, n; /* inputs, and their elements */
    nb_var (*build)(nb_tape *t, const double *p, nb_var *in);
} model;

/* Points in the plane, fixed. */
enum { POINTS = 12, COMPONENTS = 3, HIDDEN = 4 };

static nb_var points(nb_tape *t)
{
    double x[POINTS * 2];
    for (int i = 0; i < POINTS; i++) {
        x[2 * i] = cos(1.3 * i) + 0.1 * i;
        x[2 * i + 1] = sin(2.1 * i) - 0.05 * i;
    }
    return nb_constant_tensor(t, NB_SHAPE(POINTS, 2), x);
}

/* Negative log likelihood of a Gaussian mixture: logits [K] and means [K 2], and a scalar each for
 * the components' log deviations. */
static nb_var mixture(nb_tape *t, const double *p, nb_var *in)
{
    enum { K = COMPONENTS };
    in[0] = nb_tensor(t, "logits", NB_SHAPE(K), p);
    in[1] = nb_tensor(t, "means", NB_SHAPE(K, 2), p + K);
    for (int k = 0; k < K; k++)
        in[2 + k] = nb_input(t, NULL, p[3 * K + k]);
    nb_var scale = nb_stack(K, in + 2, 0); /* [K] */
    nb_var x = nb_reshape(points(t), NB_SHAPE(POINTS, 1, 2));
    nb_var d = nb_sum_over(nb_square(nb_sub(x, in[1])), NB_AXES(-1), false); /* [points K] */
    nb_var e = nb_sub(nb_mul(-0.5, nb_mul(d, nb_exp(nb_mul(-2, scale)))), nb_mul(2, scale));
    nb_var l = nb_logsumexp_over(nb_add(nb_log_softmax(in[0], 0), e), NB_AXES(-1), false);
    return nb_neg(nb_sum(l));
}

/* Mean squared error of a two-layer net, with a scalar that scales its output. */
static nb_var network(nb_tape *t, const double *p, nb_var *in)
{
    enum { H = HIDDEN };
    in[0] = nb_tensor(t, "w1", NB_SHAPE(2, H), p);
    in[1] = nb_tensor(t, "b1", NB_SHAPE(H), p + 2 * H);
    in[2] = nb_tensor(t, "w2", NB_SHAPE(H, 1), p + 3 * H);
    in[3] = nb_input(t, "scale", p[4 * H]);
    nb_var x = points(t), h = nb_tanh(nb_add(nb_matmul(x, in[0]), in[1]));
    nb_var y = nb_mul(in[3], nb_matmul(nb_sigmoid(h), in[2]));
    nb_var target = nb_sum_over(nb_sin(nb_mul(2, x)), NB_AXES(-1), true);
    return nb_mean(nb_square(nb_sub(y, target)));
}

static const model models[] = {{2 + COMPONENTS, 4 * COMPONENTS, mixture},
                               {4, 4 * HIDDEN + 1, network}};

static void gradient_at(const model *m, const double *p, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[MOST], f = m->build(t, p, in);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    for (size_t k = 0; k < m->n_in; g += nb_size(in[k++]))
        ck_assert_int_eq(nb_read_grad(in[k], g, nb_size(in[k])), NB_OK);
    nb_tape_free(t);
}

START_TEST(against_differences)
{
    const model *m = &models[_i];
    const size_t n = m->n;
    const double h = 1e-5;
    double p[MOST], up[MOST], down[MOST], *H = doubles(3 * n * n);
    double *single = H + n * n, *close = single + n * n;
    nb_rng r = nb_rng_seed(17);
    for (size_t i = 0; i < n; i++)
        p[i] = 0.7 * nb_rng_normal(&r);
    for (size_t i = 0; i < n; i++) {
        const double at = p[i];
        p[i] = at + h;
        gradient_at(m, p, up);
        p[i] = at - h;
        gradient_at(m, p, down);
        p[i] = at;
        for (size_t j = 0; j < n; j++)
            close[i * n + j] = (up[j] - down[j]) / (2 * h);
    }
    for (int d = 0; d < 2; d++) {
        nb_tape *t = nb_tape_new(&(nb_options){.dtype = d ? NB_F32 : NB_F64});
        nb_var in[MOST], f = m->build(t, p, in);
        hessian_and_products(f, m->n_in, in, n, d ? single : H, d ? 1e-5 : 1e-13);
        ck_assert_str_eq(nb_message(t), "");
        nb_tape_free(t);
    }
    same(n * n, H, close, 1e-9);
    same(n * n, single, H, 1e-5);
    free(H);
}
END_TEST

/* The order in which gradients are asked for does not matter, nor do nodes below or above. */
START_TEST(any_order)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var below = nb_input(t, "below", 5), x = nb_input(t, "x", 2), y = nb_mul(x, below);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){1, 2}),
           f = nb_mul(nb_sum(v), nb_square(y));
    nb_var above = nb_exp(x), in[] = {above, v, y, x}, d[4];
    ck_assert_int_eq(nb_diff(1, &f, NULL, 4, in, d), NB_OK);
    ck_assert_double_eq(nb_value(d[0]), 0);
    ck_assert_double_eq(((const double *)nb_data(d[1]))[1], 100);
    ck_assert_double_eq(nb_value(d[2]), 3 * 2 * 10);
    ck_assert_double_eq(nb_value(d[3]), 3 * 2 * 10 * 5);
    ck_assert_int_eq(nb_diff(1, &below, NULL, 2, in, d),
                     NB_OK); /* older than all that is asked for */
    ck_assert_double_eq(nb_value(d[0]), 0);
    ck_assert_double_eq(((const double *)nb_data(d[1]))[1], 0);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* Without what it needs, and while nothing is recorded. */
START_TEST(refused_or_not_recorded)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), y = nb_powi(x, 3), d = x;
    ck_assert_int_eq(nb_diff(0, &y, NULL, 1, &x, &d), NB_ERR_ARGUMENT);
    ck_assert(!nb_ok(d));
    d = x;
    ck_assert_int_eq(nb_diff(1, NULL, NULL, 1, &x, &d), NB_ERR_ARGUMENT);
    ck_assert(!nb_ok(d));
    nb_set_recording(t, false);
    ck_assert_double_eq(nb_value(d = nb_derivative(y, x)), 12);
    ck_assert(nb_inspect(d).constant);
    ck_assert_double_eq(nb_value(nb_derivative(nb_square(y), x)), 0);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("diff");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, rosenbrock_of_scalars, 0, COUNT(sizes));
    tcase_add_loop_test(c, rosenbrock_of_a_tensor, 0, COUNT(sizes));
    tcase_add_test(c, rosenbrock_of_a_thousand);
    tcase_add_test(c, log_sum_exp);
    tcase_add_loop_test(c, against_differences, 0, COUNT(models));
    tcase_add_test(c, any_order);
    tcase_add_test(c, refused_or_not_recorded);
    return run_case("diff", c);
}
