// Arithmetic on rows of float32, written so that a compiler makes vector instructions of it. On x86-64 GCC compiles
// each function for AVX-512, AVX2 and the baseline, and the processor at hand chooses; elsewhere the baseline has
// vectors already. Sums keep 16 lanes whatever the vectors' width, so that one order of additions serves all.
#ifndef TUNE_ROWS_H
#define TUNE_ROWS_H
#include <cstdint>

namespace rows {

void from_bf16(float *out, const uint16_t *in, int64_t n);
void to_bf16(uint16_t *out, const float *in, int64_t n);  // to nearest, ties to even; NaN stays NaN

float sum(const float *x, int64_t n);
float sum_of_squares(const float *x, int64_t n);
float dot(const float *a, const float *b, int64_t n);
float max(const float *x, int64_t n);  // of n >= 1

void add(float *y, const float *x, int64_t n);                    // y += x
void add_scaled(float *y, const float *x, float f, int64_t n);    // y += f·x
void add_product(float *y, const float *a, const float *b, float f, int64_t n);  // y += f·a·b
void scale(float *y, const float *x, float f, int64_t n);         // y = f·x

// RMSNorm with r = 1/sqrt(mean(x²)+eps) and gain = 1+w: y = r·x·gain, and its gradient with respect to x.
void normalise(float *y, const float *x, const float *gain, float r, int64_t n);
void normalise_backward(float *dx, const float *dy, const float *x, const float *gain, float r, int64_t n);

// RoPE over the two halves of a head of 2·half numbers, and the rotation back.
void rotate(float *y, const float *x, const float *cos, const float *sin, int64_t half);
void rotate_back(float *dx, const float *dy, const float *cos, const float *sin, int64_t half);

// y = gelu(gate)·up with the tanh form of GELU, and its gradients.
void gated_gelu(float *y, const float *gate, const float *up, int64_t n);
void gated_gelu_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n);

// y = f·exp(x - shift), y may be x.
void exp_scaled(float *y, const float *x, float shift, float f, int64_t n);
// y = cap·tanh(x/cap), y may be x; its slope 1 - (y/cap)² multiplied into d.
void soft_cap(float *y, const float *x, float cap, int64_t n);
void soft_cap_slope(float *d, const float *y, float cap, int64_t n);

// One step of AdamW; see tune_adamw for the scalars.
void adamw(float *p, const float *g, float *m, float *v, float beta1, float beta2, float decay, float root_correction2,
           float eps, float step_size, int64_t n);

// y[i] += Σ_r low[r]·b[r·stride + i] for i < n: one row of a product with few terms.
void add_low_rank(float *y, const float *low, const float *b, int64_t rank, int64_t stride, int64_t n);

// The smallest and the largest of n numbers, 0 among them.
void range(const float *x, int64_t n, float *low, float *high);

// A group of quantised numbers: q = x/scale to the nearest, and back. Of 4 bits, which count from zero, two are in a byte:
// the numbers of the first half in the low bits, those of the second in the high ones.
void quantise8(int8_t *q, const float *x, float scale, int64_t n);
void quantise4(uint8_t *q, const float *x, float scale, float zero, int64_t half);
void dequantise8(float *x, const int8_t *q, float scale, int64_t n);
void dequantise4(float *x, const uint8_t *q, float scale, float zero, int64_t half);

}  // namespace rows
#endif
