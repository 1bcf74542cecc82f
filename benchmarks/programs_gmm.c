/*
 * A mixture of Gaussians: d = 10, k = 25, n = 1000. The negative log-likelihood of points x_i,
 *
 *     f = - sum_i logsumexp_k t_ik + n logsumexp_k alpha_k - prior + constants,
 *     t_ik = alpha_k + sum_j q_kj - 1/2 |Q_k (x_i - mu_k)|^2,
 *     prior = sum_k (m sum_j q_kj - gamma^2/2 (|exp q_k|^2 + |l_k|^2)),
 *
 * Q_k lower triangular with exp(q_k) on its diagonal and l_k below it, column by column; the prior is
 * Wishart's. Sought are f and its gradient by alpha, mu, q and l.
 *
 * With programs: t of all points, a row of lanes for each k, whose parameters the row shares; then
 * the log-sum-exp over k point by point, with its gradient, the responsibilities; then for each k
 * what these pull back to the parameters, summed over the points, row by row. The log-sum-exp of alpha is the
 * same program on one lane, and the prior has the components as its lanes.
 */
#include "programs.h"

enum { D = 10, K = 25, N = 1000, LOW = D * (D - 1) / 2, SMALL = 20 };
enum { ALPHA = 0, MU = K, Q = MU + K * D, L = Q + K * D, PARAMETERS = L + K * LOW };

static const double GAMMA = 1.5, WISHART_M = 2;

typedef struct gmm {
    size_t n;
    double *x;              /* [n D] */
    double *p, *hand_g, *g; /* parameters, gradients: alpha, mu, q, l; [PARAMETERS] */
    double f, hand_f, nabla_f;
    double *y;          /* [K D]: Q (x - mu), by hand */
    double *xt, *t, *w; /* [D n], [K n], [K n]: by programs */
    nb_program *term, *pull, *soft, *prior;
} gmm;

/* ---- in C ------------------------------------------------------------------------------------ */

/* The part of f without parameters. */
static double constants(size_t n)
{
    const double pi = 3.14159265358979323846, a = D + WISHART_M + 1;
    double multigamma = 0.25 * D * (D - 1) * log(pi);
    for (int j = 1; j <= D; j++)
        multigamma += lgamma(0.5 * a + 0.5 * (1 - j));
    const double wishart = a * D * (log(GAMMA) - 0.5 * log(2)) - multigamma;
    return 0.5 * (double)n * D * log(2 * pi) - K * wishart;
}

static void component(const double *x, const double *mu, const double *diagonal, const double *low,
                      double *y)
{
    double c[D];
    for (int j = 0; j < D; j++)
        c[j] = x[j] - mu[j];
    for (int j = 0; j < D; j++)
        y[j] = diagonal[j] * c[j];
    for (int j = 0; j < D; j++)
        for (int i = j + 1; i < D; i++)
            y[i] += *low++ * c[j];
}

static double squares(size_t n, const double *x)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += x[i] * x[i];
    return s;
}

static double logsumexp(size_t n, const double *x)
{
    double most = x[0], s = 0;
    for (size_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < n; i++)
        s += exp(x[i] - most);
    return most + log(s);
}

/* exp q, and for each component the sum of q. */
static void diagonals(const double *q, double *diagonal, double *sums)
{
    for (int k = 0; k < K; k++) {
        sums[k] = 0;
        for (int j = 0; j < D; j++) {
            diagonal[k * D + j] = exp(q[k * D + j]);
            sums[k] += q[k * D + j];
        }
    }
}

static double prior(const double *diagonal, const double *sums, const double *low)
{
    double s = 0;
    for (int k = 0; k < K; k++)
        s += WISHART_M * sums[k] -
             0.5 * GAMMA * GAMMA * (squares(D, diagonal + k * D) + squares(LOW, low + k * LOW));
    return s;
}

static void primal(void *data)
{
    gmm *m = data;
    const double *p = m->p;
    double diagonal[K * D], sums[K], y[D], t[K], s = 0;
    diagonals(p + Q, diagonal, sums);
    for (size_t i = 0; i < m->n; i++) {
        for (int k = 0; k < K; k++) {
            component(m->x + i * D, p + MU + k * D, diagonal + k * D, p + L + k * LOW, y);
            t[k] = p[ALPHA + k] + sums[k] - 0.5 * squares(D, y);
        }
        s += logsumexp(K, t);
    }
    m->f =
        constants(m->n) - s + (double)m->n * logsumexp(K, p + ALPHA) - prior(diagonal, sums, p + L);
}

/* What a weight w on t_ik = - df pulls back: subtracts w times its gradient from g. */
static void pull_back(const gmm *m, double w, const double *x, int k, const double *diagonal)
{
    const double *y = m->y + k * D, *mu = m->p + MU + k * D, *low = m->p + L + k * LOW;
    double *g = m->hand_g, *g_mu = g + MU + k * D, *g_q = g + Q + k * D, *g_low = g + L + k * LOW;
    g[ALPHA + k] -= w;
    for (int j = 0; j < D; j++) {
        const double c = x[j] - mu[j];
        double back = diagonal[k * D + j] * y[j];
        g_q[j] -= w * (1 - back * c);
        for (int i = j + 1; i < D; i++) {
            back += *low++ * y[i];
            *g_low++ += w * y[i] * c;
        }
        g_mu[j] -= w * back;
    }
}

