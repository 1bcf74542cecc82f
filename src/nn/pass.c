/*
 * Passes: the parameters as vars of a tape.
 *
 * Each parameter is lent to the tape with its place in the array of gradients, so that a sweep leaves
 * the gradients side by side without a copy. Lending the same place twice would let the second node's
 * gradient wipe out the first's; therefore a training pass on a tape which still holds the parameters
 * hands out the vars it has. Whether it holds them is asked of the tape itself, by the address that a
 * var's elements have: a handle alone could be that of a tape that was freed and made anew in the same
 * place.
 */
#include "model.h"

#include <nabla/op.h>
#include <string.h>

static const nb_op pass_op = {.name = "pass"};

static nb_call call_on(nb_tape *t) { return (nb_call){.tape = t, .op = &pass_op}; }

static void *place_of(const nb_params *p, const nbi_entry *e)
{
    return nbi_element_place(p->params.data, p->dtype, e->offset);
}

static bool holds(const nb_params *p, nb_tape *t, const nb_var *var)
{
    for (int32_t i = 0; i < p->params.count; i++) {
        if (var[i].tape != t || !nb_ok(var[i]) || !nb_is_tensor(var[i]) ||
            nb_data(var[i]) != place_of(p, &p->params.entry[i]))
            return false;
    }
    return true;
}

static nb_var lend(const nb_params *p, nb_tape *t, const nbi_entry *e, void *grads)
{
    const void *values = place_of(p, e);
    void *grad = nbi_element_place(grads, p->dtype, e->offset);
    if (grad && !e->frozen)
        return nb_borrow(t, e->name, e->shape, values, grad);
    if (grad)
        memset(grad, 0, (size_t)e->size * nbi_width(p->dtype));
    return nb_name(nb_borrow_constant(t, e->shape, values), e->name);
}

static bool fits(const nb_params *p, nb_tape *t)
{
    const nb_call c = call_on(t);
    if (p->code != NB_OK)
        nb_refuse(&c, p->code, "the parameters have an error", "%s", p->message);
    else if (p->dtype != nb_tape_dtype(t))
        nb_refuse(&c, NB_ERR_ARGUMENT, "the element types differ",
                  "the parameters are %s, the tape's tensors %s",
                  p->dtype == NB_F64 ? "double" : "float", p->dtype == NB_F64 ? "float" : "double");
    return nb_status(t) == NB_OK;
}

nb_pass nb_pass_with(const nb_params *p, nb_tape *t, const nb_pass_spec *spec)
{
    nb_pass m = {.tape = t, .params = p};
    if (!p || !t || !spec || !fits(p, t))
        return m;
    if (!p->sealed || (!spec->var && p->params.count)) {
        const nb_call c = call_on(t);
        nb_refuse(&c, NB_ERR_ARGUMENT,
                  spec->var ? "the parameters are not sealed: ask for nb_params_grads first"
                            : "there is no room for vars",
                  NULL);
        return m;
    }
    if (!holds(p, t, spec->var))
        for (int32_t i = 0; i < p->params.count; i++)
            spec->var[i] = lend(p, t, &p->params.entry[i], spec->grads);
    if (nb_status(t) != NB_OK)
        return m;
    m.var = spec->var;
    m.count = p->params.count;
    m.statistics = spec->statistics ? spec->statistics : p->statistics.data;
    m.hold = !spec->statistics;
    m.training = spec->training;
    m.rng = spec->rng;
    return m;
}

/* A pass of the parameters' own: sealed now if they are not. */
static nb_pass own_pass(nb_params *p, nb_tape *t, bool training, nb_rng *r)
{
    if (!p || !t)
        return (nb_pass){.tape = t, .params = p};
    nbi_seal(p);
    const nb_pass_spec spec = {.var = training ? p->var : p->still,
                               .grads = training ? p->grads : NULL,
                               .statistics = p->statistics.data,
                               .training = training,
                               .rng = r};
    return nb_pass_with(p, t, &spec);
}

nb_pass nb_training_pass(nb_params *p, nb_tape *t, nb_rng *r) { return own_pass(p, t, true, r); }

nb_pass nb_evaluation_pass(nb_params *p, nb_tape *t) { return own_pass(p, t, false, NULL); }

nb_var nb_pass_var(const nb_pass *m, nb_param i)
{
    if (!m || !m->tape || i == NB_NO_PARAM)
        return NB_NONE;
    if (i >= 0 && i < m->count && m->var[i].tape == m->tape && nb_ok(m->var[i]))
        return m->var[i];
    const nb_call c = call_on(m->tape);
    if (i >= 0 && i < m->count)
        nb_refuse(&c, NB_ERR_HANDLE, "it is over",
                  "parameter \"%s\" is no longer on the tape: make a pass for each step",
                  nb_params_info(m->params, i).name);
    else
        nb_refuse(&c, NB_ERR_INDEX, "a layer asks for a parameter that is not there",
                  "number %d, of %d", (int)i, (int)m->count);
    return NB_NONE;
}
