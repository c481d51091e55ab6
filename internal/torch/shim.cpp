// See shim.h. Everything here is written against the API that libtorch 1.13.1 to the newest have in common;
// what came later stands behind a version check, with a composite in Go for the older ones.
#include "guard.h"
#include "kernel.h"

#if TORCH_VERSION_MAJOR >= 2
#include <ATen/detail/MPSHooksInterface.h>
#endif

#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_set>

#if defined(__APPLE__)
#include <mach/mach.h>
#else
#include <cstdio>
#include <unistd.h>
#endif
#include <sys/resource.h>

// The allocator's header needs CUDA's own; only an installation that was built with CUDA has both.
#if defined(__has_include)
#if __has_include(<cuda_runtime_api.h>) && __has_include(<c10/cuda/CUDACachingAllocator.h>) && defined(TUNE_WITH_CUDA)
#define TUNE_CUDA_MEMORY 1
#include <c10/cuda/CUDACachingAllocator.h>
#endif
#endif

extern thread_local char *torch_last_err;  // defined once, in gotch's torch_api.h

void tune::keep_error(const char *what) {
  // The first error is the cause; what follows it is its echo.
  if (torch_last_err == nullptr) torch_last_err = strdup(what);
}

using namespace tune;

namespace {

at::Device device_of_code(int code) {
  switch (code) {
    case TUNE_CUDA: return at::Device(at::kCUDA, 0);
    case TUNE_MPS: return at::Device(at::kMPS, 0);
    default: return at::Device(at::kCPU);
  }
}

at::TensorOptions options(int dtype, int device) {
  return at::TensorOptions().dtype(static_cast<at::ScalarType>(dtype)).device(device_of_code(device));
}

class Collector : public c10::WarningHandler {
 public:
#if TUNE_TORCH >= 200
  void process(const c10::Warning &w) override { add(w.msg()); }
#else
  void process(const c10::SourceLocation &, const std::string &msg, const bool) override { add(msg); }
#endif
  void add(const std::string &message) {
    std::lock_guard<std::mutex> hold(lock_);
    if (each_once_ && !seen_.insert(message).second) return;
    // A warning in a loop must not grow without end; the oldest say the most.
    if (queue_.size() < 1000) queue_.push_back(message);
  }
  // What libtorch says once in a process it then says each time, and here each text is kept once.
  void each_once(bool yes) {
    std::lock_guard<std::mutex> hold(lock_);
    each_once_ = yes;
  }
  char *next() {
    std::lock_guard<std::mutex> hold(lock_);
    if (queue_.empty()) return nullptr;
    char *out = strdup(queue_.front().c_str());
    queue_.pop_front();
    return out;
  }

 private:
  std::mutex lock_;
  std::deque<std::string> queue_;
  bool each_once_ = false;
  std::unordered_set<std::string> seen_;
};

// Never destroyed: libtorch may warn from a thread that outlives main.
Collector &collector() {
  static Collector *c = new Collector;
  return *c;
}

at::Generator generator(int device) { return at::globalContext().defaultGenerator(device_of_code(device)); }

}  // namespace

