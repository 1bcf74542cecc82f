/*
 * The records of hooks.
 *
 * They stand apart from the table of operations, whose every record obeys every law: what a hook
 * passes on is not the derivative of the identity, and says so. All other laws hold for them, and a
 * test loops over this list: the two modes are transposed, the gradient as graph is the swept one
 * and differentiates, contributions add up, float agrees with double, bad input is refused.
 */
#ifndef NABLA_SRC_DIFF_HOOKS_H
#define NABLA_SRC_DIFF_HOOKS_H

#include <nabla/op.h>

/* Of each hook two: for a scalar, and for a tensor, whose storage the result shares. */
enum { NBI_HOOK_OPS = 14 };
extern const nb_op *const nbi_hook_ops[NBI_HOOK_OPS];

/* Whether op is a hook on tensors that passes each element of the adjoint on by itself. */
bool nbi_hook_by_element(const nb_op *op);
/* Whether op is a hook that calls a function of the user's. */
bool nbi_hook_calls(const nb_op *op);

#endif
