/*
 * Optimizers: a rule recorded, frozen, and replayed over the parameters.
 *
 * The program of a rule has an input for each array that it reads, an element a lane: values, gradients,
 * states; and one that all lanes share, the numbers: learning rate, step, weight decay, then the
 * rule's own. What depends on these alone (Adam's bias corrections) is computed once per replay. Its
 * outputs stand where its inputs do, so that a step is one pass over memory:
 *
 *     g' = g + l2 p        p' = p - (rate decay) p        p, state = update(p', g', state)
 *
 * without the first two where no group has either. A rule with roots has a second program, for tame steps:
 * if the squares of gradients sum up to less than a limit, and those of the roots to less than twice
 * that, all are in range and stay so, as means do not grow above both. So roots are looked at only after a step that was
 * not tame, or where the state may have come from outside; and which program a step takes depends on
 * gradients and state alone, and not on what went before.
 *
 * A step changes all or nothing. What can go wrong is a gradient that is not finite, which is looked for
 * first, and memory: the code for every span is made before the first replay, and the longest span
 * comes first, whose workspace is room for the others.
 */
#include "base/reason.h"
#include "program/run.h"
#include "train/owner.h"
#include "train/spans.h"

#include <math.h>
#include <nabla/ops.h>
#include <nabla/optim.h>
#include <stdio.h>
#include <string.h>

enum {
    RATE,
    STEP,
    L2,
    DECAY, /* times the rate */
    OWN,
    NUMBERS = OWN + NB_UPDATE_NUMBERS,
    ARGUMENTS = NB_UPDATE_STATES + 3, /* inputs; outputs are fewer */
};

struct nb_optim {
    nb_params *params;
    nbi_heap heap;
    nbi_arena scratch;
    nb_update rule;
    nb_program *program[2]; /* [tame] */
    bool decays, calm;      /* calm: the squares of the state's roots are below 2 limits */
    uint8_t shared[ARGUMENTS], summed[ARGUMENTS];
    nb_pool *pool;
    double rate;
    int64_t steps;
    nb_optim_group *group; /* [groups] */
    int32_t groups;
};

/* ---- what is refused ------------------------------------------------------------------------- */

static bool from_0(double x) { return x >= 0 && isfinite(x); }

static nb_code check_rule(const nb_update *r, nb_reason *why)
{
    if (!r->update)
        return nbi_because(why, NB_ERR_ARGUMENT, "optim: there is no rule: see nb_update_of");
    if (r->states < 0 || r->states > NB_UPDATE_STATES || r->numbers < 0 ||
        r->numbers > NB_UPDATE_NUMBERS)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "optim: a rule has at most %d states and %d numbers, this one %d and %d",
                           NB_UPDATE_STATES, NB_UPDATE_NUMBERS, (int)r->states, (int)r->numbers);
    for (int32_t k = 0; k < r->numbers; k++) {
        const double x = r->number[k];
        const bool fraction = r->fractions >> k & 1, positive = r->positives >> k & 1;
        if (!isfinite(x) || (fraction && !(x >= 0 && x < 1)) || (positive && !(x > 0)))
            return nbi_because(why, NB_ERR_ARGUMENT, "optim: %.60s: %.60s is %g, not %s",
                               r->name ? r->name : "a rule",
                               r->number_name[k] ? r->number_name[k] : "a number", x,
                               fraction   ? "in [0, 1)"
                               : positive ? "above 0"
                                          : "finite");
    }
    return NB_OK;
}

static nb_code check_group(const nb_optim_group *g, nb_reason *why)
{
    if (!(g->times > 0 && isfinite(g->times)))
        return nbi_because(
            why, NB_ERR_ARGUMENT,
            "optim: a group's rate is %g times the optimizer's, which is not above 0", g->times);
    if (!from_0(g->decay) || !from_0(g->l2))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "optim: weight decay %g, l2 %g: neither may be negative or not finite",
                           g->decay, g->l2);
    return NB_OK;
}

static nb_code check_options(nb_params *p, const nb_optim_options *o, nb_reason *why)
{
    if (!p || !o)
        return nbi_because(why, NB_ERR_ARGUMENT, "optim: the parameters or options are NULL");
    if (nb_params_status(p) != NB_OK)
        return nbi_because(why, nb_params_status(p), "optim: %s", nb_params_message(p));
    if (!nb_params_size(p))
        return nbi_because(why, NB_ERR_EMPTY, "optim: there are no parameters");
    if (!(o->rate > 0 && isfinite(o->rate)))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "optim: the learning rate is %g, not above 0 and finite", o->rate);
    const nb_code code = check_group(&(nb_optim_group){1, o->decay, o->l2}, why);
    return code == NB_OK ? check_rule(&o->rule, why) : code;
}

