// See record.h. RecordFunction is what libtorch's own profiler hangs on; libtorch 1.13.1 to the newest agree on the
// part of it that is used here.
#include "record.h"

// An operator with sizes that may be symbolic comes without its inputs: they are none then, and no error as in a debug build.
#ifndef NDEBUG
#define NDEBUG
#endif

#include <ATen/record_function.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

extern thread_local char *torch_last_err;  // defined once, in gotch's torch_api.h

namespace {

using Clock = std::chrono::steady_clock;

// dtypes lists those of the tensors that an operator was given, each once. A number on the host, which stands beside tensors
// of any device as a float64 tensor without dimensions, is none of them.
std::string dtypes(const at::RecordFunction &f) {
  std::set<std::string> seen;
  auto add = [&](const at::Tensor &t) {
    if (t.defined() && (t.dim() > 0 || t.scalar_type() != at::kDouble)) seen.insert(c10::toString(t.scalar_type()));
  };
  for (const c10::IValue &v : f.inputs()) {
    if (v.isTensor()) add(v.toTensor());
    if (v.isTensorList())
      for (const at::Tensor &t : v.toTensorVector()) add(t);
  }
  std::string text;
  for (const std::string &name : seen) text += " " + name;
  return text;
}

struct Entry {
  int64_t calls = 0, outermost = 0, total_ns = 0, self_ns = 0;
};

struct Recording {
  std::mutex lock;
  at::CallbackHandle handle = 0;
  std::unordered_map<std::string, Entry> entries;
  std::vector<std::pair<std::string, Entry>> result;
  bool types = false;
};

// Never destroyed: a thread of libtorch may outlive main.
Recording &recording() {
  static Recording *r = new Recording;
  return *r;
}

// An operator that has begun and not ended.
struct Call : at::ObserverContext {
  Clock::time_point began;
  std::string types;
  int64_t inner_ns = 0;  // of the operators that it called
  Call *outer = nullptr;
};

thread_local Call *innermost = nullptr;

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction &f) {
  // Autograd's engine reports a node, which is no operator, in the same way.
  if (strstr(f.name(), "::") == nullptr || strncmp(f.name(), "autograd::", 10) == 0) return nullptr;
  auto call = std::make_unique<Call>();
  if (recording().types) {
    const auto name = f.operator_name();
    if (name && !name->overload_name.empty()) call->types = "." + name->overload_name;
    call->types += dtypes(f);
  }
  call->outer = innermost;
  innermost = call.get();
  call->began = Clock::now();
  return call;
}

void on_end(const at::RecordFunction &f, at::ObserverContext *context) {
  if (context == nullptr) return;
  auto *call = static_cast<Call *>(context);
  int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - call->began).count();
  innermost = call->outer;
  if (call->outer != nullptr) call->outer->inner_ns += ns;

  Recording &r = recording();
  std::lock_guard<std::mutex> hold(r.lock);  // the backward pass has threads of its own on a GPU
  Entry &e = r.entries[f.name() + call->types];
  e.calls++;
  if (call->outer == nullptr) e.outermost++;
  e.total_ns += ns;
  e.self_ns += ns - call->inner_ns;
}

int failed(const char *message) {
  if (torch_last_err == nullptr) torch_last_err = strdup(message);
  return -1;
}

template <typename F>
int guarded(F f) {
  try {
    return f();
  } catch (const std::exception &e) {
    return failed(e.what());
  } catch (...) {
    return failed("unknown C++ exception");
  }
}

}  // namespace

extern "C" {

int tune_record_start(int types) {
  return guarded([types] {
    Recording &r = recording();
    {
      std::lock_guard<std::mutex> hold(r.lock);
      r.entries.clear();
      r.result.clear();
      r.types = types != 0;
    }
    // Of this thread; libtorch carries it over to the threads of a backward pass that begins here.
    r.handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(on_start, on_end).needsInputs(types != 0).scopes({at::RecordScope::FUNCTION}));
    return 0;
  });
}

int tune_record_stop(void) {
  return guarded([] {
    Recording &r = recording();
    at::removeCallback(r.handle);
    std::lock_guard<std::mutex> hold(r.lock);
    r.result.assign(r.entries.begin(), r.entries.end());
    r.entries.clear();
    return static_cast<int>(r.result.size());
  });
}

tune_operator tune_record_operator(int i) {
  const auto &found = recording().result[i];
  const Entry &e = found.second;
  return {found.first.c_str(), e.calls, e.outermost, e.total_ns, e.self_ns};
}
}
