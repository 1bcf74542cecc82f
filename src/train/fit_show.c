/*
 * What a fit tells while it runs: on a terminal a bar, and above it a line for each epoch that is over; the
 * same lines in a log.
 */
#include "train/fit.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE = 480 };

/* Adds to a line; what has no room is left out. */
static void say(char line[LINE], size_t *at, const char *name, double number)
{
    if (isnan(number))
        return;
    const int n = snprintf(line + *at, LINE - *at, "  %s %.4g", name, number);
    if (n > 0 && (size_t)n < LINE - *at)
        *at += (size_t)n;
    else
        line[*at] = 0;
}

int64_t nbi_fit_batches(const nbi_training *f)
{
    if (!f->train)
        return 0;
    return f->train->rows / f->spec.batch +
           (f->train->rows % f->spec.batch != 0 && !f->spec.drop_last);
}

static const char *name_of(const nb_metric *m) { return m->name ? m->name : "metric"; }

void nbi_fit_show(nbi_training *f)
{
    char text[LINE] = "";
    size_t at = 0;
    const int64_t each = nbi_fit_batches(f);
    int count;
    const nb_metric *m = nbi_learner_metrics(&f->spec.learner, f->train, &count);
    int64_t total = 0;
    if (!f->bar.to || __builtin_mul_overflow(each, f->spec.epochs, &total))
        return;
    at = (size_t)snprintf(text, LINE, "epoch %lld of %lld", (long long)f->at.epochs + 1,
                          (long long)f->spec.epochs);
    say(text, &at, "loss", f->at.loss / (double)f->at.rows);
    for (int k = 0; k < count; k++)
        say(text, &at, name_of(&m[k]), nbi_fit_mean(f, k));
    nb_bar_draw(&f->bar, f->at.steps, total, f->at.seconds, text);
}

static void print_line(FILE *to, const nbi_training *f, const nb_fit_epoch *e)
{
    char line[LINE];
    int count;
    const nb_metric *m = nbi_learner_metrics(&f->spec.learner, f->train, &count);
    size_t at = (size_t)snprintf(line, LINE, "epoch %lld of %lld  step %lld", (long long)e->epoch,
                                 (long long)f->spec.epochs, (long long)e->step);
    say(line, &at, "loss", e->loss);
    for (int k = 0; k < count; k++)
        say(line, &at, name_of(&m[k]), e->metric[k]);
    say(line, &at, "valid loss", e->valid_loss);
    for (int k = 0; k < count; k++) {
        char name[64];
        snprintf(name, sizeof name, "valid %.50s", name_of(&m[k]));
        say(line, &at, name, e->valid_metric[k]);
    }
    say(line, &at, "rate", e->rate);
    say(line, &at, "gradient", e->gradient);
    fprintf(to, "%s  %.1f s\n", line, e->seconds);
    fflush(to);
}

void nbi_fit_tell(nbi_training *f, const nb_fit_epoch *e)
{
    if (f->bar.to && isatty(fileno(f->bar.to))) {
        nb_bar_clear(&f->bar);
        print_line(f->bar.to, f, e);
    }
    if (f->spec.log)
        print_line(f->spec.log, f, e);
}