static void hand_prior(gmm *m, const double *diagonal)
{
    const double lse = logsumexp(K, m->p + ALPHA);
    for (int k = 0; k < K; k++)
        m->hand_g[ALPHA + k] += (double)m->n * exp(m->p[ALPHA + k] - lse);
    for (int i = 0; i < K * D; i++)
        m->hand_g[Q + i] += GAMMA * GAMMA * diagonal[i] * diagonal[i] - WISHART_M;
    for (int i = 0; i < K * LOW; i++)
        m->hand_g[L + i] += GAMMA * GAMMA * m->p[L + i];
    m->hand_f += (double)m->n * lse;
}

static void hand(void *data)
{
    gmm *m = data;
    const double *p = m->p;
    double diagonal[K * D], sums[K], t[K];
    diagonals(p + Q, diagonal, sums);
    memset(m->hand_g, 0, PARAMETERS * sizeof *m->hand_g);
    m->hand_f = constants(m->n) - prior(diagonal, sums, p + L);
    for (size_t i = 0; i < m->n; i++) {
        const double *x = m->x + i * D;
        for (int k = 0; k < K; k++) {
            component(x, p + MU + k * D, diagonal + k * D, p + L + k * LOW, m->y + k * D);
            t[k] = p[ALPHA + k] + sums[k] - 0.5 * squares(D, m->y + k * D);
        }
        const double lse = logsumexp(K, t);
        for (int k = 0; k < K; k++)
            pull_back(m, exp(t[k] - lse), x, k, diagonal);
        m->hand_f -= lse;
    }
    hand_prior(m, diagonal);
}

/* ---- recorded -------------------------------------------------------------------------------- */

static nb_var record_term(const nb_var *x, const nb_var *alpha, const nb_var *mu, const nb_var *q,
                          const nb_var *low)
{
    nb_var c[D], y[D], t = *alpha;
    for (int j = 0; j < D; j++) {
        c[j] = nb_sub(x[j], mu[j]);
        y[j] = nb_mul(nb_exp(q[j]), c[j]);
        t = nb_add(t, q[j]);
    }
    for (int j = 0; j < D; j++)
        for (int i = j + 1; i < D; i++)
            y[i] = nb_add(y[i], nb_mul(*low++, c[j]));
    for (int j = 0; j < D; j++)
        t = nb_sub(t, nb_mul(0.5, nb_square(y[j])));
    return t;
}

static nb_var record_prior(const nb_var *q, const nb_var *low)
{
    nb_var squares = nb_num(0), sum = nb_num(0);
    for (int j = 0; j < D; j++) {
        squares = nb_add(squares, nb_square(nb_exp(q[j])));
        sum = nb_add(sum, q[j]);
    }
    for (int j = 0; j < LOW; j++)
        squares = nb_add(squares, nb_square(low[j]));
    return nb_sub(nb_mul(WISHART_M, sum), nb_mul(0.5 * GAMMA * GAMMA, squares));
}

/* The tape's own gradient of all, into g. */
static bool eager(const gmm *m, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var *p = calloc(PARAMETERS, sizeof *p), x[D], terms[K];
    if (!p)
        exit(1);
    programs_inputs(t, PARAMETERS, m->p, p);
    nb_var f = nb_mul((double)m->n, nb_logsumexp_of(K, p + ALPHA));
    for (size_t i = 0; i < m->n; i++) {
        programs_inputs(t, D, m->x + i * D, x);
        for (int k = 0; k < K; k++)
            terms[k] = record_term(x, p + k, p + MU + k * D, p + Q + k * D, p + L + k * LOW);
        f = nb_sub(f, nb_logsumexp_of(K, terms));
    }
    for (int k = 0; k < K; k++)
        f = nb_sub(f, record_prior(p + Q + k * D, p + L + k * LOW));
    const bool ok = nb_backward(f) == NB_OK;
    for (size_t k = 0; ok && k < PARAMETERS; k++)
        g[k] = nb_grad(p[k]);
    if (!ok)
        fprintf(stderr, "gmm: %s\n", nb_message(t));
    free(p);
    nb_tape_free(t);
    return ok;
}

/* ---- programs -------------------------------------------------------------------------------- */

