/*
 * nabla: reverse-mode automatic differentiation over a dynamic computation graph.
 *
 *     nb_tape *t = nb_tape_new(NULL);
 *     nb_var x = nb_input(t, "x", -2), y = nb_input(t, "y", 5), z = nb_input(t, "z", -4);
 *     nb_var f = nb_mul(nb_add(x, y), z);
 *
 *     nb_backward(f);
 *     printf("f = %g, df/dx = %g, df/dy = %g, df/dz = %g\n",
 *            nb_value(f), nb_grad(x), nb_grad(y), nb_grad(z));          -12 -4 -4 3
 *     nb_tape_free(t);
 */
#ifndef NABLA_H
#define NABLA_H

#include <nabla/base.h>
#include <nabla/pool.h>
#include <nabla/tape.h>
#include <nabla/ops.h>
#include <nabla/image.h>
#include <nabla/net.h>
#include <nabla/algebra.h>
#include <nabla/op.h>
#include <nabla/diff.h>
#include <nabla/region.h>
#include <nabla/implicit.h>
#include <nabla/checkpoint.h>
#include <nabla/sparse.h>
#include <nabla/program.h>
#include <nabla/emit.h>
#include <nabla/map.h>
#include <nabla/step.h>
#include <nabla/check.h>
#include <nabla/verify.h>
#include <nabla/params.h>
#include <nabla/layers.h>
#include <nabla/losses.h>
#include <nabla/file.h>
#include <nabla/data.h>
#include <nabla/metrics.h>
#include <nabla/optim.h>
#include <nabla/schedule.h>
#include <nabla/save.h>
#include <nabla/fit.h>
#include <nabla/monitor.h>
#include <nabla/search.h>
#include <nabla/sanity.h>
#include <nabla/view.h>
#include <nabla/plot.h>

#endif
