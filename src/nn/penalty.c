/*
 * Regularisers, as terms of the loss: l1 sum |x| + l2 sum x^2, with gradients l1 sign(x) + 2 l2 x. The
 * first drives weights to exactly 0 (its slope at 0 is 0, so there they stay), the second keeps them
 * small. Under plain gradient descent at rate r the second is a weight decay of 2 r l2; under an
 * optimizer that scales gradients it is not.
 */
#include "refuse.h"

#include <math.h>
#include <nabla/losses.h>

static const char who[] = "penalty";

static nb_var add_penalty(nb_var sum, nb_var x, double l1, double l2)
{
    if (!(l1 >= 0) || !(l2 >= 0))
        return nbi_refuse(who, NB_ERR_ARGUMENT, 1, &x, "a factor is below 0", "l1 is %g, l2 is %g",
                          l1, l2);
    if (l1 != 0)
        sum = nb_add(sum, nb_mul(l1, nb_sum(nb_abs(x))));
    return l2 != 0 ? nb_add(sum, nb_mul(l2, nb_sum(nb_square(x)))) : sum;
}

nb_var(nb_penalty)(size_t n, const nb_var *x, double l1, double l2)
{
    nb_var sum = nb_num(0);
    if (x && n && !nbi_usable(who, n, x, &sum))
        return sum;
    for (size_t k = 0; x && k < n; k++)
        sum = add_penalty(sum, x[k], l1, l2);
    return sum;
}

nb_var nb_weight_penalty(const nb_pass *m, double l1, double l2)
{
    nb_var sum = nb_num(0);
    for (int32_t i = 0; m && i < m->count; i++) {
        const nb_param_info e = nb_params_info(m->params, i);
        if (e.shape.rank >= 2 && !e.frozen)
            sum = add_penalty(sum, nb_pass_var(m, i), l1, l2);
    }
    return sum;
}
