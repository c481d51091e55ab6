// See rows.h.
#include "rows.h"

#include <cstring>

#if defined(__GNUC__) && !defined(__clang__)
// Go builds with -O2, at which GCC leaves loops of unknown length alone. Nothing here traps.
#pragma GCC optimize("O3,no-trapping-math")
#endif

#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int64_t lanes = 16;

INLINE uint32_t bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
}

INLINE float from_bits(uint32_t u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// exp(x) to about one unit in the last place, for x moved into [low, high]. Compilers work out both sides of a bound for
// every number, so none may lead to numbers too small for fast arithmetic, which take a hundred times as long.
// Source: Cephes, expf: x = n·log 2 + r, a polynomial for exp(r).
INLINE float bounded_exp(float x, float low, float high) {
  x = x < low ? low : x;
  x = x > high ? high : x;
  float n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;  // 1.5·2^23: the sum rounds to a whole number
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t e = static_cast<int32_t>(n);
  return p * from_bits(static_cast<uint32_t>(e + 127) << 23);
}

INLINE float exp_of(float x) { return bounded_exp(x, -80.0f, 88.0f); }

INLINE float tanh_of(float x) {
  float e = exp_of(2.0f * (x < 0 ? x : -x));  // at most 1
  float t = (1.0f - e) / (1.0f + e);
  return x < 0 ? -t : t;
}

// A number of at most 2^22 rounded to a whole one, ties to even.
INLINE float whole(float x) { return (x + 12582912.0f) - 12582912.0f; }

INLINE float within(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

// √x to one unit in the last place. The compiler's own keeps errno, and loops with it no vectors.
INLINE float sqrt_of(float x) {
  float y = from_bits(0x5f3759dfu - (bits(x) >> 1));  // 1/√x to a few percent, then Newton's steps
  y = y * (1.5f - 0.5f * x * y * y);
  y = y * (1.5f - 0.5f * x * y * y);
  y = y * (1.5f - 0.5f * x * y * y);
  float s = x * y;
  s = s + 0.5f * y * (x - s * s);
  return x < 1e-37f ? 0.0f : s;  // AdamW adds its epsilon, to which such roots are nothing
}

INLINE float folded(const float *acc) {
  float total = 0;
  for (int64_t k = 0; k < lanes; k++) total += acc[k];
  return total;
}

// GELU's tanh form is x·sigmoid(2u) with u = √(2/π)·(x + 0.044715·x³).
constexpr float gelu_a = 1.5957691216057308f;  // 2·√(2/π)
constexpr float gelu_b = 0.044715f;

// Behind 50 the sigmoid is 2e-22: nothing beside the other activations.
INLINE float gelu_sigmoid(float x) {
  return 1.0f / (1.0f + bounded_exp(-gelu_a * (x + gelu_b * x * x * x), -50.0f, 50.0f));
}

}  // namespace

namespace rows {

CLONES void from_bf16(float *__restrict out, const uint16_t *__restrict in, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = from_bits(static_cast<uint32_t>(in[i]) << 16);
}

CLONES void to_bf16(uint16_t *__restrict out, const float *__restrict in, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t u = bits(in[i]);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    out[i] = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
  }
}

CLONES float sum(const float *x, int64_t n) {
  float acc[lanes] = {0};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t k = 0; k < lanes; k++) acc[k] += x[i + k];
  for (; i < n; i++) acc[i % lanes] += x[i];
  return folded(acc);
}

CLONES float sum_of_squares(const float *x, int64_t n) {
  float acc[lanes] = {0};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t k = 0; k < lanes; k++) acc[k] += x[i + k] * x[i + k];
  for (; i < n; i++) acc[i % lanes] += x[i] * x[i];
  return folded(acc);
}

CLONES float dot(const float *a, const float *b, int64_t n) {
  float acc[lanes] = {0};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t k = 0; k < lanes; k++) acc[k] += a[i + k] * b[i + k];
  for (; i < n; i++) acc[i % lanes] += a[i] * b[i];
  return folded(acc);
}

CLONES float max(const float *x, int64_t n) {
  float acc[lanes];
  for (int64_t k = 0; k < lanes; k++) acc[k] = x[0];
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t k = 0; k < lanes; k++) acc[k] = x[i + k] > acc[k] ? x[i + k] : acc[k];
  for (; i < n; i++) acc[0] = x[i] > acc[0] ? x[i] : acc[0];
  float best = acc[0];
  for (int64_t k = 1; k < lanes; k++) best = acc[k] > best ? acc[k] : best;
  return best;
}

CLONES void add(float *__restrict y, const float *__restrict x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

CLONES void add_scaled(float *__restrict y, const float *__restrict x, float f, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += f * x[i];
}

CLONES void add_product(float *__restrict y, const float *__restrict a, const float *__restrict b, float f, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += f * a[i] * b[i];
}

CLONES void scale(float *y, const float *x, float f, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = f * x[i];
}

CLONES void normalise(float *y, const float *x, const float *gain, float r, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * gain[i];
}

CLONES void normalise_backward(float *dx, const float *dy, const float *x, const float *gain, float r, int64_t n) {
  float acc[lanes] = {0};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t k = 0; k < lanes; k++) acc[k] += dy[i + k] * gain[i + k] * x[i + k];
  for (; i < n; i++) acc[i % lanes] += dy[i] * gain[i] * x[i];
  float f = folded(acc) * r * r / static_cast<float>(n);
  for (int64_t j = 0; j < n; j++) dx[j] = r * (dy[j] * gain[j] - f * x[j]);
}