/* ---- the program ----------------------------------------------------------------------------- */

/* Records the rule on t; in[ARGUMENTS] are one number each, but for the last. */
static nb_program *record(const nb_optim *o, nb_tape *t, bool tame)
{
    const nb_update *r = &o->rule;
    nb_var in[ARGUMENTS], number[NUMBERS], state[NB_UPDATE_STATES];
    nb_argument args[ARGUMENTS], out[ARGUMENTS];
    const size_t states = (size_t)r->states, own = (size_t)r->numbers;
    for (size_t k = 0; k < states + 2; k++) {
        in[k] = nb_input(t, k ? k > 1 ? r->state[k - 2] : "g" : "p", 1);
        args[k] = (nb_argument){.name = k ? k > 1 ? r->state[k - 2] : "g" : "p", 1, &in[k]};
    }
    for (size_t k = 0; k < OWN + own; k++)
        number[k] = nb_input(t, NULL, 0.5);
    args[states + 2] = (nb_argument){.name = "numbers", OWN + own, number, .shared = true};
    for (size_t k = 0; k < states; k++)
        state[k] = in[k + 2];
    nb_var p = in[0], g = in[1];
    if (o->decays) {
        g = nb_add(g, nb_mul(number[L2], p));
        p = nb_sub(p, nb_mul(number[DECAY], p));
    }
    p = r->update(p, g, state, &(nb_hyper){number[RATE], number[STEP], number + OWN, tame});
    out[0] = (nb_argument){.name = "p", 1, &p};
    for (size_t k = 0; k < states; k++)
        out[k + 1] = (nb_argument){.name = r->state[k], 1, &state[k]};
    return nb_freeze(
        &(nb_recipe){states + 3, args, states + 1, out, .allocator = &o->params->allocator});
}

static nb_code make_program(const nb_optim *o, bool tame, nb_program **program, nb_reason *why)
{
    const char *name = o->rule.name ? o->rule.name : "a rule";
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = o->params->allocator});
    if (!t)
        return nbi_because(why, NB_ERR_MEMORY, "optim: out of memory");
    *program = record(o, t, tame);
    nb_code code = nb_status(t);
    if (code == NB_OK && !*program)
        code = NB_ERR_ARGUMENT;
    if (code != NB_OK)
        nbi_because(why, code, "optim: %.60s: %s", name, nb_message(t));
    else if (nb_program_inspect(*program).guards)
        code = nbi_because(why, NB_ERR_GUARD,
                           "optim: %.60s: a rule's branches are nb_where, not nb_guard, as "
                           "elements may differ in them",
                           name);
    nb_tape_free(t);
    return code;
}

/* Both programs, as the groups want them, in place of those there are. */
static nb_code make_programs(nb_optim *o, nb_reason *why)
{
    nb_program *made[2] = {NULL, NULL};
    const bool before = o->decays;
    nb_code code = NB_OK;
    o->decays = false;
    for (int32_t k = 0; k < o->groups; k++)
        o->decays = o->decays || o->group[k].decay > 0 || o->group[k].l2 > 0;
    if (o->program[0] && o->decays == before)
        return NB_OK;
    for (int tame = 0; code == NB_OK && tame < (o->rule.roots ? 2 : 1); tame++)
        code = make_program(o, tame, &made[tame], why);
    for (int k = 0; k < 2; k++) {
        nb_program_free(code == NB_OK ? o->program[k] : made[k]);
        o->program[k] = code == NB_OK ? made[k] : o->program[k];
    }
    o->decays = code == NB_OK ? o->decays : before;
    return code;
}

/* ---- life ------------------------------------------------------------------------------------ */

static nb_code open_groups(nb_optim *o, const nb_optim_options *options)
{
    const double decay = options->decay > 0 ? options->decay : o->rule.decay;
    size_t bytes;
    o->groups = o->params->groups;
    if (__builtin_mul_overflow((size_t)o->groups, sizeof *o->group, &bytes) ||
        !(o->group = nbi_resize(&o->heap, NULL, 0, bytes)))
        return NB_ERR_MEMORY;
    for (int32_t k = 0; k < o->groups; k++)
        o->group[k] = (nb_optim_group){1, decay, options->l2};
    return NB_OK;
}

