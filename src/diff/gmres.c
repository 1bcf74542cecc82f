/*
 * GMRES with restarts: a linear system A s = b, where A is known by its products alone.
 *
 * The Krylov space of step k is spanned by r, A r, …, A^(k-1) r, with r the residual at the start.
 * Arnoldi's process makes an orthonormal basis V of it, vector by vector, and with it A V_k =
 * V_(k+1) H, where H is (k+1) by k and zero below its first subdiagonal. The s in V_k with the least
 * residual comes from a least-squares problem in H alone,
 *
 *     |b - A V_k y| = | |r| e_1 - H y |,
 *
 * which k rotations, one per step, keep triangular: the last entry of the rotated right side is the
 * residual's norm, without s being formed. The basis grows by a vector per step, so after `restart`
 * of them s is formed and the process begins anew from its residual, which is computed afresh: what
 * decides is the true residual, not the recurrence.
 *
 * The vectors are made orthogonal one after the other to what is left (Gram and Schmidt's modified
 * way). In an ill-conditioned system the basis loses orthogonality, but not before the residual has
 * reached what rounding allows.
 *
 * b is divided by its greatest element, as lengths are sums of squares: a right side of 1e-200 counts
 * as much as one of 1. One that is not finite has the solution NaN.
 */
#include "diff/equation.h"

#include <math.h>

/* The memory of one solve, all scratch. */
typedef struct krylov {
    size_t n;
    int m;
    double *v; /* [m+1 n], orthonormal rows */
    double *h; /* [m m+1]: column k of H at h + k (m+1), rotated */
    double *cosine, *sine, *right, *r;
} krylov;

double nbi_dot_of_vectors(size_t n, const double *a, const double *b)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

static bool open_krylov(nb_tape *t, krylov *w, size_t n, int m)
{
    const size_t k = (size_t)m + 1;
    size_t basis;
    if (__builtin_mul_overflow(k * sizeof(double), n, &basis))
        return false;
    *w = (krylov){.n = n, .m = m};
    w->v = nbi_scratch(t, basis);
    w->h = nbi_scratch(t, k * k * sizeof(double));
    w->cosine = nbi_scratch(t, k * sizeof(double));
    w->sine = nbi_scratch(t, k * sizeof(double));
    w->right = nbi_scratch(t, k * sizeof(double));
    w->r = nbi_scratch(t, n * sizeof(double));
    return w->v && w->h && w->cosine && w->sine && w->right && w->r;
}

/* Makes row k+1 of v orthogonal to those before it, and of length 1; column k of H tells how. */
static void orthogonalise(krylov *w, int k)
{
    double *next = w->v + (size_t)(k + 1) * w->n, *h = w->h + (size_t)k * ((size_t)w->m + 1);
    for (int j = 0; j <= k; j++) {
        const double *v = w->v + (size_t)j * w->n;
        h[j] = nbi_dot_of_vectors(w->n, v, next);
        for (size_t i = 0; i < w->n; i++)
            next[i] -= h[j] * v[i];
    }
    const double length = sqrt(nbi_dot_of_vectors(w->n, next, next));
    h[k + 1] = length;
    for (size_t i = 0; i < w->n && length > 0; i++)
        next[i] /= length;
}

/* Turns column k by the rotations before it and by one that zeroes its last entry. */
static void rotate(krylov *w, int k)
{
    double *h = w->h + (size_t)k * ((size_t)w->m + 1);
    for (int j = 0; j < k; j++) {
        const double a = h[j], b = h[j + 1];
        h[j] = w->cosine[j] * a + w->sine[j] * b;
        h[j + 1] = w->cosine[j] * b - w->sine[j] * a;
    }
    const double length = hypot(h[k], h[k + 1]);
    w->cosine[k] = length > 0 ? h[k] / length : 1;
    w->sine[k] = length > 0 ? h[k + 1] / length : 0;
    h[k] = length;
    w->right[k + 1] = -w->sine[k] * w->right[k];
    w->right[k] *= w->cosine[k];
}

/* Adds V y to s, with y from the triangular system of the first k columns. */
static void combine(krylov *w, int k, double *s)
{
    for (int i = k; i-- > 0;) {
        double y = w->right[i];
        for (int j = i + 1; j < k; j++)
            y -= w->h[(size_t)j * ((size_t)w->m + 1) + (size_t)i] * w->right[j];
        const double pivot = w->h[(size_t)i * ((size_t)w->m + 1) + (size_t)i];
        w->right[i] = pivot != 0 ? y / pivot : 0;
        for (size_t p = 0; p < w->n; p++)
            s[p] += w->right[i] * w->v[(size_t)i * w->n + p];
    }
}

/* From the residual r on: at most m steps, with one product left for the residual at their end. */
static nb_code cycle(krylov *w, const nbi_operator *a, double norm, double *s, nbi_gmres *g,
                     double target)
{
    int k = 0;
    for (size_t i = 0; i < w->n; i++)
        w->v[i] = w->r[i] / norm;
    w->right[0] = norm;
    while (k < w->m && g->used + 1 < g->products && fabs(w->right[k]) > target) {
        nb_code code =
            a->product(a->context, w->v + (size_t)k * w->n, w->v + (size_t)(k + 1) * w->n);
        if (code != NB_OK)
            return code;
        g->used++;
        orthogonalise(w, k);
        rotate(w, k);
        k++;
    }
    combine(w, k, s);
    return NB_OK;
}

nb_code nbi_gmres_solve(nb_tape *t, const nbi_operator *a, const double *b, double *s, nbi_gmres *g)
{
    krylov w;
    const size_t n = a->n;
    const double unit = nbi_greatest(n, b);
    const nbi_spot spot = t->scratch.at;
    nb_code code = NB_OK;
    g->used = 0;
    g->residual = 0;
    for (size_t i = 0; i < n; i++)
        s[i] = isfinite(unit) ? 0 : (double)NAN;
    if (unit == 0 || !isfinite(unit))
        return NB_OK;
    if (!open_krylov(t, &w, n, g->restart))
        return nbi_no_memory(t, "gmres");
    for (size_t i = 0; i < n; i++)
        w.r[i] = b[i] / unit;
    const double size = sqrt(nbi_dot_of_vectors(n, w.r, w.r));
    for (double norm = size, last = (double)INFINITY;;) {
        g->residual = norm / size;
        if (g->residual <= g->tolerance || g->used >= g->products || !(norm < last))
            break; /* there, or out of products, or no nearer than a cycle ago */
        last = norm;
        code = cycle(&w, a, norm, s, g, g->tolerance * size / 2);
        if (code == NB_OK)
            code = a->product(a->context, s, w.r);
        if (code != NB_OK)
            break;
        g->used++;
        for (size_t i = 0; i < n; i++)
            w.r[i] = b[i] / unit - w.r[i];
        norm = sqrt(nbi_dot_of_vectors(n, w.r, w.r));
    }
    for (size_t i = 0; i < n; i++)
        s[i] *= unit;
    nbi_give_back(&t->scratch, spot);
    return code;
}
