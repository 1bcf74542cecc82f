/* Convolution against the machine's peak.
 *
 * Each case is a layer on a batch: its forward pass, and its gradients by the weights and by the
 * image, as the operations run them, on one thread, in float. The kernels are called through a tape
 * that records nothing but the call, so that a figure has what an operation costs in it. */
#include "bench.h"

#include "kernels/cpu.h"
#include <math.h>
#include <nabla.h>