nb_optim *nb_optim_new(nb_params *p, const nb_optim_options *options, nb_reason *why)
{
    nbi_heap heap;
    if (check_options(p, options, why) != NB_OK)
        return NULL;
    nbi_heap_init(&heap, &p->allocator, 0);
    nb_optim *o = nbi_resize(&heap, NULL, 0, sizeof *o);
    if (o) {
        *o = (nb_optim){.params = p,
                        .heap = heap,
                        .rule = options->rule,
                        .rate = options->rate,
                        .pool = options->pool};
        nbi_arena_init(&o->scratch, &o->heap, 4096);
    }
    const size_t states = (size_t)options->rule.states;
    if (!o || open_groups(o, options) != NB_OK || (!nb_params_state(p, states) && states) ||
        !nb_params_grads(p)) {
        nbi_because(why, NB_ERR_MEMORY, "optim: out of memory");
        nb_optim_free(o);
        return NULL;
    }
    if (states)
        memset(p->state, 0, states * (size_t)p->params.size * nbi_width(p->dtype));
    o->shared[states + 2] = 1;
    if (make_programs(o, why) != NB_OK) {
        nb_optim_free(o);
        return NULL;
    }
    return o;
}

void nb_optim_free(nb_optim *o)
{
    if (!o)
        return;
    nbi_heap heap = o->heap;
    nb_program_free(o->program[0]);
    nb_program_free(o->program[1]);
    nbi_arena_free(&o->scratch);
    nbi_resize(&heap, o->group, (size_t)o->groups * sizeof *o->group, 0);
    nbi_resize(&heap, o, sizeof *o, 0);
}

/* ---- settings -------------------------------------------------------------------------------- */

nb_code nb_optim_set_group(nb_optim *o, const char *group, const nb_optim_group *g, nb_reason *why)
{
    if (!o || !group || !g)
        return nbi_because(why, NB_ERR_ARGUMENT, "optim: set_group: an argument is NULL");
    nb_optim_group now = *g;
    now.times = now.times == 0 ? 1 : now.times;
    for (int32_t k = 0; k < o->groups; k++)
        if (!strcmp(o->params->group[k], group)) {
            const nb_optim_group before = o->group[k];
            nb_code code = check_group(&now, why);
            if (code != NB_OK)
                return code;
            o->group[k] = now;
            code = make_programs(o, why);
            o->group[k] = code == NB_OK ? now : before;
            return code;
        }
    return nbi_because(why, NB_ERR_ARGUMENT, "optim: set_group: there is no group \"%.99s\"",
                       group);
}

nb_code nb_optim_set_rate(nb_optim *o, double rate, nb_reason *why)
{
    if (!o || !from_0(rate))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           o ? "optim: the learning rate is %g, negative or not finite"
                             : "optim: no optimizer to set the learning rate %g of",
                           rate);
    o->rate = rate;
    return NB_OK;
}

double nb_optim_rate(const nb_optim *o) { return o ? o->rate : (double)NAN; }

int64_t nb_optim_steps(const nb_optim *o) { return o ? o->steps : 0; }

nb_code nb_optim_set_steps(nb_optim *o, int64_t steps, nb_reason *why)
{
    if (!o || steps < 0 || steps > (int64_t)1 << 52)
        return nbi_because(why, NB_ERR_ARGUMENT, "optim: %lld is no number of steps made",
                           (long long)steps);
    o->steps = steps;
    o->calm = false;
    return NB_OK;
}

int32_t nb_optim_states(const nb_optim *o) { return o ? o->rule.states : 0; }
const nb_params *nbi_optim_params(const nb_optim *o) { return o->params; }
const char *nb_optim_name(const nb_optim *o) { return o && o->rule.name ? o->rule.name : ""; }

