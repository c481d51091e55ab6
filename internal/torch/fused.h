// Operators of a training step that pass over memory once, with gradients by hand. Plain C, so that cgo can read it; the
// error convention is shim.h's.
#ifndef TUNE_FUSED_H
#define TUNE_FUSED_H
#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// These work on CPU tensors of float32 or bfloat16. NULL leaves a part out.
tune_tensor tune_norm(tune_tensor x, tune_tensor w, tune_tensor residual, tune_tensor cos, tune_tensor sin, double eps);
tune_tensor tune_gated_gelu(tune_tensor gate, tune_tensor up);
tune_tensor tune_attention(tune_tensor q, tune_tensor k, tune_tensor v, const int64_t *starts, int sequences, int64_t width,
                           int64_t window, double scale, double cap);
tune_tensor tune_head_loss(tune_tensor h, tune_tensor head, tune_tensor head_grad, tune_tensor labels, int64_t rows, double cap,
                           tune_tensor sum, int gradient);

// A frozen weight (out, in): dense, or the others. See quantised.h.
#define TUNE_GROUP 64
typedef struct {
  tune_tensor dense, data, scales, zeros;
  int64_t in;
} tune_weight;

// Fills rows of a quantised weight on the CPU from memory of dtype float32, bfloat16 or float16.
int tune_quantise(const tune_weight *w, int64_t row, int64_t rows, const void *from, int dtype);
// Makes a quantised weight whole; with compose as devices without a kernel of ours do.
tune_tensor tune_dequantise(const tune_weight *w, int dtype, int compose);

// Has the CPU take the operators that a GPU takes; for tests.
void tune_compose(int on);

// Whether a frozen weight (out, in) may stay in bfloat16 beside float32 activations on the CPU.
int tune_keeps_bfloat16(int64_t out, int64_t in);

// On every device: a linear layer, and n that read the same input, each with an adapter beside its weight.
tune_tensor tune_linear(tune_tensor x, const tune_weight *w);
int tune_adapted(tune_tensor x, int n, const tune_weight *w, tune_tensor *a, tune_tensor *b, const double *scale, tune_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
