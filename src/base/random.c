/*
 * Random numbers: xoshiro256++ of Blackman and Vigna, seeded by splitmix64.
 *
 * Doubles take the upper 53 bits. Normal deviates come from the polar method of Marsaglia without
 * a kept spare, so that the state is the four words alone and a copied state replays exactly.
 */
#include <nabla/base.h>

#include <math.h>

static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

nb_rng nb_rng_seed(uint64_t seed)
{
    nb_rng r;
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r.s[i] = z ^ (z >> 31);
    }
    return r;
}

uint64_t nb_rng_bits(nb_rng *r)
{
    uint64_t *s = r->s, out = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return out;
}

double nb_rng_uniform(nb_rng *r) { return (double)(nb_rng_bits(r) >> 11) * 0x1p-53; }

double nb_rng_normal(nb_rng *r)
{
    for (;;) {
        double u = 2 * nb_rng_uniform(r) - 1, v = 2 * nb_rng_uniform(r) - 1, s = u * u + v * v;
        if (s > 0 && s < 1)
            return u * sqrt(-2 * log(s) / s);
    }
}

uint64_t nb_rng_below(nb_rng *r, uint64_t n)
{
    if (n == 0)
        return 0;
    uint64_t skip = (0 - n) % n; /* 2^64 mod n: values below it would favour small results */
    for (;;) {
        uint64_t x = nb_rng_bits(r);
        if (x >= skip)
            return x % n;
    }
}
