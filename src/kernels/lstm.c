/* The table that turns an instruction set into its LSTM cell; as that of the matrix product. */
#include "kernels/lstm.h"

static const nbi_lstm_kernel *const table[NBI_ISA_COUNT] = {
    [NBI_ISA_PLAIN] = nbi_lstm_plain,
#if defined(__x86_64__)
    [NBI_ISA_AVX2] = nbi_lstm_avx2,
    [NBI_ISA_AVX512] = nbi_lstm_avx512,
#else
    [NBI_ISA_AVX2] = nbi_lstm_plain,
    [NBI_ISA_AVX512] = nbi_lstm_plain,
#endif
#if defined(__aarch64__)
    [NBI_ISA_NEON] = nbi_lstm_neon,
#else
    [NBI_ISA_NEON] = nbi_lstm_plain,
#endif
};

const nbi_lstm_kernel *nbi_lstm_choose(nbi_isa isa, bool is_double)
{
    return &table[isa][is_double];
}
