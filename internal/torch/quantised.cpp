// See quantised.h. A number is q·scale with q from -127 to 127, or (q - zero)·scale with q from 0 to 15. Scales are bfloat16:
// q has no more bits than bfloat16's significand, so on every device and in both dtypes a weight comes back as the
// same number, rounded once.
#include "quantised.h"

#include "guard.h"
#include "kernel.h"
#include "tiles.h"

#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

namespace tune {

namespace {

// scale_of returns the bits of the bfloat16 at or above x, so that no number of a group is cut off, and 0 for what is too
// small for fast arithmetic.
uint16_t scale_of(float x) {
  if (!(x >= FLT_MIN)) return 0;
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return static_cast<uint16_t>((u + 0xffffu) >> 16);
}

float widened(uint16_t bits) {
  const uint32_t u = static_cast<uint32_t>(bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// quantise writes rows first to first+n of the weight from n rows of in numbers.
void quantise(const Weight &w, int64_t first, int64_t n, const void *from, at::ScalarType dtype) {
  RECORD("quantise");
  const int64_t in = w.in, groups = w.scales.size(1), bytes = w.data.size(1);
  const bool four = w.zeros.defined();
  TORCH_CHECK(w.data.device().is_cpu() && w.data.is_contiguous() && w.scales.is_contiguous() && first + n <= w.out() &&
                  groups == (in + group_size - 1) / group_size && bytes == groups * group_size / (four ? 2 : 1),
              "quantise: ", n, " rows of ", in, " into data ", w.data.sizes(), ", scales ", w.scales.sizes());
  std::atomic<bool> finite{true};
  parallel(n, 4 * in, [&](int64_t begin, int64_t end) {
    std::vector<float> x(groups * group_size);  // zeros behind the last number
    for (int64_t i = begin; i < end; i++) {
      switch (dtype) {
        case at::kBFloat16: rows::from_bf16(x.data(), static_cast<const uint16_t *>(from) + i * in, in); break;
        case at::kFloat: std::memcpy(x.data(), static_cast<const float *>(from) + i * in, in * sizeof(float)); break;
        default: {
          const auto *half = static_cast<const at::Half *>(from) + i * in;
          for (int64_t j = 0; j < in; j++) x[j] = half[j];
        }
      }
      if (!std::isfinite(rows::sum_of_squares(x.data(), in) * 0.0f)) finite = false;
      const int64_t row = first + i;
      auto *scales = static_cast<uint16_t *>(w.scales.data_ptr()) + row * groups;
      for (int64_t g = 0; g < groups; g++) {
        const float *group = x.data() + g * group_size;
        float low, high;
        rows::range(group, group_size, &low, &high);
        scales[g] = scale_of(four ? (high - low) / 15 : std::max(-low, high) / 127);
        const float scale = scales[g] == 0 ? INFINITY : widened(scales[g]);  // by which all is 0
        if (!four) {
          rows::quantise8(static_cast<int8_t *>(w.data.data_ptr()) + row * bytes + g * group_size, group, scale, group_size);
          continue;
        }
        const float zero = std::nearbyint(-low / scale);
        static_cast<uint8_t *>(w.zeros.data_ptr())[row * groups + g] = static_cast<uint8_t>(zero);
        rows::quantise4(static_cast<uint8_t *>(w.data.data_ptr()) + row * bytes + g * group_size / 2, group, scale, zero, group_size / 2);
      }
    }
  });
  TORCH_CHECK(finite, "quantise: a number is not finite");
}

// composed is whole of libtorch's operators, none of which works on bits: MPS has had those of floats for longest.
at::Tensor composed(const Weight &w, at::ScalarType dtype) {
  const int64_t out = w.out(), groups = w.scales.size(1);
  at::Tensor q = w.data.to(dtype).view({out, groups, -1});
  if (w.zeros.defined()) {
    const at::Tensor high = at::floor(at::mul(q, 1.0 / 16));
    q = at::sub(at::cat({at::sub(q, high, 16), high}, 2), w.zeros.to(dtype).unsqueeze(2));
  }
  q = at::mul(q, w.scales.to(dtype).unsqueeze(2)).view({out, groups * group_size});
  return q.size(1) == w.in ? q : q.narrow(1, 0, w.in).contiguous();
}

at::Tensor dequantise(const Weight &w, at::ScalarType dtype) {
  RECORD("dequantise");
  const int64_t out = w.out(), in = w.in, groups = w.scales.size(1), bytes = w.data.size(1);
  at::Tensor y = at::empty({out, in}, w.data.options().dtype(dtype));
  const Rows to(y, in);
  const auto *scales = static_cast<const uint16_t *>(w.scales.data_ptr());
  const uint8_t *zeros = w.zeros.defined() ? w.zeros.data_ptr<uint8_t>() : nullptr;
  parallel(out, in, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(groups * group_size);
    for (int64_t row = begin; row < end; row++) {
      // A row without a filled-up group is written where it belongs.
      float *x = in == groups * group_size ? to.place(row, buffer.data()) : buffer.data();
      for (int64_t g = 0; g < groups; g++) {
        const float scale = widened(scales[row * groups + g]);
        if (zeros == nullptr)
          rows::dequantise8(x + g * group_size, static_cast<const int8_t *>(w.data.data_ptr()) + row * bytes + g * group_size, scale, group_size);
        else
          rows::dequantise4(x + g * group_size, static_cast<const uint8_t *>(w.data.data_ptr()) + row * bytes + g * group_size / 2, scale,
                            zeros[row * groups + g], group_size / 2);
      }
      float *place = to.place(row, x);
      if (place != x) std::memcpy(place, x, in * sizeof(float));
      to.keep(row, x);
    }
  });
  return y;
}

}  // namespace

Weight::Weight(const tune_weight &w) : in(w.in) {
  if (w.dense != nullptr) dense = ref(w.dense);
  if (w.data != nullptr) data = ref(w.data);
  if (w.scales != nullptr) scales = ref(w.scales);
  if (w.zeros != nullptr) zeros = ref(w.zeros);
}

at::Tensor Weight::whole(at::ScalarType dtype) const {
  if (dense.defined()) {
    const bool kept = dense.scalar_type() == dtype || (dtype == at::kFloat && tiles::takes(dense));
    return kept ? dense : dense.to(dtype);
  }
  if (ours(data) && (dtype == at::kFloat || dtype == at::kBFloat16)) return dequantise(*this, dtype);
  return composed(*this, dtype);
}

}  // namespace tune

using namespace tune;

extern "C" {

int tune_quantise(const tune_weight *w, int64_t row, int64_t rows, const void *from, int dtype) {
  return guard(0, [&]() -> int {
    quantise(Weight(*w), row, rows, from, static_cast<at::ScalarType>(dtype));
    return 1;
  });
}

tune_tensor tune_dequantise(const tune_weight *w, int dtype, int compose) {
  return make([&]() -> at::Tensor {
    at::NoGradGuard no_grad;
    const auto to = static_cast<at::ScalarType>(dtype);
    return compose != 0 ? composed(Weight(*w), to) : Weight(*w).whole(to);
  });
}

}  // extern "C"