extern "C" {

int tune_device_available(int device) {
  return guard(0, [&]() -> int {
    switch (device) {
      case TUNE_CPU: return 1;
      case TUNE_CUDA: return at::hasCUDA() && torch::cuda::is_available();
      // Before 2.0 there is no generator for it whose state could be kept, and much of it is wrong.
      case TUNE_MPS: return TUNE_TORCH >= 200 && at::hasMPS();
    }
    return 0;
  });
}

int tune_device_of(tune_tensor t) {
  return guard(-1, [&]() -> int {
    switch (ref(t).device().type()) {
      case at::kCUDA: return TUNE_CUDA;
      case at::kMPS: return TUNE_MPS;
      default: return TUNE_CPU;
    }
  });
}

void tune_device_name(int device, char *out, int size) {
  guard_void([&] {
    std::string name;
#ifdef TUNE_CUDA_MEMORY
    cudaDeviceProp prop;
    if (device == TUNE_CUDA && cudaGetDeviceProperties(&prop, 0) == cudaSuccess) name = prop.name;
#endif
    snprintf(out, size, "%s", name.c_str());
  });
}

int tune_bfloat16_is_fast(int device) {
  switch (device) {
    case TUNE_CUDA: return 1;
#if TUNE_TORCH >= 203
    case TUNE_MPS:  // before macOS 14 Metal has none at all
      return guard(0, [&]() -> int { return at::detail::getMPSHooks().isOnMacOSorNewer(14, 0); });
#else
    case TUNE_MPS: return 0;
#endif
  }
#if defined(__x86_64__)
  // Without these instructions libtorch converts every product through float32, several times slower.
  return __builtin_cpu_supports("avx512bf16") ? 1 : 0;
#else
  return 0;
#endif
}

void tune_synchronize(int device) {
  guard_void([&] {
    if (device == TUNE_CUDA) torch::cuda::synchronize();
#if TUNE_TORCH >= 200
    if (device == TUNE_MPS) at::detail::getMPSHooks().deviceSynchronize();
#endif
  });
}

tune_tensor tune_empty(const int64_t *shape, int ndim, int dtype, int device) {
  return make([&]() -> at::Tensor {
    return at::empty(at::IntArrayRef(shape, ndim), options(dtype, device));
  });
}

tune_tensor tune_from_memory(const void *data, const int64_t *shape, int ndim, int dtype, int to_dtype, int device) {
  return make([&]() -> at::Tensor {
    // from_blob borrows; copy=true makes the result own its memory whatever the target.
    auto borrowed = at::from_blob(const_cast<void *>(data), at::IntArrayRef(shape, ndim), options(dtype, TUNE_CPU));
    return borrowed.to(options(to_dtype, device), /*non_blocking=*/false, /*copy=*/true);
  });
}

int tune_fill_from_memory(tune_tensor dst, int64_t at, const void *data, int64_t n, int dtype) {
  return guard(0, [&]() -> int {
    at::NoGradGuard no_grad;
    auto borrowed = at::from_blob(const_cast<void *>(data), {n}, options(dtype, TUNE_CPU));
    ref(dst).view({-1}).narrow(0, at, n).copy_(borrowed);
    return 1;
  });
}

tune_tensor tune_to(tune_tensor t, int dtype, int device) {
  return make([&]() -> at::Tensor {
    return ref(t).to(device_of_code(device), static_cast<at::ScalarType>(dtype));
  });
}

int tune_copy_out(tune_tensor t, void *out, int64_t bytes) {
  return guard(0, [&]() -> int {
    at::NoGradGuard no_grad;
    auto host = ref(t).detach().to(at::kCPU).contiguous();
    TORCH_CHECK(static_cast<int64_t>(host.nbytes()) == bytes, "copy out: the tensor has ", host.nbytes(),
                " bytes, the buffer ", bytes);
    std::memcpy(out, host.data_ptr(), bytes);
    return 1;
  });
}

int tune_copy_into(tune_tensor dst, tune_tensor src) {
  return guard(0, [&]() -> int {
    at::NoGradGuard no_grad;
    TORCH_CHECK(ref(dst).sizes() == ref(src).sizes(), "copy: shape ", ref(src).sizes(), " into ", ref(dst).sizes());
    ref(dst).copy_(ref(src));
    return 1;
  });
}

int tune_shape(tune_tensor t, int64_t *out, int max) {
  return guard(-1, [&]() -> int {
    auto sizes = ref(t).sizes();
    for (int i = 0; i < static_cast<int>(sizes.size()) && i < max; i++) out[i] = sizes[i];
    return static_cast<int>(sizes.size());
  });
}

void tune_free(tune_tensor *tensors, int n) {
  guard_void([&] {
    for (int i = 0; i < n; i++) delete static_cast<at::Tensor *>(tensors[i]);
  });
}

tune_tensor tune_leaf(tune_tensor view, tune_tensor grad) {
  return make([&]() -> at::Tensor {
    auto leaf = ref(view).detach();
    leaf.set_requires_grad(true);
    // With a gradient already in place autograd adds into it, so it stays a view of the flat buffer.
    leaf.mutable_grad() = ref(grad).detach();
    return leaf;
  });
}

tune_tensor tune_grad(tune_tensor t) {
  return make([&]() -> at::Tensor {
    auto g = ref(t).grad();
    TORCH_CHECK(g.defined(), "grad: the tensor has none");
    return g;
  });
}

void tune_backward(tune_tensor t, tune_tensor grad) {
  guard_void([&] {
    if (grad == nullptr)
      ref(t).backward();
    else
      ref(t).backward(ref(grad));
  });
}

int tune_requires_grad(tune_tensor t) {
  return guard(0, [&]() -> int { return ref(t).requires_grad(); });
}

void tune_set_requires_grad(tune_tensor t, int on) {
  guard_void([&] { ref(t).set_requires_grad(on != 0); });
}

int tune_adamw(tune_tensor param, tune_tensor grad, tune_tensor m, tune_tensor v, double lr, double beta1,
               double beta2, double eps, double weight_decay, int64_t step) {
  return guard(0, [&]() -> int {
    at::NoGradGuard no_grad;
    auto &p = ref(param);
    auto &g = ref(grad);
    double correction1 = 1 - std::pow(beta1, step), correction2 = 1 - std::pow(beta2, step);
    if (ours(p)) {
      RECORD("adamw");
      float *to = p.data_ptr<float>(), *first = ref(m).data_ptr<float>(), *second = ref(v).data_ptr<float>();
      const float *from = g.data_ptr<float>();
      parallel(p.numel(), 1, [&](int64_t begin, int64_t end) {
        rows::adamw(to + begin, from + begin, first + begin, second + begin, beta1, beta2, 1 - lr * weight_decay,
                    std::sqrt(correction2), eps, lr / correction1, end - begin);
      });
      return 1;
    }
    ref(m).add_(at::sub(g, ref(m)), 1 - beta1);  // lerp_ has no kernel for MPS in 1.13
    ref(v).mul_(beta2).addcmul_(g, g, 1 - beta2);
    if (weight_decay != 0) p.mul_(1 - lr * weight_decay);
    auto denominator = ref(v).sqrt().div_(std::sqrt(correction2)).add_(eps);
    p.addcdiv_(ref(m), denominator, -lr / correction1);
    return 1;
  });
}

int tune_has_sdpa(void) { return TUNE_TORCH >= 201; }

tune_tensor tune_sdpa(tune_tensor q, tune_tensor k, tune_tensor v, tune_tensor mask, double scale) {
  return make([&]() -> at::Tensor {
#if TUNE_TORCH >= 201  // the scale argument came with 2.1
    if (mask == nullptr) return at::scaled_dot_product_attention(ref(q), ref(k), ref(v), {}, 0.0, false, scale);
    return at::scaled_dot_product_attention(ref(q), ref(k), ref(v), ref(mask), 0.0, false, scale);
#else
    TORCH_CHECK(false, "scaled_dot_product_attention needs libtorch 2.1");
#endif
  });
}

int tune_has_rms_norm(void) { return TUNE_TORCH >= 204; }

tune_tensor tune_rms_norm(tune_tensor x, tune_tensor weight, double eps) {
  return make([&]() -> at::Tensor {
#if TUNE_TORCH >= 204
    return at::rms_norm(ref(x), ref(weight).sizes(), ref(weight), eps);
#else
    TORCH_CHECK(false, "rms_norm needs libtorch 2.4");
#endif
  });
}

void tune_memory(int device, int64_t *now, int64_t *peak, int64_t *reserved) {
  *now = *peak = *reserved = -1;
  if (device == TUNE_CPU) tune_pool_figures(now, peak);
  guard_void([&] {
#ifdef TUNE_CUDA_MEMORY
    if (device == TUNE_CUDA) {
      auto s = c10::cuda::CUDACachingAllocator::getDeviceStats(0);
      *now = s.allocated_bytes[0].current;
      *peak = s.allocated_bytes[0].peak;
      *reserved = s.reserved_bytes[0].current;
    }
#endif
#if TUNE_TORCH >= 200
    if (device == TUNE_MPS) {
      *now = at::detail::getMPSHooks().getCurrentAllocatedMemory();
      *reserved = at::detail::getMPSHooks().getDriverAllocatedMemory();
    }
#endif
    (void)device;
  });
}

int64_t tune_device_memory_limit(int device) {
  return guard(int64_t(-1), [&]() -> int64_t {
#ifdef TUNE_CUDA_MEMORY
    size_t free_bytes = 0, total = 0;
    if (device == TUNE_CUDA && cudaMemGetInfo(&free_bytes, &total) == cudaSuccess) return static_cast<int64_t>(free_bytes);
#endif
#if TUNE_TORCH >= 205  // the hook came with 2.5
    if (device == TUNE_MPS) return static_cast<int64_t>(at::detail::getMPSHooks().getRecommendedMaxMemory());
#endif
    (void)device;
    return -1;
  });
}

void tune_process_memory(int64_t *now, int64_t *peak) {
  *now = *peak = -1;
#if defined(__APPLE__)
  // The physical footprint is what Activity Monitor shows; it counts Metal's buffers, resident size does not.
  task_vm_info_data_t info;
  mach_msg_type_number_t count = TASK_VM_INFO_COUNT;
  if (task_info(mach_task_self(), TASK_VM_INFO, reinterpret_cast<task_info_t>(&info), &count) == KERN_SUCCESS) {
    *now = static_cast<int64_t>(info.phys_footprint);
#if defined(TASK_VM_INFO_REV5_COUNT)
    if (count >= TASK_VM_INFO_REV5_COUNT) *peak = info.ledger_phys_footprint_peak;
#endif
  }
  struct rusage usage;
  if (*peak < 0 && getrusage(RUSAGE_SELF, &usage) == 0) *peak = usage.ru_maxrss;  // bytes on macOS
#else
  long pages = 0, resident = 0;
  if (FILE *f = fopen("/proc/self/statm", "r")) {
    if (fscanf(f, "%ld %ld", &pages, &resident) == 2) *now = static_cast<int64_t>(resident) * sysconf(_SC_PAGESIZE);
    fclose(f);
  }
  // Not getrusage's ru_maxrss where it can be helped: a program inherits that from the one that started it.
  if (FILE *f = fopen("/proc/self/status", "r")) {
    char line[256];
    long long kib = 0;
    while (fgets(line, sizeof line, f))
      if (sscanf(line, "VmHWM: %lld kB", &kib) == 1) *peak = kib * 1024;
    fclose(f);
  }
  struct rusage usage;
  if (*peak < 0 && getrusage(RUSAGE_SELF, &usage) == 0) *peak = static_cast<int64_t>(usage.ru_maxrss) * 1024;
#endif
}

int tune_threads(void) { return guard(0, [&]() -> int { return at::get_num_threads(); }); }

void tune_set_threads(int n) {
  guard_void([&] { at::set_num_threads(n); });
}

void tune_manual_seed(uint64_t seed) {
  guard_void([&] { torch::manual_seed(seed); });
}

tune_tensor tune_generator_state(int device) {
  return make([&]() -> at::Tensor {
    auto g = generator(device);
    std::lock_guard<std::mutex> hold(g.mutex());
    return g.get_state();
  });
}

void tune_set_generator_state(int device, tune_tensor state) {
  guard_void([&] {
    auto g = generator(device);
    std::lock_guard<std::mutex> hold(g.mutex());
    g.set_state(ref(state));
  });
}

void tune_install_warning_handler(void) {
#if TUNE_TORCH >= 200
  namespace warning = c10::WarningUtils;
#else
  namespace warning = c10::Warning;
#endif
  warning::set_warning_handler(&collector());
  // Of the operators that fall back from MPS to the CPU libtorch names only the first, by a warning that comes once.
  const bool each = getenv("PYTORCH_ENABLE_MPS_FALLBACK") != nullptr;
  collector().each_once(each);
  warning::set_warnAlways(each);
}

char *tune_next_warning(void) { return collector().next(); }

char *tune_last_error(void) {
  char *e = torch_last_err;
  torch_last_err = nullptr;
  return e;
}

const char *tune_libtorch_version(void) { return TORCH_VERSION; }

void tune_throw(int kind) {
  guard_void([&] {
    switch (kind) {
      case 0: TORCH_CHECK(false, "thrown on purpose");
      case 1: throw std::bad_alloc();
      default: throw 42;
    }
  });
}

void tune_warn(const char *message, int once) {
  guard_void([&] {
    if (once) {
      TORCH_WARN_ONCE(message);
    } else {
      TORCH_WARN(message);
    }
  });
}

}  // extern "C"
