/*
 * Initial values: the mean and the deviation that each rule promises, within five standard errors of the
 * sample, for the fans of matrices and of convolutions; and orthogonal matrices, part by part.
 */
#include "error_is.h"

enum { DTYPES = 2 };

static nb_params *params_of(int d)
{
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = (nb_dtype)d});
    ck_assert_ptr_nonnull(p);
    return p;
}

static double element(const void *data, int d, int64_t i)
{
    return d == NB_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static const double inf = (double)INFINITY;

typedef struct draw {
    nb_init init;
    nb_shape shape;
    nb_fans fans;
    double mean, deviation, bound; /* no element is farther from the mean than bound */
} draw;

static const draw draws[] = {
    {{NB_INIT_ZEROS, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0, 0},
    {{NB_INIT_DEFAULT, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0, 0},
    {{NB_INIT_CONSTANT, 0.25, 0}, {2, {100, 200}}, {0, 0}, 0.25, 0, 0},
    {{NB_INIT_NORMAL, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0.01, inf},
    {{NB_INIT_NORMAL, 3, 2}, {2, {100, 200}}, {0, 0}, 3, 2, inf},
    {{NB_INIT_TRUNCATED, 1, 0.5}, {2, {100, 200}}, {0, 0}, 1, 0.4398, 1},
    {{NB_INIT_UNIFORM, -1, 3}, {2, {100, 200}}, {0, 0}, 1, 1.15470, 2},
    {{NB_INIT_UNIFORM, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0.057735, 0.1},
    {{NB_INIT_FAN_IN_NORMAL, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0.1, inf},
    {{NB_INIT_LECUN_UNIFORM, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0.1, 0.173206},
    {{NB_INIT_XAVIER_NORMAL, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0.0816497, inf},
    {{NB_INIT_GLOROT_UNIFORM, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0.0816497, 0.141422},
    {{NB_INIT_GLOROT_NORMAL, 2, 0}, {2, {100, 200}}, {0, 0}, 0, 0.163299, inf},
    {{NB_INIT_HE_NORMAL, 0, 0}, {2, {100, 200}}, {0, 0}, 0, 0.141421, inf},
    {{NB_INIT_HE_UNIFORM, 1, 0}, {2, {100, 200}}, {0, 0}, 0, 0.1, 0.173206},
    {{NB_INIT_HE_NORMAL, 0, 0}, {4, {100, 8, 5, 5}}, {0, 0}, 0, 0.1, inf},     /* 8 x 25 in */
    {{NB_INIT_GLOROT_NORMAL, 0, 0}, {4, {42, 8, 5, 5}}, {0, 0}, 0, 0.04, inf}, /* 200, 1050 */
    {{NB_INIT_HE_NORMAL, 0, 0}, {3, {100, 50, 4}}, {0, 0}, 0, 0.1, inf},       /* 50 x 4 */
    {{NB_INIT_LECUN_NORMAL, 0, 0}, {2, {100, 200}}, {400, 1}, 0, 0.05, inf},   /* as told */
};
enum { DRAWS = sizeof draws / sizeof *draws };

START_TEST(statistics_of_draws)
{
    const draw *d = &draws[_i / DTYPES];
    nb_params *p = params_of(_i % DTYPES);
    nb_rng r = nb_rng_seed(7);
    const nb_param w =
        nb_params_add(p, "w", d->shape, &(nb_param_options){.init = d->init, .fans = d->fans}, &r);
    ck_assert_msg(w == 0, "%s", nb_params_message(p));
    const int64_t n = nb_params_size(p);
    double sum = 0, squares = 0, far = 0;
    for (int64_t k = 0; k < n; k++) {
        const double x = element(nb_params_values(p), _i % DTYPES, k) - d->mean;
        sum += x, squares += x * x, far = fmax(far, fabs(x));
    }
    const double error = 5 * d->deviation / sqrt((double)n);
    ck_assert_msg(fabs(sum / (double)n) <= error, "%s: mean off by %g", nb_init_name(d->init.rule),
                  sum / (double)n);
    ck_assert_msg(fabs(sqrt(squares / (double)n) - d->deviation) <= error,
                  "%s: deviation %g, not %g", nb_init_name(d->init.rule), sqrt(squares / (double)n),
                  d->deviation);
    ck_assert(far <= d->bound && (isinf(d->bound) || far >= 0.98 * d->bound));
    nb_params_free(p);
}
END_TEST

START_TEST(fans)
{
    nb_fans f = nb_fans_of(NB_SHAPE(3, 5));
    ck_assert(f.in == 3 && f.out == 5);
    f = nb_fans_of(NB_SHAPE(7));
    ck_assert(f.in == 7 && f.out == 7);
    f = nb_fans_of(NB_POINT);
    ck_assert(f.in == 1 && f.out == 1);
    f = nb_fans_conv(NB_SHAPE(8, 2, 3, 5), 4, false); /* 8 channels in four groups of 2 */
    ck_assert(f.in == 30 && f.out == 30);
    f = nb_fans_conv(NB_SHAPE(8, 3, 2), 2, true);
    ck_assert(f.in == 8 && f.out == 6);
}
END_TEST

/* Rows or columns, whichever are fewer, of each part. */
START_TEST(orthogonal)
{
    static const int64_t sizes[][3] = {{5, 3, 1}, {3, 5, 1}, {4, 12, 3}, {6, 6, 1}, {6, 4, 2}};
    const double tol = _i % DTYPES ? 1e-6 : 1e-14;
    const int64_t *s = sizes[_i / DTYPES], cols = s[1] / s[2], few = s[0] < cols ? s[0] : cols;
    nb_params *p = params_of(_i % DTYPES);
    nb_rng r = nb_rng_seed(3);
    nb_params_add(p, "w", NB_SHAPE(s[0], s[1]),
                  &(nb_param_options){.init = {NB_INIT_ORTHOGONAL, 2, 0}, .parts = s[2]}, &r);
    ck_assert_str_eq(nb_params_message(p), "");
    const void *w = nb_params_values(p);
    double sum = 0;
    for (int64_t part = 0; part < s[2]; part++)
        for (int64_t a = 0; a < few; a++)
            for (int64_t b = 0; b < few; b++) {
                double dot = 0;
                for (int64_t k = 0; k < (s[0] < cols ? cols : s[0]); k++) {
                    const int64_t ia = s[0] < cols ? a : k, ja = s[0] < cols ? k : a;
                    const int64_t ib = s[0] < cols ? b : k, jb = s[0] < cols ? k : b;
                    dot += element(w, _i % DTYPES, ia * s[1] + part * cols + ja) *
                           element(w, _i % DTYPES, ib * s[1] + part * cols + jb);
                }
                ck_assert(fabs(dot - (a == b ? 4 : 0)) < 10 * tol);
                sum += fabs(dot);
            }
    ck_assert(sum > 0);
    nb_params_draw(p, 0, (nb_init){NB_INIT_IDENTITY, 0, 0}, NULL);
    for (int64_t i = 0; i < s[0]; i++)
        for (int64_t j = 0; j < s[1]; j++)
            ck_assert(element(w, _i % DTYPES, i * s[1] + j) == (i == j % cols ? 1 : 0));
    nb_params_free(p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("init");
    tcase_add_loop_test(c, statistics_of_draws, 0, DRAWS * DTYPES);
    tcase_add_test(c, fans);
    tcase_add_loop_test(c, orthogonal, 0, 5 * DTYPES);
    return run_case("init", c);
}
