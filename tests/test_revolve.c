/*
 * The schedule against a dynamic program, against its own closed form by carrying it out, and against
 * the capacity that the theory gives.
 */
#include "diff/revolve.h"
#include "run.h"

#include <stdlib.h>

enum { L = 120, S = 9 };

/* The least number of advances to visit l steps last to first: the first move is over m of them. */
static void program(int64_t best[L + 1][S + 1])
{
    for (int s = 1; s <= S; s++) {
        best[1][s] = 0;
        for (int l = 2; l <= L; l++) {
            best[l][s] = l * (l - 1) / 2;
            for (int m = 1; m < l && s > 1; m++) {
                int64_t t = m + best[l - m][s - 1] + best[m][s];
                best[l][s] = t < best[l][s] ? t : best[l][s];
            }
        }
    }
}

START_TEST(the_count_is_minimal)
{
    static int64_t best[L + 1][S + 1];
    program(best);
    for (int s = 1; s <= S; s++)
        for (int l = 1; l <= L; l++)
            ck_assert_msg(nbi_revolve_advances(l, s) == best[l][s], "l %d, s %d: %lld, not %lld", l,
                          s, (long long)nbi_revolve_advances(l, s), (long long)best[l][s]);
}
END_TEST

/* Carries the schedule out with a stack of parts still to be visited. */
static int64_t carry_out(int64_t l, int64_t s)
{
    int64_t total = 0, top = 0, (*part)[2] = malloc((size_t)(s + 2) * sizeof *part);
    ck_assert_ptr_nonnull(part);
    part[top][0] = l;
    part[top++][1] = s;
    while (top) {
        int64_t *p = part[top - 1], n = p[0], states = p[1];
        if (n > 1 && states > 1) {
            const int64_t m = nbi_revolve_split(n, states);
            ck_assert(m >= 1 && m < n);
            total += m;
            p[0] = m;
            part[top][0] = n - m;
            part[top++][1] = states - 1;
        } else {
            total += n * (n - 1) / 2;
            top--;
        }
    }
    free(part);
    return total;
}

START_TEST(the_splits_reach_it)
{
    static const int64_t l[] = {1, 2, 3, 10, 1378, 1379, 4096, 24804, 24805, 100000};
    static const int64_t s[] = {1, 2, 3, 4, 7, 10, 51, 1000};
    for (size_t i = 0; i < sizeof l / sizeof *l; i++)
        for (size_t k = 0; k < sizeof s / sizeof *s; k++)
            ck_assert_int_eq(carry_out(l[i], s[k]), nbi_revolve_advances(l[i], s[k]));
    for (int64_t n = 1; n <= 300; n++)
        for (int64_t k = 1; k <= 20; k++)
            ck_assert_int_eq(carry_out(n, k), nbi_revolve_advances(n, k));
}
END_TEST

/* r T - binom(s + r, r - 1) by Pascal's triangle, for the r with binom(s + r, s) >= T first. */
START_TEST(the_closed_form)
{
    enum { N = 64 };
    static int64_t binomial[N][N];
    for (int n = 0; n < N; n++)
        for (int k = 0; k <= n && n < 62; k++)
            binomial[n][k] = k == 0 || k == n ? 1 : binomial[n - 1][k - 1] + binomial[n - 1][k];
    for (int s = 1; s <= 51; s++)
        for (int64_t T = 1; T <= 200000; T += 1 + T / 7) {
            int r = 0;
            while (s + r < 62 && binomial[s + r][s] < T)
                r++;
            if (s + r < 62)
                ck_assert_int_eq(nbi_revolve_advances(T, s),
                                 r * T - (r ? binomial[s + r][r - 1] : 0));
        }
    ck_assert_int_eq(nbi_revolve_advances(100000, 51), 4 * 100000 - 26235);
}
END_TEST

START_TEST(far_out)
{
    const int64_t most = NBI_REVOLVE_MOST;
    ck_assert_int_eq(nbi_revolve_advances(most, 1), INT64_MAX); /* 6e23 */
    ck_assert_int_gt(nbi_revolve_advances(most, 2), most);
    ck_assert_int_eq(nbi_revolve_advances(most, most), most - 1);
    for (int64_t s = 2; s < 1000; s *= 3) {
        int64_t m = nbi_revolve_split(most, s);
        ck_assert(m > 0 && m < most);
        ck_assert_int_eq(nbi_revolve_advances(most, s),
                         m + nbi_revolve_advances(m, s) + nbi_revolve_advances(most - m, s - 1));
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("revolve");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, the_count_is_minimal);
    tcase_add_test(c, the_splits_reach_it);
    tcase_add_test(c, the_closed_form);
    tcase_add_test(c, far_out);
    return run_case("revolve", c);
}
