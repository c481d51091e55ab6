// What kernels on the CPU share: threads, rows as float32, and their names in recordings.
#ifndef TUNE_KERNEL_H
#define TUNE_KERNEL_H
#include "rows.h"

#include <torch/torch.h>

#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <algorithm>

#if defined(__APPLE__)
#include <dispatch/dispatch.h>
#endif

// Recordings of operators (record.cpp) and libtorch's profilers see a kernel of ours under this name. It stands around
// our own loops only, so that libtorch's operators beside them are counted as well.
#define RECORD(name) RECORD_FUNCTION("tune::" name, std::vector<c10::IValue>())

namespace tune {

// composing is set by tests that have the CPU take the operators that a GPU takes.
inline bool &composing() {
  static bool on = false;
  return on;
}

// ours reports whether kernels for the CPU may work on t.
inline bool ours(const at::Tensor &t) { return t.device().is_cpu() && !composing(); }

// parallel runs f(begin, end) over parts of n rows on libtorch's threads. cost is about how many numbers a row has:
// little work is not worth a second thread.
template <typename F>
void parallel(int64_t n, int64_t cost, const F &f) {
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, cost));
#if defined(__APPLE__) && !defined(_OPENMP)
  // Apple's compiler has no OpenMP, without which parallel_for is a plain loop.
  const int64_t parts = std::min<int64_t>(at::get_num_threads(), (n + grain - 1) / grain);
  if (parts > 1) {
    const int64_t each = (n + parts - 1) / parts;
    dispatch_apply(parts, DISPATCH_APPLY_AUTO, ^(size_t i) {
      const int64_t begin = static_cast<int64_t>(i) * each;
      if (begin < n) f(begin, std::min(n, begin + each));
    });
    return;
  }
  if (n > 0) f(int64_t(0), n);
#else
  at::parallel_for(0, n, grain, f);
#endif
}

// Rows are those of a contiguous tensor on the CPU, as float32 whatever they are stored in.
class Rows {
 public:
  Rows(const at::Tensor &t, int64_t width) : data_(t.data_ptr()), half_(t.scalar_type() == at::kBFloat16), width_(width) {
    TORCH_CHECK(t.device().is_cpu() && t.is_contiguous() && (half_ || t.scalar_type() == at::kFloat),
                "fused: want a contiguous float32 or bfloat16 tensor on the cpu, got ", t.scalar_type(), " on ", t.device());
  }
  // read returns n numbers of a row, in place or widened into buffer.
  const float *read(int64_t row, int64_t at, int64_t n, float *buffer) const {
    if (!half_) return static_cast<const float *>(data_) + row * width_ + at;
    rows::from_bf16(buffer, static_cast<const uint16_t *>(data_) + row * width_ + at, n);
    return buffer;
  }
  const float *read(int64_t row, float *buffer) const { return read(row, 0, width_, buffer); }
  // place returns where numbers of a row may be written: the row itself or buffer, which keep then rounds.
  float *place(int64_t row, int64_t at, float *buffer) const {
    return half_ ? buffer : static_cast<float *>(data_) + row * width_ + at;
  }
  float *place(int64_t row, float *buffer) const { return place(row, 0, buffer); }
  void keep(int64_t row, int64_t at, int64_t n, const float *buffer) const {
    if (half_) rows::to_bf16(static_cast<uint16_t *>(data_) + row * width_ + at, buffer, n);
  }
  void keep(int64_t row, const float *buffer) const { keep(row, 0, width_, buffer); }

 private:
  void *data_;
  bool half_;
  int64_t width_;
};

}  // namespace tune
#endif
