/*
 * Hooks on adjoints: the identity, with another reverse rule.
 *
 *     straight_through       y = value,   d through = g
 *     scale_gradient         y = x,       d x = c g
 *     reverse_gradient       y = x,       d x = -s g
 *     clip_gradient          y = x,       d x = min(max(g, low), high)
 *     clip_gradient_norm     y = x,       d x = g l / max(|g|, l)
 *     hook                   y = x,       d x = fn(g)
 *     watch_gradient         y = x,       d x = g, after fn(g)
 *
 * The first three are linear in g: they are the J^T of some J, which forward mode finds by applying
 * the rule twice. For those below no J exists; their tangent is the identity's. As the rules are
 * graph code, the derivative of a gradient that came through a hook goes through it as well: where
 * the adjoint is clipped it is constant, so its derivative is 0.
 */
#include "diff/hooks.h"
#include "diff/custom.h"

#include <nabla/ops.h>
#include <nabla/region.h>

#include <math.h>

/* What each hook captures. */
typedef struct captured {
    double a, b;
    nb_hook_fn fn;
    nb_watch_fn watch;
    void *context;
} captured;

/* The value of a scalar as it stands, which on a tape of floats the operand's array has not. */
static nb_code copy_scalar(const nb_call *c)
{
    *(double *)c->out->data = nb_value(c->vars[0]);
    return NB_OK;
}

static nb_code pass_tangent(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = r->t[0];
    return NB_OK;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static nb_code through_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *a = &c->in[0], *b = &c->in[1];
    bool same = a->rank == b->rank;
    for (int k = 0; k < a->rank && same; k++)
        same = a->dims[k] == b->dims[k];
    (void)out; /* that of the value */
    return same ? NB_OK
                : nb_refuse(c, NB_ERR_SHAPE,
                            "the value and what the gradient goes to differ in shape", NULL);
}

static nb_code through_reverse(const nb_rule *r)
{
    r->d[1] = r->g;
    return NB_OK;
}

static nb_code scale_shape(const nb_call *c, nb_shape *out)
{
    const captured *h = c->state;
    (void)out;
    return isnan(h->a) ? nb_refuse(c, NB_ERR_ARGUMENT, "the factor is nan", NULL) : NB_OK;
}

static nb_code scale_reverse(const nb_rule *r)
{
    const captured *h = r->state;
    r->d[0] = nb_mul(r->g, h->a);
    return NB_OK;
}

static nb_code clip_shape(const nb_call *c, nb_shape *out)
{
    const captured *h = c->state;
    (void)out;
    return h->a <= h->b ? NB_OK
                        : nb_refuse(c, NB_ERR_ARGUMENT, "there is nothing between the limits",
                                    "low is %g, high is %g", h->a, h->b);
}

static nb_code clip_reverse(const nb_rule *r)
{
    const captured *h = r->state;
    r->d[0] = nb_clamp(r->g, h->a, h->b);
    return NB_OK;
}

static nb_code norm_shape(const nb_call *c, nb_shape *out)
{
    const captured *h = c->state;
    (void)out;
    return h->a > 0 && isfinite(h->a)
               ? NB_OK
               : nb_refuse(c, NB_ERR_ARGUMENT, "the limit must be above 0 and finite", "it is %g",
                           h->a);
}

static nb_code norm_reverse(const nb_rule *r)
{
    const captured *h = r->state;
    r->d[0] = nb_mul(r->g, nb_div(h->a, nb_max(nb_norm(r->g), h->a)));
    return NB_OK;
}

static nb_code hook_shape(const nb_call *c, nb_shape *out)
{
    const captured *h = c->state;
    (void)out;
    return h->fn || h->watch ? NB_OK : nb_refuse(c, NB_ERR_ARGUMENT, "the function is NULL", NULL);
}

static nb_code hook_reverse(const nb_rule *r)
{
    const captured *h = r->state;
    const nb_code before = r->tape->code;
    nb_var d = h->fn(h->context, r->g);
    nbi_within(r->tape, before, "in the function of %s", r->op->name);
    if (!nbi_answer_fits(r->tape, r->op->name, d, r->in[0], 0))
        return NB_ERR_CALLBACK;
    r->d[0] = d;
    return NB_OK;
}

static nb_code watch_reverse(const nb_rule *r)
{
    const captured *h = r->state;
    const nb_code before = r->tape->code;
    h->watch(h->context, r->g);
    nbi_within(r->tape, before, "in the function of %s", r->op->name);
    r->d[0] = r->g;
    return NB_OK;
}

/* ---- examples -------------------------------------------------------------------------------- */

/* A scalar; or a vector and a batch of rows. False past the last. */
static bool example(nb_sampler *s, int k, bool tensor, nb_var *x)
{
    if (k > (tensor ? 1 : 0))
        return false;
    *x = !tensor  ? nb_sample_scalar(s, -2, 2)
         : k == 0 ? nb_sample(s, NB_SHAPE(5), -2, 2)
                  : nb_sample(s, NB_SHAPE(3, 1, 2), -2, 2);
    return true;
}

static nb_var same(void *context, nb_var g)
{
    (void)context;
    return nb_mul(g, 1);
}

static void look(void *context, nb_var g)
{
    (void)context;
    (void)g;
}

static nb_var sample_through(nb_sampler *s, int k, bool tensor)
{
    nb_var a, b;
    return example(s, k, tensor, &a) && example(s, k, tensor, &b) ? nb_straight_through(a, b)
                                                                  : NB_NONE;
}

