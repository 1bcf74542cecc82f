/*
 * Schedules against their closed forms, written out here; the plateau's and the range test's decisions
 * on losses whose course is known.
 */
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <string.h>

static void is_at(const nb_schedule *s, int64_t t, double expected)
{
    ck_assert_msg(fabs(nb_schedule_at(s, t) - expected) <= 1e-14 * fabs(expected) + 1e-18,
                  "%s at %lld: %.17g, expected %.17g", nb_schedule_name(s->kind), (long long)t,
                  nb_schedule_at(s, t), expected);
}

START_TEST(closed_forms)
{
    const nb_schedule constant = {.kind = NB_CONSTANT, .rate = 0.3};
    const nb_schedule linear = {.kind = NB_LINEAR, .rate = 1, .last = 0.1, .steps = 10};
    const nb_schedule steps = {.kind = NB_STEPWISE, .rate = 2, .k = 0.5, .steps = 4};
    const nb_schedule tenths = {.kind = NB_STEPWISE, .rate = 2, .steps = 4};
    const nb_schedule exponential = {.kind = NB_EXPONENTIAL, .rate = 2, .k = 0.25};
    const nb_schedule inverse = {.kind = NB_INVERSE, .rate = 2, .k = 0.25};
    const nb_schedule square = {.kind = NB_POLYNOMIAL, .rate = 3, .last = 1, .k = 2, .steps = 8};
    for (int t = 0; t < 30; t++) {
        is_at(&constant, t, 0.3);
        is_at(&linear, t, t < 10 ? 1 - 0.09 * t : 0.1);
        is_at(&steps, t, ldexp(2, -(t / 4)));
        is_at(&tenths, t, 2 / pow(10, t / 4));
        is_at(&exponential, t, 2 / pow(2.718281828459045, t / 4.0));
        is_at(&inverse, t, 8.0 / (4 + t));
        is_at(&square, t, t < 8 ? 1 + 2 * (8 - t) * (8 - t) / 64.0 : 1);
    }
}
END_TEST

START_TEST(cosines)
{
    nb_schedule s = {.kind = NB_COSINE, .rate = 3, .last = 1, .steps = 4};
    const double quarter[] = {3, 2 + 0.70710678118654757, 2, 2 - 0.70710678118654757};
    for (int t = 0; t < 12; t++)
        is_at(&s, t, t < 4 ? quarter[t] : 1);
    s.times = 1;
    for (int t = 0; t < 400; t++)
        is_at(&s, t, quarter[t % 4]);
    s.times = 2; /* 4, 8, 16, ... steps: anew at 4, 12, 28, 60, ... */
    int64_t start = 0;
    for (int64_t length = 4; length < (int64_t)1 << 45; start += length, length *= 2) {
        is_at(&s, start, 3);
        is_at(&s, start + length / 4, quarter[1]);
        is_at(&s, start + length / 2, 2);
        if (start)
            ck_assert(nb_schedule_at(&s, start - 1) < 1.4);
    }
    s.times = 3; /* whose powers no logarithm has exactly */
    start = 0;
    for (int64_t length = 4; length < (int64_t)1 << 45; start += length, length *= 3) {
        is_at(&s, start, 3);
        is_at(&s, start + length / 2, 2);
    }
}
END_TEST

START_TEST(one_cycle_and_warm_up)
{
    const nb_schedule s = {.kind = NB_ONE_CYCLE, .rate = 5, .steps = 20};
    is_at(&s, 0, 0.2);
    is_at(&s, 3, 2.6);
    is_at(&s, 6, 5);
    is_at(&s, 13, 2.5);
    ck_assert(nb_schedule_at(&s, 20) == 0 && nb_schedule_at(&s, 50) == 0);
    const nb_schedule w = {.kind = NB_INVERSE, .rate = 2, .k = 1, .warm_up = 3};
    is_at(&w, 0, 0.5);
    is_at(&w, 1, 1);
    is_at(&w, 2, 1.5);
    is_at(&w, 3, 2);
    is_at(&w, 4, 1);
}
END_TEST