CLONES void rotate(float *__restrict y, const float *__restrict x, const float *cos, const float *sin, int64_t half) {
  for (int64_t i = 0; i < half; i++) {
    float a = x[i], b = x[i + half];
    y[i] = a * cos[i] - b * sin[i];
    y[i + half] = b * cos[i + half] + a * sin[i + half];
  }
}

CLONES void rotate_back(float *__restrict dx, const float *__restrict dy, const float *cos, const float *sin, int64_t half) {
  for (int64_t i = 0; i < half; i++) {
    float a = dy[i], b = dy[i + half];
    dx[i] = a * cos[i] + b * sin[i + half];
    dx[i + half] = b * cos[i + half] - a * sin[i];
  }
}

CLONES void gated_gelu(float *__restrict y, const float *__restrict gate, const float *__restrict up, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = gate[i] * gelu_sigmoid(gate[i]) * up[i];
}

CLONES void gated_gelu_backward(float *__restrict dgate, float *__restrict dup, const float *__restrict dy, const float *__restrict gate,
                                const float *__restrict up, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float x = gate[i], u = up[i], d = dy[i];
    float s = gelu_sigmoid(x);
    float slope = s + x * s * (1.0f - s) * gelu_a * (1.0f + 3.0f * gelu_b * x * x);
    dgate[i] = d * u * slope;
    dup[i] = d * x * s;
  }
}

CLONES void exp_scaled(float *y, const float *x, float shift, float f, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = f * exp_of(x[i] - shift);
}

CLONES void soft_cap(float *y, const float *x, float cap, int64_t n) {
  float inverse = 1.0f / cap;
  for (int64_t i = 0; i < n; i++) y[i] = cap * tanh_of(x[i] * inverse);
}

CLONES void soft_cap_slope(float *d, const float *y, float cap, int64_t n) {
  float inverse = 1.0f / cap;
  for (int64_t i = 0; i < n; i++) {
    float t = y[i] * inverse;
    d[i] *= 1.0f - t * t;
  }
}

CLONES void adamw(float *__restrict p, const float *__restrict g, float *__restrict m, float *__restrict v, float beta1, float beta2,
                  float decay, float root_correction2, float eps, float step_size, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float gi = g[i];
    float mi = m[i] + (gi - m[i]) * (1.0f - beta1);
    float vi = v[i] * beta2 + gi * gi * (1.0f - beta2);
    m[i] = mi;
    v[i] = vi;
    p[i] = p[i] * decay - step_size * mi / (sqrt_of(vi) / root_correction2 + eps);
  }
}

CLONES void add_low_rank(float *__restrict y, const float *__restrict low, const float *__restrict b, int64_t rank, int64_t stride,
                         int64_t n) {
  int64_t r = 0;
  for (; r + 4 <= rank; r += 4) {
    const float *b0 = b + r * stride, *b1 = b0 + stride, *b2 = b1 + stride, *b3 = b2 + stride;
    float l0 = low[r], l1 = low[r + 1], l2 = low[r + 2], l3 = low[r + 3];
    for (int64_t i = 0; i < n; i++) y[i] += l0 * b0[i] + l1 * b1[i] + l2 * b2[i] + l3 * b3[i];
  }
  for (; r < rank; r++) {
    const float *b0 = b + r * stride;
    float l0 = low[r];
    for (int64_t i = 0; i < n; i++) y[i] += l0 * b0[i];
  }
}

CLONES void range(const float *x, int64_t n, float *low, float *high) {
  float least[lanes] = {0}, most[lanes] = {0};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t k = 0; k < lanes; k++) {
      least[k] = x[i + k] < least[k] ? x[i + k] : least[k];
      most[k] = x[i + k] > most[k] ? x[i + k] : most[k];
    }
  for (; i < n; i++) {
    least[0] = x[i] < least[0] ? x[i] : least[0];
    most[0] = x[i] > most[0] ? x[i] : most[0];
  }
  *low = least[0];
  *high = most[0];
  for (int64_t k = 1; k < lanes; k++) {
    *low = least[k] < *low ? least[k] : *low;
    *high = most[k] > *high ? most[k] : *high;
  }
}

CLONES void quantise8(int8_t *__restrict q, const float *__restrict x, float scale, int64_t n) {
  for (int64_t i = 0; i < n; i++) q[i] = static_cast<int8_t>(static_cast<int32_t>(within(whole(x[i] / scale), -127.0f, 127.0f)));
}

CLONES void quantise4(uint8_t *__restrict q, const float *__restrict x, float scale, float zero, int64_t half) {
  for (int64_t i = 0; i < half; i++) {
    int32_t low = static_cast<int32_t>(within(whole(x[i] / scale) + zero, 0.0f, 15.0f));
    int32_t high = static_cast<int32_t>(within(whole(x[half + i] / scale) + zero, 0.0f, 15.0f));
    q[i] = static_cast<uint8_t>(low | high << 4);
  }
}

CLONES void dequantise8(float *__restrict x, const int8_t *__restrict q, float scale, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = static_cast<float>(q[i]) * scale;
}

CLONES void dequantise4(float *__restrict x, const uint8_t *__restrict q, float scale, float zero, int64_t half) {
  for (int64_t i = 0; i < half; i++) {
    x[i] = (static_cast<float>(q[i] & 15) - zero) * scale;
    x[half + i] = (static_cast<float>(q[i] >> 4) - zero) * scale;
  }
}

}  // namespace rows