static nb_var sample_scale(nb_sampler *s, int k, bool tensor)
{
    nb_var x;
    return example(s, k, tensor, &x) ? nb_scale_gradient(x, 0.25) : NB_NONE;
}

static nb_var sample_reverse(nb_sampler *s, int k, bool tensor)
{
    nb_var x;
    return example(s, k, tensor, &x) ? nb_reverse_gradient(x, 3) : NB_NONE;
}

/* The laws' seeds lie within these limits: there clipping is the identity in both modes. */
static nb_var sample_clip(nb_sampler *s, int k, bool tensor)
{
    nb_var x;
    return example(s, k, tensor, &x) ? nb_clip_gradient(x, -1000, 1000) : NB_NONE;
}

static nb_var sample_norm(nb_sampler *s, int k, bool tensor)
{
    nb_var x;
    return example(s, k, tensor, &x) ? nb_clip_gradient_norm(x, 1000) : NB_NONE;
}

static nb_var sample_hook(nb_sampler *s, int k, bool tensor)
{
    nb_var x;
    return example(s, k, tensor, &x) ? nb_hook(x, same, NULL) : NB_NONE;
}

static nb_var sample_watch(nb_sampler *s, int k, bool tensor)
{
    nb_var x;
    return example(s, k, tensor, &x) ? nb_watch_gradient(x, look, NULL) : NB_NONE;
}

/* ---- records --------------------------------------------------------------------------------- */

/* The records of a hook, for a scalar and for a tensor, and its entries in the list. */
#define HOOK(op, text, shape_rule, rule, tangent_rule, sampler)                              \
    static nb_var sampler##_of_scalar(nb_sampler *s, int k) { return sampler(s, k, false); } \
    static nb_var sampler##_of_tensor(nb_sampler *s, int k) { return sampler(s, k, true); }  \
    static const nb_op op[] = {{.name = #op,                                                 \
                                .doc = text,                                                 \
                                .shape = shape_rule,                                         \
                                .forward = copy_scalar,                                      \
                                .reverse = rule,                                             \
                                .tangent = tangent_rule,                                     \
                                .sample = sampler##_of_scalar},                              \
                               {.name = #op,                                                 \
                                .doc = text,                                                 \
                                .shape = shape_rule,                                         \
                                .view = true,                                                \
                                .reverse = rule,                                             \
                                .tangent = tangent_rule,                                     \
                                .sample = sampler##_of_tensor}};

HOOK(straight_through, "the value of one operand, the gradient to the other", through_shape,
     through_reverse, NULL, sample_through)
HOOK(scale_gradient, "the identity; its adjoint times a factor", scale_shape, scale_reverse, NULL,
     sample_scale)
HOOK(reverse_gradient, "the identity; its adjoint times a factor, negated", scale_shape,
     scale_reverse, NULL, sample_reverse)
HOOK(clip_gradient, "the identity; its adjoint clamped element by element", clip_shape,
     clip_reverse, pass_tangent, sample_clip)
HOOK(clip_gradient_norm, "the identity; its adjoint scaled down to a norm", norm_shape,
     norm_reverse, pass_tangent, sample_norm)
HOOK(hook, "the identity; its adjoint as a function returns it", hook_shape, hook_reverse,
     pass_tangent, sample_hook)
HOOK(watch_gradient, "the identity; a function sees its adjoint", hook_shape, watch_reverse,
     pass_tangent, sample_watch)

#define BOTH(op) &op[0], &op[1]
const nb_op *const nbi_hook_ops[NBI_HOOK_OPS] = {
    BOTH(straight_through),   BOTH(scale_gradient), BOTH(reverse_gradient), BOTH(clip_gradient),
    BOTH(clip_gradient_norm), BOTH(hook),           BOTH(watch_gradient),
};

bool nbi_hook_by_element(const nb_op *op)
{
    return op == &straight_through[1] || op == &scale_gradient[1] || op == &reverse_gradient[1] ||
           op == &clip_gradient[1] || op == &watch_gradient[1];
}

bool nbi_hook_calls(const nb_op *op)
{
    return op == &hook[0] || op == &hook[1] || op == &watch_gradient[0] || op == &watch_gradient[1];
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* A number has no adjoint to change. */
static nb_var apply(const nb_op *pair, nb_var x, captured state)
{
    return x.tape || !nb_ok(x) ? nb_apply(&pair[nb_is_tensor(x)], 1, &x, &state, sizeof state) : x;
}

nb_var nb_straight_through(nb_var value, nb_var through)
{
    const captured none = {0};
    return nb_apply(&straight_through[nb_is_tensor(value)], 2, (nb_var[]){value, through}, &none,
                    sizeof none);
}

nb_var nb_scale_gradient(nb_var x, double c)
{
    return apply(scale_gradient, x, (captured){.a = c});
}

nb_var nb_reverse_gradient(nb_var x, double scale)
{
    return apply(reverse_gradient, x, (captured){.a = -scale});
}

nb_var nb_clip_gradient(nb_var x, double low, double high)
{
    return apply(clip_gradient, x, (captured){.a = low, .b = high});
}

nb_var nb_clip_gradient_norm(nb_var x, double limit)
{
    return apply(clip_gradient_norm, x, (captured){.a = limit});
}

nb_var nb_hook(nb_var x, nb_hook_fn fn, void *context)
{
    return apply(hook, x, (captured){.fn = fn, .context = context});
}

nb_var nb_watch_gradient(nb_var x, nb_watch_fn fn, void *context)
{
    return apply(watch_gradient, x, (captured){.watch = fn, .context = context});
}