void *nb_optim_state(const nb_optim *o, int32_t k, const char **name)
{
    const bool there =
        o && k >= 0 && k < o->rule.states && o->params->states == (size_t)o->rule.states;
    if (name)
        *name = there && o->rule.state[k] ? o->rule.state[k] : "";
    return there ? nbi_element_place(o->params->state, o->params->dtype, k * o->params->params.size)
                 : NULL;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Whether the squares of gradients, of which this is the sum, and of roots are in range; and what is lost
 * below it is nothing beside the positive numbers. */
static bool is_tame(const nb_optim *o, double squares)
{
    const nb_params *p = o->params;
    const double limit = p->dtype == NB_F64 ? 1e300 : 1e36;
    bool tame = o->rule.roots && squares <= limit;
    for (int32_t k = 0; k < o->groups; k++)
        tame = tame && o->group[k].l2 == 0; /* which would add to the gradient */
    for (int32_t k = 0; k < o->rule.numbers; k++)
        tame = tame && !(o->rule.positives >> k & 1 && o->rule.number[k] < 1e-12);
    for (int32_t k = 0; tame && !o->calm && k < o->rule.states; k++)
        if (o->rule.roots >> k & 1)
            tame = nbi_squares(p->dtype, nb_optim_state(o, k, NULL), p->params.size) <= 2 * limit;
    return tame;
}

static void *place(const nb_params *p, void *array, int64_t at)
{
    return nbi_element_place(array, p->dtype, at);
}

/* The numbers of a group, as the replay wants them. */
static void numbers_for(const nb_optim *o, int32_t group, double *number)
{
    const nb_optim_group *g = &o->group[group];
    number[RATE] = g->times * o->rate;
    number[STEP] = (double)(o->steps + 1);
    number[L2] = g->l2;
    number[DECAY] = g->decay * number[RATE];
    for (int32_t k = 0; k < o->rule.numbers; k++)
        number[OWN + k] = o->rule.fractions >> k & 1 ? 1 - o->rule.number[k] : o->rule.number[k];
}

/* Replays a span, or only makes the code for that. */
static nb_code replay(nb_optim *o, const nb_program *program, const nbi_span *s, bool run,
                      nb_reason *why)
{
    nb_params *p = o->params;
    double number[NUMBERS] = {0};
    float single[NUMBERS];
    nb_lanes in[ARGUMENTS], out[ARGUMENTS];
    const int32_t states = o->rule.states;
    numbers_for(o, s->group, number);
    for (int k = 0; k < NUMBERS; k++)
        single[k] = (float)number[k];
    in[0] = out[0] = (nb_lanes){.data = place(p, p->params.data, s->offset)};
    in[1] = (nb_lanes){.data = place(p, p->grads, s->offset)};
    for (int32_t k = 0; k < states; k++)
        in[k + 2] = out[k + 1] =
            (nb_lanes){.data = place(p, p->state, k * p->params.size + s->offset)};
    in[states + 2] = (nb_lanes){.data = p->dtype == NB_F64 ? (void *)number : (void *)single};
    const nb_replay r = {
        .lanes = s->size, .in = in, .out = out, .dtype = p->dtype, .in_place = true};
    const nbi_crew crew = {.pool = o->pool};
    if (!run)
        return nbi_program_ready(program, &r, o->shared, o->summed, why);
    const nb_code code =
        nbi_program_run(program, &r, o->shared, o->summed, &crew, &o->scratch, why);
    nbi_give_back_all(&o->scratch);
    return code;
}

/* Makes the code for all spans; *longest is the one that comes first. */
static nb_code make_ready(nb_optim *o, const nb_program *program, nbi_span *longest, nb_reason *why)
{
    nb_code code = NB_OK;
    *longest = (nbi_span){0};
    for (nbi_span s = {0}; code == NB_OK && nbi_span_next(o->params, &s);) {
        code = replay(o, program, &s, false, why);
        if (s.size > longest->size)
            *longest = s;
    }
    return code;
}

nb_code nb_optim_step(nb_optim *o, nb_reason *why)
{
    nbi_span longest;
    double squares;
    if (!o)
        return nbi_because(why, NB_ERR_ARGUMENT, "optim: step: the optimizer is NULL");
    nb_code code = nbi_gradients_check(o->params, "optim", &squares, why);
    if (code == NB_OK && o->params->states != (size_t)o->rule.states)
        code = nbi_because(why, NB_ERR_ARGUMENT,
                           "optim: the parameters' state has been taken for something else");
    if (code != NB_OK)
        return code;
    const bool tame = is_tame(o, squares);
    const nb_program *program = o->program[tame];
    code = make_ready(o, program, &longest, why);
    if (code != NB_OK)
        return code;
    if (o->rule.prepare)
        o->rule.prepare(o->steps + 1, o->rule.number);
    if (longest.size)
        code = replay(o, program, &longest, true, why);
    for (nbi_span s = {0}; code == NB_OK && nbi_span_next(o->params, &s);)
        if (s.offset != longest.offset)
            code = replay(o, program, &s, true, why);
    o->steps += code == NB_OK;
    o->calm = tame && code == NB_OK;
    return code;
}