START_TEST(refused)
{
    nb_reason why = {""};
    const nb_schedule bad[] = {{.kind = NB_CONSTANT},
                               {.kind = NB_CONSTANT, .rate = -1},
                               {.kind = NB_CONSTANT, .rate = (double)NAN},
                               {.kind = NB_LINEAR, .rate = 1},
                               {.kind = NB_LINEAR, .rate = 1, .steps = 5, .last = -1},
                               {.kind = NB_INVERSE, .rate = 1, .k = -1},
                               {.kind = NB_COSINE, .rate = 1, .steps = 5, .times = 0.5},
                               {.kind = NB_ONE_CYCLE, .rate = 1, .steps = 5, .k = 1},
                               {.kind = NB_CONSTANT, .rate = 1, .warm_up = -1},
                               {.kind = NB_SCHEDULE_COUNT, .rate = 1}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        ck_assert_int_eq(nb_schedule_check(&bad[k], &why), NB_ERR_ARGUMENT);
        ck_assert(why.text[0] && isnan(nb_schedule_at(&bad[k], 0)));
        why.text[0] = 0;
    }
    ck_assert(isnan(nb_schedule_at(&(nb_schedule){.rate = 1}, -1)));
    ck_assert(isnan(nb_schedule_at(NULL, 1)));
    ck_assert_str_eq(nb_schedule_name(NB_SCHEDULE_COUNT), "");
}
END_TEST

START_TEST(plateau)
{
    nb_plateau p = {.rate = 1, .factor = 0.5, .patience = 2, .cool = 1, .lowest = 0.2};
    const double loss[] = {4, 3, (double)NAN, 3, 2.99999, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
    const double rate[] = {1, 1, 1, 1, .5, .5, .5, .5, .25, .25, .25, .25, .25, .2, .2, .2, .2, .2};
    for (int k = 0; k < 18; k++)
        ck_assert_double_eq(nb_plateau_tell(&p, loss[k]), rate[k]);
    ck_assert_double_eq(p.best, 1);
    nb_plateau none = {.rate = 0}, up = {.rate = 1, .factor = 1};
    ck_assert(isnan(nb_plateau_tell(&none, 1)) && isnan(nb_plateau_tell(&up, 1)));
}
END_TEST

/* A loss that falls fastest around rate 0.01 and explodes above 0.3. */
START_TEST(range_test)
{
    nb_rate_test r = {.low = 1e-5, .high = 10, .steps = 121};
    int steps = 0;
    double rate = 0;
    do {
        rate = nb_rate_test_rate(&r);
        ck_assert_double_eq_tol(log10(rate), -5 + steps / 20.0, 1e-9);
        steps++;
    } while (nb_rate_test_tell(&r, 2 - tanh(3 * log10(rate / 0.01)) / 2 +
                                       (rate > 0.3 ? 1e3 * (rate - 0.3) : 0)));
    ck_assert(rate > 0.3 && rate < 0.6);
    ck_assert(nb_rate_test_best(&r) > 0.01 && nb_rate_test_best(&r) < 0.03);
    ck_assert(!nb_rate_test_tell(&r, 1));
    nb_rate_test s = {.low = 1, .high = 100, .steps = 3};
    ck_assert(isnan(nb_rate_test_best(&s)));
    ck_assert(nb_rate_test_tell(&s, 1) && nb_rate_test_tell(&s, 1) && !nb_rate_test_tell(&s, 1));
    nb_rate_test nan = {.low = 1, .high = 2, .steps = 9}, bad = {.low = 2, .high = 2, .steps = 9};
    ck_assert(!nb_rate_test_tell(&nan, (double)NAN) && isnan(nb_rate_test_rate(&bad)));
    ck_assert(!nb_rate_test_tell(&bad, 1));
}
END_TEST

/* A batch that is easy by chance, among the first, is not taken for a good rate. */
START_TEST(range_test_of_noise)
{
    nb_rate_test r = {.low = 1e-5, .high = 10, .steps = 121};
    for (bool on = true; on;) {
        const double rate = nb_rate_test_rate(&r), noise = r.told == 0 ? 1 : r.told == 1 ? -1 : 0;
        on = nb_rate_test_tell(&r, 2 - tanh(3 * log10(rate / 0.01)) / 2 + noise);
    }
    ck_assert(nb_rate_test_best(&r) > 0.01 && nb_rate_test_best(&r) < 0.03);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("schedule");
    tcase_add_test(c, closed_forms);
    tcase_add_test(c, cosines);
    tcase_add_test(c, one_cycle_and_warm_up);
    tcase_add_test(c, refused);
    tcase_add_test(c, plateau);
    tcase_add_test(c, range_test);
    tcase_add_test(c, range_test_of_noise);
    return run_case("schedule", c);
}