static void make(gmm *m)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var v[D + 1 + 2 * D + LOW], *alpha = v + D, *mu = alpha + 1, *q = mu + D, *low = q + D,
                                   terms[K];
    nb_reason why;
    programs_inputs(t, sizeof v / sizeof *v, m->p, v);
    programs_inputs(t, K, m->p, terms);
    nb_var y = record_term(v, alpha, mu, q, low), sum = nb_logsumexp_of(K, terms);
    nb_var prior = record_prior(q, low);
    const nb_argument in[] = {each("x", D, v), shared("alpha", 1, alpha), shared("mu", D, mu),
                              shared("q", D, q), shared("l", LOW, low)};
    const nb_argument of_t = each("t", K, terms),
                      of_prior[] = {each("q", D, q), each("l", LOW, low)};
    const bool by_parameters[] = {false, true, true, true, true};
    m->term = programs_freeze(t, 5, in, each("t", 1, &y));
    m->pull = programs_made(nb_program_vjp(m->term, by_parameters, &why), &why, t);
    m->soft = programs_freeze_derived(t, 1, &of_t, summed("f", 1, &sum), nb_program_gradient, NULL);
    m->prior =
        programs_freeze_derived(t, 2, of_prior, summed("f", 1, &prior), nb_program_gradient, NULL);
    nb_tape_free(t);
}

/* t of all points, a component a row; or what the weights w on t pull back. */
static void components(gmm *m, bool back)
{
    const int64_t n = (int64_t)m->n;
    const double *p = m->p;
    double *g = m->g;
    const nb_lanes in[] = {across(m->xt, n),     row_by_row(p + ALPHA, 1), row_by_row(p + MU, D),
                           row_by_row(p + Q, D), row_by_row(p + L, LOW),   row_by_row(m->w, n)};
    const nb_lanes out[] = {row_by_row(g + ALPHA, 1), row_by_row(g + MU, D), row_by_row(g + Q, D),
                            row_by_row(g + L, LOW)};
    const nb_lanes t = row_by_row(m->t, n);
    programs_run_rows(back ? m->pull : m->term, K, n, in, back ? out : &t);
}

static void nabla(void *data)
{
    gmm *m = data;
    const int64_t n = (int64_t)m->n;
    double likelihood = 0, lse = 0, prior = 0, share[K], by_prior[K * (D + LOW)];
    for (size_t i = 0; i < m->n; i++)
        for (size_t j = 0; j < D; j++)
            m->xt[j * m->n + i] = m->x[i * D + j];
    components(m, false);
    const nb_lanes t = across(m->t, n), w[] = {dense(&likelihood), across(m->w, n)};
    programs_run(m->soft, n, &t, w);
    components(m, true);
    const nb_lanes alpha = dense(m->p + ALPHA), shares[] = {dense(&lse), dense(share)};
    programs_run(m->soft, 1, &alpha, shares);
    const nb_lanes of_prior[] = {dense(m->p + Q), dense(m->p + L)};
    const nb_lanes pulled[] = {dense(&prior), dense(by_prior), dense(by_prior + K * D)};
    programs_run(m->prior, K, of_prior, pulled);
    for (int k = 0; k < K; k++)
        m->g[ALPHA + k] = (double)n * share[k] - m->g[ALPHA + k];
    for (int i = 0; i < K * D; i++)
        m->g[MU + i] = -m->g[MU + i];
    for (int i = 0; i < K * (D + LOW); i++)
        m->g[Q + i] = -m->g[Q + i] - by_prior[i];
    m->nabla_f = constants(m->n) - likelihood + (double)n * lse - prior;
}

/* ---- the case -------------------------------------------------------------------------------- */

static bool agree(const char *what, const double *a, const double *b)
{
    return bench_agree(what, MU, a, b, 1e-10) && bench_agree(what, Q - MU, a + MU, b + MU, 1e-10) &&
           bench_agree(what, L - Q, a + Q, b + Q, 1e-10) &&
           bench_agree(what, PARAMETERS - L, a + L, b + L, 1e-10);
}

static bool right(gmm *m)
{
    bool ok = true;
    for (int small = 0; small < 2; small++) {
        m->n = small ? SMALL : N;
        primal(m);
        hand(m);
        nabla(m);
        ok = bench_agree("gmm, by hand", 1, &m->hand_f, &m->f, 1e-12) &&
             bench_agree("gmm", 1, &m->nabla_f, &m->f, 1e-12) &&
             agree("gmm, gradient", m->g, m->hand_g) && ok;
    }
    ok = eager(m, m->hand_g) && agree("gmm, tape", m->g, m->hand_g) && ok;
    m->n = N;
    return ok;
}

bool bench_gmm(bool quick)
{
    gmm m = {.n = N,
             .x = programs_random(N * D, -2, 2, 1),
             .p = programs_random(PARAMETERS, -0.5, 0.5, 2),
             .hand_g = bench_numbers(2 * PARAMETERS),
             .y = bench_numbers(K * D),
             .xt = bench_numbers((D + 2 * K) * N)};
    m.g = m.hand_g + PARAMETERS;
    m.t = m.xt + D * N;
    m.w = m.t + K * N;
    make(&m);
    const bool ok = right(&m);
    if (ok)
        programs_time(&(contest){"gmm", "<=0.5", &m, primal, hand, nabla}, quick);
    nb_program *const programs[] = {m.term, m.pull, m.soft, m.prior};
    for (int k = 0; k < 4; k++)
        nb_program_free(programs[k]);
    double *const numbers[] = {m.x, m.p, m.hand_g, m.y, m.xt};
    for (int k = 0; k < 5; k++)
        free(numbers[k]);
    return ok;
}
