/*
 * Plain C functions over arrays as subjects. They may not know of nabla, and nothing is known of what
 * they do inside.
 */
#include "check/verify.h"

#include <math.h>
#include <string.h>

/* What is there of a caller's functions. */
typedef struct plain {
    const nb_check_plain *gradient;
    const nb_check_plain_jvp *jvp;
    const nb_check_plain_hvp *hvp;
    double *copy; /* [n] of the direction, which a call must not change for others */
} plain;

static bool f_value(nbi_verify *c, const double *x, double *y)
{
    const nb_check_plain *p = ((plain *)c->self)->gradient;
    *y = p->f(x, c->n, p->context);
    return true;
}

static void unfilled(size_t n, double *a)
{
    for (size_t i = 0; i < n; i++)
        a[i] = (double)NAN;
}

static bool f_claim(nbi_verify *c, const double *x, double *y, double *claim)
{
    const nb_check_plain *p = ((plain *)c->self)->gradient;
    (void)y;
    unfilled(c->n, claim); /* what it leaves out is found out */
    p->g(x, c->n, claim, p->context);
    return true;
}

static bool f_curvature(nbi_verify *c, const double *v, double *vhv)
{
    const nb_check_plain *p = ((plain *)c->self)->gradient;
    unfilled(c->n, c->again);
    p->hvp(c->at, c->n, v, c->again, p->context);
    *vhv = 0;
    for (size_t i = 0; i < c->n; i++)
        *vhv += v[i] * c->again[i];
    return true;
}

static bool jvp_value(nbi_verify *c, const double *x, double *y)
{
    const nb_check_plain_jvp *p = ((plain *)c->self)->jvp;
    p->f(x, c->n, y, c->m, p->context);
    return true;
}

static const double *own_copy(nbi_verify *c)
{
    double *copy = ((plain *)c->self)->copy;
    memcpy(copy, c->v, c->n * sizeof *copy);
    return copy;
}

static void look_at_direction(nbi_verify *c)
{
    if (memcmp(((plain *)c->self)->copy, c->v, c->n * sizeof *c->v) != 0)
        c->wrote = true;
}

static bool jvp_claim(nbi_verify *c, const double *x, double *y, double *claim)
{
    const nb_check_plain_jvp *p = ((plain *)c->self)->jvp;
    (void)y;
    unfilled(c->m, claim);
    p->jvp(x, c->n, own_copy(c), claim, c->m, p->context);
    look_at_direction(c);
    return true;
}

static bool hvp_value(nbi_verify *c, const double *x, double *y)
{
    const nb_check_plain_hvp *p = ((plain *)c->self)->hvp;
    p->g(x, c->n, y, p->context);
    return true;
}

static bool hvp_claim(nbi_verify *c, const double *x, double *y, double *claim)
{
    const nb_check_plain_hvp *p = ((plain *)c->self)->hvp;
    (void)y;
    unfilled(c->n, claim);
    p->hvp(x, c->n, own_copy(c), claim, p->context);
    look_at_direction(c);
    return true;
}

/* The caller's layout, if it describes just the n elements, else one vector. */
static bool lay_out(nbi_verify *c, size_t n_in, const nb_check_input *in)
{
    size_t at = 0;
    const size_t room = n_in + 1;
    if (n_in > SIZE_MAX / sizeof *c->block - 1 ||
        !(c->block = nbi_take(&c->work, room * sizeof *c->block, NBI_ALIGN)))
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for %zu inputs", n_in);
    for (size_t k = 0; k < n_in; k++) {
        const int64_t size = in[k].shape.rank < 0 ? 1 : nb_shape_size(in[k].shape);
        if (size < 0 || (size_t)size > c->n - at)
            return nbi_check_fail(c, NB_ERR_SHAPE, "input %zu does not fit the %zu elements", k,
                                  c->n);
        c->block[k] = (nbi_block){in[k].name, in[k].shape, at, (size_t)size, k};
        at += (size_t)size;
    }
    if (n_in && at != c->n)
        return nbi_check_fail(c, NB_ERR_SHAPE, "the inputs have %zu elements, x has %zu", at, c->n);
    c->n_block = n_in ? n_in : 1;
    if (!n_in)
        c->block[0] = (nbi_block){"x", NB_SHAPE((int64_t)c->n), 0, c->n, 0};
    return true;
}

nb_verdict nb_check_arrays(const nb_check_plain *p, const nb_check_options *options,
                           nb_check_report *report)
{
    nbi_verify c;
    nb_check_report own;
    plain self = {.gradient = p};
    nbi_subject s = {.value = f_value, .claim = f_claim};
    nbi_check_open(&c, options, report ? report : &own);
    c.s = &s;
    c.self = &self;
    if (!p || !p->f || !p->g || (p->n && !p->x) || (p->n_in && !p->in)) {
        nbi_check_fail(&c, NB_ERR_ARGUMENT, "check: f, g or x is NULL");
        return nbi_check_close(&c);
    }
    s.curvature = p->hvp ? f_curvature : NULL;
    c.n = p->n;
    c.m = 1;
    c.x = p->x;
    if (lay_out(&c, p->n_in, p->in))
        nbi_check_run(&c);
    return nbi_check_close(&c);
}

/* Runs the check of a product along v, or a random direction. */
static nb_verdict product(nbi_verify *c, plain *self, const double *v)
{
    c->self = self;
    c->product = true;
    self->copy = nbi_doubles(c, c->n);
    c->v = nbi_doubles(c, c->n);
    for (size_t i = 0; c->v && i < c->n; i++) {
        const double u = nb_rng_uniform(&c->rng) - 0.5;
        c->v[i] = v ? v[i] : (u + copysign(0.5, u)) * (c->x[i] != 0 ? fabs(c->x[i]) : 1);
    }
    if (self->copy && c->v && lay_out(c, 0, NULL))
        nbi_check_run(c);
    return nbi_check_close(c);
}

nb_verdict nb_check_jvp(const nb_check_plain_jvp *p, const nb_check_options *options,
                        nb_check_report *report)
{
    nbi_verify c;
    nb_check_report own;
    plain self = {.jvp = p};
    const nbi_subject s = {.value = jvp_value, .claim = jvp_claim};
    nbi_check_open(&c, options, report ? report : &own);
    c.s = &s;
    if (!p || !p->f || !p->jvp || (p->n && !p->x)) {
        nbi_check_fail(&c, NB_ERR_ARGUMENT, "check: f, jvp or x is NULL");
        return nbi_check_close(&c);
    }
    c.n = p->n;
    c.m = p->m;
    c.x = p->x;
    return product(&c, &self, p->v);
}

nb_verdict nb_check_hvp(const nb_check_plain_hvp *p, const nb_check_options *options,
                        nb_check_report *report)
{
    nbi_verify c;
    nb_check_report own;
    plain self = {.hvp = p};
    const nbi_subject s = {.value = hvp_value, .claim = hvp_claim};
    nbi_check_open(&c, options, report ? report : &own);
    c.s = &s;
    if (!p || !p->g || !p->hvp || (p->n && !p->x)) {
        nbi_check_fail(&c, NB_ERR_ARGUMENT, "check: g, hvp or x is NULL");
        return nbi_check_close(&c);
    }
    c.n = c.m = p->n;
    c.x = p->x;
    return product(&c, &self, p->v);
}
