/*
 * Initial values.
 *
 * A sum of n independent terms w x has n times the variance of one. To keep the variance of signals
 * from layer to layer, weights want variance 1/n (LeCun); 2/n where relu throws one half away (He);
 * the same for gradients, which are sums over the m outputs, asks for 1/m, and 2/(n + m) is the
 * compromise (Glorot). A uniform distribution within s of 0 has deviation s / sqrt 3, so each rule has
 * a normal and a uniform form of the same deviation.
 *
 * Q of a Gaussian matrix A = Q R, R with a positive diagonal, is uniformly distributed among all
 * matrices with orthonormal columns: multiplying A by any orthogonal U leaves its distribution as it
 * is, and multiplies Q by U. nb_qr is used as anyone would, on a tape of its own.
 */
#include "model.h"

#include <math.h>
#include <nabla/algebra.h>
#include <string.h>

const char *nb_init_name(nb_init_rule rule)
{
#define NAME(rule, name, text) name,
    static const char *const names[] = {NB_INITS(NAME)};
#undef NAME
    return (unsigned)rule < NB_INIT_COUNT ? names[rule] : "unknown";
}

bool nbi_draws(nb_init_rule rule) { return rule > NB_INIT_CONSTANT && rule != NB_INIT_IDENTITY; }

/* ---- fans ------------------------------------------------------------------------------------ */

nb_fans nb_fans_of(nb_shape w)
{
    if (w.rank > 2)
        return nb_fans_conv(w, 1, false);
    const double in = w.rank > 0 ? (double)w.dims[0] : 1;
    return (nb_fans){in, w.rank > 1 ? (double)w.dims[1] : in};
}

nb_fans nb_fans_conv(nb_shape w, int64_t groups, bool transposed)
{
    double taps = 1;
    for (int k = 2; k < w.rank && k < NB_MAX_RANK; k++)
        taps *= (double)w.dims[k];
    const double first = (double)w.dims[0] * taps / (double)(groups > 1 ? groups : 1);
    const double second = (double)w.dims[1] * taps;
    return transposed ? (nb_fans){first, second} : (nb_fans){second, first};
}

/* ---- element by element ---------------------------------------------------------------------- */

static double truncated_normal(nb_rng *r)
{
    double z;
    do
        z = nb_rng_normal(r);
    while (fabs(z) > 2);
    return z;
}

/* Of the rules that are named by a deviation. */
static double deviation(nb_init init, nb_fans f)
{
    const double gain = init.a != 0 ? init.a : 1;
    switch (init.rule) {
    case NB_INIT_GLOROT_NORMAL:
    case NB_INIT_GLOROT_UNIFORM: return gain * sqrt(2 / (f.in + f.out));
    case NB_INIT_HE_NORMAL:
    case NB_INIT_HE_UNIFORM: return sqrt(2 / (1 + init.a * init.a) / f.in);
    default: return 1 / sqrt(f.in);
    }
}

static double symmetric(nb_rng *r, double size) { return size * (2 * nb_rng_uniform(r) - 1); }

static double one_value(nb_init init, nb_fans f, nb_rng *r)
{
    const double b = init.b != 0 ? init.b : 0.01;
    switch (init.rule) {
    case NB_INIT_CONSTANT: return init.a;
    case NB_INIT_NORMAL: return init.a + b * nb_rng_normal(r);
    case NB_INIT_TRUNCATED: return init.a + b * truncated_normal(r);
    case NB_INIT_UNIFORM:
        if (init.a == 0 && init.b == 0)
            return symmetric(r, 1 / sqrt(f.in));
        return init.a + (init.b - init.a) * nb_rng_uniform(r);
    case NB_INIT_LECUN_NORMAL:
    case NB_INIT_GLOROT_NORMAL:
    case NB_INIT_HE_NORMAL: return deviation(init, f) * nb_rng_normal(r);
    case NB_INIT_LECUN_UNIFORM:
    case NB_INIT_GLOROT_UNIFORM:
    case NB_INIT_HE_UNIFORM: return symmetric(r, sqrt(3) * deviation(init, f));
    default: return 0;
    }
}

/* ---- as a matrix ----------------------------------------------------------------------------- */

/* One part of the elements: row i, column j at i * step + j. */
typedef struct block {
    void *data;
    nb_dtype dtype;
    int64_t rows, columns, step;
} block;

static void put(const block *m, int64_t i, int64_t j, double value)
{
    nbi_store(m->data, m->dtype, i * m->step + j, value);
}

static void identity(const block *m, double gain)
{
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = 0; j < m->columns; j++)
            put(m, i, j, i == j ? gain : 0);
}

static nb_code orthogonal(const block *m, double gain, const nb_allocator *a, nb_rng *r)
{
    const bool wide = m->columns > m->rows;
    const int64_t rows = wide ? m->columns : m->rows, columns = wide ? m->rows : m->columns;
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = *a});
    nb_var q, upper;
    if (!t)
        return NB_ERR_MEMORY;
    nb_set_recording(t, false);
    nb_code code = nb_qr(nb_normal(t, NB_SHAPE(rows, columns), 0, 1, r), &q, &upper);
    const double *x = code == NB_OK ? nb_data(q) : NULL;
    for (int64_t i = 0; x && i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            put(m, wide ? j : i, wide ? i : j, gain * x[i * columns + j]);
    code = nb_status(t);
    nb_tape_free(t);
    return code;
}

nb_code nbi_draw(const nb_params *p, const nbi_entry *e, nb_init init, nb_rng *r, void *out)
{
    const double gain = init.a != 0 ? init.a : 1;
    if (init.rule != NB_INIT_ORTHOGONAL && init.rule != NB_INIT_IDENTITY) {
        for (int64_t i = 0; i < e->size; i++)
            nbi_store(out, p->dtype, i, one_value(init, e->fans, r));
        return NB_OK;
    }
    const int rank = e->shape.rank;
    block m = {out, p->dtype, rank > 1 ? e->shape.dims[0] : 1, 0, 0};
    if (e->parts > 1)
        m.rows = e->size / e->shape.dims[rank - 1];
    m.step = e->size / m.rows;
    m.columns = m.step / e->parts;
    for (int64_t k = 0; k < e->parts; k++) {
        m.data = nbi_element_place(out, p->dtype, k * m.columns);
        if (init.rule == NB_INIT_IDENTITY) {
            identity(&m, gain);
            continue;
        }
        const nb_code code = orthogonal(&m, gain, &p->allocator, r);
        if (code != NB_OK)
            return code;
    }
    return NB_OK;
}
