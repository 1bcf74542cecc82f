/*
 * Small steps that the rearranging operations share; the contracts are in array.h.
 *
 * A scalar node is an array of rank -1, in double where it is a result or an adjoint and in the
 * tape's type where it is an operand, so whatever touches one element goes by the array's own type.
 */
#include "ops/array.h"
#include "base/element.h"

#include "base/shape.h"

bool nbi_needs_tensor(const nb_call *c, size_t k)
{
    if (c->in[k].rank >= 0)
        return true;
    nb_refuse(c, NB_ERR_SHAPE, "needs a tensor, not a scalar",
              "nb_stack makes a tensor of scalars");
    return false;
}

bool nbi_needs_shape(const nb_call *c, const nb_shape *s)
{
    char text[NBI_SHAPE_TEXT];
    if (s->rank < 0 || s->rank > NB_MAX_RANK) {
        nb_refuse(c, NB_ERR_SHAPE, "the shape has no valid rank", "a tensor has 0 to %d axes",
                  NB_MAX_RANK);
        return false;
    }
    for (int i = 0; i < s->rank; i++)
        if (s->dims[i] < 0) {
            nb_refuse(c, NB_ERR_SHAPE, "a dimension is negative", "in %s",
                      nbi_shape_text(text, s->rank, s->dims));
            return false;
        }
    if (nb_shape_size(*s) >= 0)
        return true;
    nb_refuse(c, NB_ERR_OVERFLOW, "the number of elements overflows", "in %s",
              nbi_shape_text(text, s->rank, s->dims));
    return false;
}

nb_shape nbi_shape_in(const nb_array *a)
{
    nb_shape s = {.rank = a->rank};
    for (int i = 0; i < a->rank; i++)
        s.dims[i] = a->dims[i];
    return s;
}

double nbi_get_at(const nb_array *a, int64_t i) { return nbi_element_at(a->dtype, a->data, i); }

void nbi_put_at(const nb_array *a, int64_t i, double v, bool add)
{
    nbi_set_element(a->dtype, a->data, i, add ? nbi_get_at(a, i) + v : v);
}

void nbi_clear(const nb_array *a, bool add)
{
    if (!add)
        nbi_fill(a->dtype, a->size, a->data, 0);
}
