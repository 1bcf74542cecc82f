/*
 * What a fit tells while it runs: a bar and a line an epoch on a terminal, lines in a log.
 */
#include "train/fit.h"

#include <math.h>

void nbi_fit_show(const nbi_training *f) { (void)f; }

void nbi_fit_tell(const nbi_training *f, const nb_fit_epoch *e)
{
    (void)f;
    (void)e;
}
