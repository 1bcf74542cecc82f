/* The LSTM cell for AVX-512: vectors of 64 bytes. */
#define NBI_LSTM_TABLE nbi_lstm_avx512
#define VEC_BYTES      64
#include "kernels/lstm_lanes.inc"
