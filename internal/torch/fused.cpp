// See fused.h. Each operator is a node of autograd's graph that keeps no more than its backward pass needs.
//
// libtorch's own operators are made for any shape and type; a layer of Gemma takes some sixty of them forward and twice
// as many backward, each a pass over memory, most of them in float32 copies of bfloat16. Here a row of a tensor is
// widened to float32 in the cache, worked on, and rounded once.
#include "fused.h"

#include "guard.h"
#include "kernel.h"
#include "quantised.h"
#include "rows.h"
#include "tiles.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tune;
using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {

at::Tensor optional(tune_tensor t) { return t == nullptr ? at::Tensor() : ref(t); }

// Nodes are held by std::shared_ptr in older libtorch and by c10::intrusive_ptr in newer (2.13 has it).
using counts_itself = std::is_base_of<c10::intrusive_ptr_target, Node>;
template <typename N>
using Held = std::conditional_t<counts_itself::value, c10::intrusive_ptr<N>, std::shared_ptr<N>>;

template <typename N, typename... A>
Held<N> hold(std::true_type, A &&...of) {
  return c10::make_intrusive<N>(std::forward<A>(of)...);
}

template <typename N, typename... A>
Held<N> hold(std::false_type, A &&...of) {
  // By the type of its argument, since the function may be absent where this is not called.
  return Held<N>(new N(std::forward<A>(of)...), [](N *n) { deleteNode(n); });
}

// node makes the node of an operator's backward pass, with an edge to each input; null where nothing is trained.
template <typename N, typename... T>
Held<N> node(const T &...inputs) {
  if (!torch::autograd::compute_requires_grad(inputs...)) return {};
  Held<N> n = hold<N>(counts_itself());
  n->set_next_edges(torch::autograd::collect_next_edges(inputs...));
  return n;
}

// gain_of returns 1+w as float32.
std::vector<float> gain_of(const at::Tensor &w) {
  const int64_t n = w.numel();
  std::vector<float> gain(n);
  const float *from = Rows(w, n).read(0, gain.data());
  for (int64_t i = 0; i < n; i++) gain[i] = 1.0f + from[i];
  return gain;
}

// --- matrix products ------------------------------------------------------------------------------------------------

// oneDNN's product of float32 matrices, where libtorch brings it: a tenth to a fifth faster than OpenBLAS's on the
// widths of Gemma. Absent in builds that hide it, which have MKL.
using sgemm_function = int (*)(char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t, float,
                               float *, int64_t);

sgemm_function onednn_sgemm() {
  static const auto f = reinterpret_cast<sgemm_function>(dlsym(RTLD_DEFAULT, "dnnl_sgemm"));
  return f;
}

// Operand is a matrix as BLAS takes it: rows or columns without gaps.
struct Operand {
  char transposed = 0;  // 'N' or 'T', 0 when it lies otherwise
  int64_t stride = 0;
  explicit Operand(const at::Tensor &t) {
    if (!t.defined() || t.dim() != 2 || t.size(0) < 2 || t.size(1) < 2) return;
    if (t.stride(1) == 1 && t.stride(0) >= t.size(1)) {
      transposed = 'N';
      stride = t.stride(0);
    } else if (t.stride(0) == 1 && t.stride(1) >= t.size(0)) {
      transposed = 'T';
      stride = t.stride(1);
    }
  }
};

// product writes a·b into c, or adds it. A float32 a may meet a weight in bfloat16 that tiles.h takes.
void product(at::Tensor &c, const at::Tensor &a, const at::Tensor &b, bool add) {
  if (tiles::product(c, a, b, add)) return;
  const auto sgemm = onednn_sgemm();
  if (sgemm != nullptr && ours(c) && c.scalar_type() == at::kFloat && a.scalar_type() == at::kFloat &&
      b.scalar_type() == at::kFloat) {
    const Operand to(c), left(a), right(b);
    if (to.transposed == 'N' && left.transposed != 0 && right.transposed != 0) {
      RECORD("product");
      TORCH_CHECK(a.size(1) == b.size(0) && c.size(0) == a.size(0) && c.size(1) == b.size(1), "product: ", a.sizes(), " and ", b.sizes());
      if (sgemm(left.transposed, right.transposed, c.size(0), c.size(1), a.size(1), 1.0f, a.data_ptr<float>(), left.stride,
                b.data_ptr<float>(), right.stride, add ? 1.0f : 0.0f, c.data_ptr<float>(), to.stride) == 0)
        return;
    }
  }
  if (add)
    c.addmm_(a, b);
  else
    at::mm_out(c, a, b);
}

at::Tensor product(const at::Tensor &a, const at::Tensor &b) {
  at::Tensor c = at::empty({a.size(0), b.size(1)}, a.options());
  product(c, a, b, false);
  return c;
}

// products returns a[i]·b[i] of B matrices each: (B, M, N). Small ones are shared out, one thread a product; large ones use
// all threads, one after the other.
at::Tensor products(const at::Tensor &a, const at::Tensor &b) {
  const int64_t batch = a.size(0), m = a.size(1), k = a.size(2), n = b.size(2);
  const auto sgemm = onednn_sgemm();
  const bool plain = sgemm != nullptr && ours(a) && a.scalar_type() == at::kFloat && batch > 0;
  const Operand left(plain ? a.select(0, 0) : at::Tensor()), right(plain ? b.select(0, 0) : at::Tensor());
  if (left.transposed == 0 || right.transposed == 0 || n < 2) return at::bmm(a, b);
  at::Tensor c = at::empty({batch, m, n}, a.options());
  RECORD("products");
  TORCH_CHECK(b.size(0) == batch && b.size(1) == k, "products: ", a.sizes(), " and ", b.sizes());
  const float *from_a = a.data_ptr<float>(), *from_b = b.data_ptr<float>();
  float *to = c.data_ptr<float>();
  auto run = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
      sgemm(left.transposed, right.transposed, m, n, k, 1.0f, from_a + i * a.stride(0), left.stride, from_b + i * b.stride(0), right.stride,
            0.0f, to + i * m * n, n);
  };
  if (batch >= at::get_num_threads())
    parallel(batch, m * n * k, run);
  else
    run(0, batch);
  return c;
}

// --- residual + rotate(norm(x)), each part optional -------------------------------------------------------------------

struct NormBackward : Node {
  at::Tensor x, w, r, cos, sin;  // r (rows): 1/sqrt(mean(x²)+eps)
  int64_t heads = 1;

  std::string name() const override { return "TuneNormBackward"; }
  void release_variables() override { x = w = r = cos = sin = at::Tensor(); }

  variable_list apply(variable_list &&grads) override {
    RECORD("norm_backward");
    const at::Tensor dy = grads[0].contiguous();
    const int64_t width = dy.size(-1), n = dy.numel() / width;
    at::Tensor dx = at::empty_like(dy), dw;
    const Rows in(dy, width), out(dx, width);
    if (!w.defined()) {  // a rotation alone
      const Rows c(cos, width), s(sin, width);
      parallel(n, width, [&](int64_t begin, int64_t end) {
        std::vector<float> b(4 * width);
        for (int64_t i = begin; i < end; i++) {
          const float *d = in.read(i, b.data());
          float *to = out.place(i, b.data() + 3 * width);
          rows::rotate_back(to, d, c.read(i / heads, b.data() + width), s.read(i / heads, b.data() + 2 * width), width / 2);
          out.keep(i, to);
        }
      });
      return {dx, at::Tensor(), at::Tensor()};
    }
    const std::vector<float> gain = gain_of(w);
    const float *scale = r.data_ptr<float>();
    const Rows xs(x, width);
    const bool wants_dw = should_compute_output(1);
    // Sums over rows are made in blocks of rows that do not depend on the number of threads, so neither does the result.
    const int64_t block = 64, blocks = (n + block - 1) / block;
    std::vector<float> partial(wants_dw ? blocks * width : 0);
    parallel(blocks, block * width, [&](int64_t begin, int64_t end) {
      std::vector<float> b(6 * width);
      float *turned = b.data() + width;
      for (int64_t k = begin; k < end; k++)
        for (int64_t i = k * block; i < std::min(n, (k + 1) * block); i++) {
          const float *d = in.read(i, b.data());
          if (cos.defined()) {
            const Rows c(cos, width), s(sin, width);
            rows::rotate_back(turned, d, c.read(i / heads, b.data() + 2 * width), s.read(i / heads, b.data() + 3 * width), width / 2);
            d = turned;
          }
          const float *xi = xs.read(i, b.data() + 4 * width);
          float *to = out.place(i, b.data() + 5 * width);
          rows::normalise_backward(to, d, xi, gain.data(), scale[i], width);
          out.keep(i, to);
          if (wants_dw) rows::add_product(partial.data() + k * width, d, xi, scale[i], width);
        }
    });
    if (wants_dw) {
      at::Tensor sum = at::zeros({width}, at::kFloat);
      for (int64_t k = 0; k < blocks; k++) rows::add(sum.data_ptr<float>(), partial.data() + k * width, width);
      dw = sum.to(w.scalar_type());
    }
    return {dx, dw, grads[0]};
  }
};

at::Tensor norm(const at::Tensor &x_, const at::Tensor &w, const at::Tensor &residual_, const at::Tensor &cos, const at::Tensor &sin,
                double eps) {
  auto back = node<NormBackward>(x_, w, residual_);
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    const at::Tensor x = x_.contiguous();
    const int64_t width = x.size(-1), n = x.numel() / width, heads = cos.defined() ? x.size(1) : 1;
    const at::Tensor residual = residual_.defined() ? residual_.contiguous() : residual_;
    TORCH_CHECK(!residual.defined() || residual.sizes() == x.sizes(), "norm: residual ", residual.sizes(), ", x ", x.sizes());
    TORCH_CHECK(!w.defined() || w.numel() == width, "norm: weight ", w.sizes(), ", x ", x.sizes());
    TORCH_CHECK(!cos.defined() || (x.dim() == 3 && width % 2 == 0 && cos.numel() == x.size(0) * width && sin.numel() == cos.numel()),
                "norm: cos ", cos.sizes(), ", x ", x.sizes());
    y = at::empty_like(x);
    at::Tensor r = w.defined() ? at::empty({n}, at::kFloat) : at::Tensor();
    const std::vector<float> gain = w.defined() ? gain_of(w) : std::vector<float>();
    const Rows in(x, width), out(y, width), beside(residual.defined() ? residual : x, width);
    const Rows c(cos.defined() ? cos : x, width), s(cos.defined() ? sin : x, width);
    parallel(n, width, [&](int64_t begin, int64_t end) {
      std::vector<float> b(6 * width);
      for (int64_t i = begin; i < end; i++) {
        const float *v = in.read(i, b.data());
        float *to = out.place(i, b.data() + width);
        if (w.defined()) {
          const float f = 1.0f / std::sqrt(rows::sum_of_squares(v, width) / static_cast<float>(width) + static_cast<float>(eps));
          r.data_ptr<float>()[i] = f;
          float *at = cos.defined() ? b.data() + 2 * width : to;
          rows::normalise(at, v, gain.data(), f, width);
          v = at;
        }
        if (cos.defined())
          rows::rotate(to, v, c.read(i / heads, b.data() + 3 * width), s.read(i / heads, b.data() + 4 * width), width / 2);
        if (residual.defined()) rows::add(to, beside.read(i, b.data() + 5 * width), width);
        out.keep(i, to);
      }
    });
    if (back) {
      back->x = w.defined() ? x.detach() : at::Tensor();
      back->w = w.defined() ? w.detach() : w;
      back->r = r;
      back->cos = cos;
      back->sin = sin;
      back->heads = heads;
    }
  }
  if (back) torch::autograd::set_history(y, back);
  return y;
}

// --- gelu(gate)·up ----------------------------------------------------------------------------------------------------

constexpr int64_t piece = 1024;  // numbers worked on at a time: a few such buffers stay in the first cache

struct GatedGELUBackward : Node {
  at::Tensor gate, up;

  std::string name() const override { return "TuneGatedGELUBackward"; }
  void release_variables() override { gate = up = at::Tensor(); }

  variable_list apply(variable_list &&grads) override {
    RECORD("gated_gelu_backward");
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
    const int64_t total = dy.numel(), pieces = (total + piece - 1) / piece;
    const Rows d(dy, total), g(gate, total), u(up, total), dg(dgate, total), du(dup, total);
    parallel(pieces, piece * 8, [&](int64_t begin, int64_t end) {
      float b[5][piece];
      for (int64_t k = begin; k < end; k++) {
        const int64_t at = k * piece, n = std::min(piece, total - at);
        float *to_gate = dg.place(0, at, b[3]), *to_up = du.place(0, at, b[4]);
        rows::gated_gelu_backward(to_gate, to_up, d.read(0, at, n, b[0]), g.read(0, at, n, b[1]), u.read(0, at, n, b[2]), n);
        dg.keep(0, at, n, to_gate);
        du.keep(0, at, n, to_up);
      }
    });
    return {dgate, dup};
  }
};

at::Tensor gated_gelu(const at::Tensor &gate_, const at::Tensor &up_) {
  auto back = node<GatedGELUBackward>(gate_, up_);
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    const at::Tensor gate = gate_.contiguous(), up = up_.contiguous();
    TORCH_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(), "gated gelu: gate ", gate.sizes(), ", up ", up.sizes());
    y = at::empty_like(gate);
    const int64_t total = y.numel(), pieces = (total + piece - 1) / piece;
    const Rows g(gate, total), u(up, total), out(y, total);
    parallel(pieces, piece * 8, [&](int64_t begin, int64_t end) {
      float b[3][piece];
      for (int64_t k = begin; k < end; k++) {
        const int64_t at = k * piece, n = std::min(piece, total - at);
        float *to = out.place(0, at, b[2]);
        rows::gated_gelu(to, g.read(0, at, n, b[0]), u.read(0, at, n, b[1]), n);
        out.keep(0, at, n, to);
      }
    });
    if (back) {
      back->gate = gate.detach();
      back->up = up.detach();
    }
  }
  if (back) torch::autograd::set_history(y, back);
  return y;
}

// --- attention within the sequences of a flat batch -------------------------------------------------------------------

// Layout is how B sequences of up to T tokens lie in N rows.
struct Layout {
  std::vector<int64_t> starts;  // (B+1)
  int64_t sequences = 0, longest = 0;

  int64_t length(int64_t b) const { return starts[b + 1] - starts[b]; }

  // spread turns x (N, H, E) into (B, H, T, E), with zeros behind a sequence's end.
  at::Tensor spread(const at::Tensor &x) const {
    RECORD("spread");
    const int64_t heads = x.size(1), bytes = x.size(2) * x.element_size();
    at::Tensor y = at::empty({sequences, heads, longest, x.size(2)}, x.options());
    const char *from = static_cast<const char *>(x.data_ptr());
    char *to = static_cast<char *>(y.data_ptr());
    parallel(sequences * heads, longest * x.size(2), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t b = i / heads, h = i % heads, n = length(b);
        char *row = to + i * longest * bytes;
        for (int64_t t = 0; t < n; t++) std::memcpy(row + t * bytes, from + ((starts[b] + t) * heads + h) * bytes, bytes);
        std::memset(row + n * bytes, 0, (longest - n) * bytes);
      }
    });
    return y;
  }

  // gather turns x (B, H, T, E) into (N, H, E).
  at::Tensor gather(const at::Tensor &x, int64_t n, int64_t heads, int64_t e) const {
    RECORD("gather");
    const int64_t bytes = e * x.element_size();
    at::Tensor y = at::empty({n, heads, e}, x.options());
    const char *from = static_cast<const char *>(x.data_ptr());
    char *to = static_cast<char *>(y.data_ptr());
    parallel(sequences * heads, longest * e, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t b = i / heads, h = i % heads;
        const char *row = from + i * longest * bytes;
        for (int64_t t = 0; t < length(b); t++) std::memcpy(to + ((starts[b] + t) * heads + h) * bytes, row + t * bytes, bytes);
      }
    });
    // Rows that fill a bucket belong to no sequence.
    if (starts[sequences] < n) std::memset(to + starts[sequences] * heads * bytes, 0, (n - starts[sequences]) * heads * bytes);
    return y;
  }
};

// each_query runs f(row, first, last) for every row of scores (B·K, G·T, S), with the keys [first, last) that its query
// may look at: none behind a sequence's end.
template <typename F>
void each_query(const Layout &l, int64_t kv, int64_t group, int64_t window, const F &f) {
  RECORD("each_query");
  const int64_t t = l.longest, rows_of_sequence = kv * group * t;
  parallel(l.sequences * rows_of_sequence, 8 * t, [&](int64_t begin, int64_t end) {
    std::vector<float> b(3 * t);
    for (int64_t row = begin; row < end; row++) {
      const int64_t at = row % t, n = l.length(row / rows_of_sequence);
      const int64_t last = at < n ? at + 1 : 0;
      f(row, window > 0 ? std::max<int64_t>(0, last - window) : 0, last, b.data());
    }
  });
}

// keptWidth is the longest sequence whose weights are kept for the backward pass. Beyond it they are computed again, at a
// few hundredths of a step's time: T² numbers a head would outgrow everything else.
constexpr int64_t keptWidth = 512;

struct Attention {
  Layout layout;
  at::Tensor q, k, v;  // lined up: (B·K, G·T, E), (B·K, T, E)
  int64_t tokens = 0, heads = 0, kv = 0, window = 0;
  double scale = 1, cap = 0;

  int64_t group() const { return heads / kv; }

  // weigh returns softmax(scale·q·kᵀ + mask), (B·K, G·T, T), and with a cap the capped scores.
  at::Tensor weigh(at::Tensor *capped) const {
    const int64_t t = layout.longest;
    at::Tensor scores = products(q, k.transpose(1, 2));
    *capped = cap > 0 ? at::empty_like(scores) : at::Tensor();
    const Rows s(scores, t), z(cap > 0 ? *capped : scores, t);
    each_query(layout, kv, group(), window, [&](int64_t row, int64_t first, int64_t last, float *b) {
      float *to = s.place(row, b), *caps = z.place(row, b + t);
      const float *from = s.read(row, b);
      const int64_t n = last - first;
      rows::scale(to + first, from + first, static_cast<float>(scale), n);
      if (cap > 0) {
        rows::soft_cap(caps + first, to + first, static_cast<float>(cap), n);
        z.keep(row, first, n, caps + first);
        std::memcpy(to + first, caps + first, n * sizeof(float));
      }
      if (n > 0) {
        const float top = rows::max(to + first, n);
        rows::exp_scaled(to + first, to + first, top, 1.0f, n);
        rows::scale(to + first, to + first, 1.0f / rows::sum(to + first, n), n);
      }
      for (int64_t j = 0; j < first; j++) to[j] = 0;
      for (int64_t j = last; j < t; j++) to[j] = 0;
      s.keep(row, to);
    });
    return scores;
  }
};

struct AttentionBackward : Node {
  Attention of;
  at::Tensor weights, capped;  // none when they are to be computed again

  std::string name() const override { return "TuneAttentionBackward"; }
  void release_variables() override { of.q = of.k = of.v = weights = capped = at::Tensor(); }

  variable_list apply(variable_list &&grads) override {
    const Attention &a = of;
    const int64_t e = a.q.size(-1), t = a.layout.longest;
    if (!weights.defined()) weights = a.weigh(&capped);
    const at::Tensor d = a.layout.spread(grads[0].contiguous().view({a.tokens, a.heads, e})).view({a.layout.sequences * a.kv, a.group() * t, e});
    const at::Tensor dv = products(weights.transpose(1, 2), d);
    at::Tensor ds = products(d, a.v.transpose(1, 2));  // (B·K, G·T, T), the gradient of the weights; then of the scores
    const Rows p(weights, t), out(ds, t), z(capped.defined() ? capped : ds, t);
    each_query(a.layout, a.kv, a.group(), a.window, [&](int64_t row, int64_t first, int64_t last, float *b) {
      float *to = out.place(row, b), *buffer = b + t, *caps = b + 2 * t;
      const float *dp = out.read(row, b), *w = p.read(row, buffer);
      const int64_t n = last - first;
      const float mean = rows::dot(dp + first, w + first, n);
      for (int64_t j = 0; j < first; j++) to[j] = 0;
      for (int64_t j = first; j < last; j++) to[j] = static_cast<float>(a.scale) * w[j] * (dp[j] - mean);
      for (int64_t j = last; j < t; j++) to[j] = 0;
      if (capped.defined()) rows::soft_cap_slope(to + first, z.read(row, caps) + first, static_cast<float>(a.cap), n);
      out.keep(row, to);
    });
    weights = capped = at::Tensor();
    const at::Tensor dq = products(ds, a.k), dk = products(ds.transpose(1, 2), a.q);
    return {a.layout.gather(dq, a.tokens, a.heads, e), a.layout.gather(dk, a.tokens, a.kv, e), a.layout.gather(dv, a.tokens, a.kv, e)};
  }
};

at::Tensor attention(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, Layout layout, int64_t window, double scale,
                     double cap) {
  auto back = node<AttentionBackward>(q, k, v);
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    Attention a;
    a.tokens = q.size(0);
    a.heads = q.size(1);
    a.kv = k.size(1);
    a.window = window;
    a.scale = scale;
    a.cap = cap;
    const int64_t e = q.size(2), t = layout.longest, batch = layout.sequences * a.kv;
    TORCH_CHECK(a.heads % a.kv == 0 && k.sizes() == v.sizes() && k.size(0) == a.tokens && layout.starts.back() <= a.tokens, "attention: q ",
                q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
    // The queries of one group share their keys: as rows of one product, k is never repeated.
    a.q = layout.spread(q.contiguous()).view({batch, a.group() * t, e});
    a.k = layout.spread(k.contiguous()).view({batch, t, e});
    a.v = layout.spread(v.contiguous()).view({batch, t, e});
    a.layout = std::move(layout);
    at::Tensor capped;
    const at::Tensor weights = a.weigh(&capped);
    y = a.layout.gather(products(weights, a.v), a.tokens, a.heads, e).view({a.tokens, a.heads * e});
    if (back) {
      if (t <= keptWidth) {
        back->weights = weights;
        back->capped = capped;
      }
      back->of = std::move(a);
    }
  }
  if (back) torch::autograd::set_history(y, back);
  return y;
}

// --- linear layers with adapters that share an input ------------------------------------------------------------------

// stacked returns matrices of one width as one, without copying where they lie behind each other in memory.
at::Tensor stacked(const std::vector<at::Tensor> &parts, bool *whole) {
  int64_t height = 0;
  *whole = true;
  const char *end = static_cast<const char *>(parts[0].data_ptr());
  for (const auto &p : parts) {
    *whole = *whole && p.is_contiguous() && p.data_ptr() == static_cast<const void *>(end);
    end += p.numel() * p.element_size();
    height += p.size(0);
  }
  if (parts.size() == 1) return parts[0];
  if (*whole) return parts[0].as_strided({height, parts[0].size(1)}, {parts[0].size(1), 1});
  return at::cat(parts, 0);
}

// scaled multiplies the columns of low (N, ΣR) that belong to each layer by its scale.
at::Tensor scaled(at::Tensor low, const std::vector<at::Tensor> &a, const std::vector<double> &scale) {
  if (std::all_of(scale.begin(), scale.end(), [&](double s) { return s == scale[0]; })) return scale[0] == 1 ? low : low.mul_(scale[0]);
  std::vector<at::Tensor> parts; // not in place: operators on parts of rows have been wrong on MPS
  int64_t at = 0;
  for (size_t i = 0; i < a.size(); i++) {
    parts.push_back(at::mul(low.narrow(1, at, a[i].size(0)), scale[i]));
    at += a[i].size(0);
  }
  return at::cat(parts, 1);
}

// add_product adds low·b to y in y's dtype: low (N, R) float32, possibly a part of wider rows; b (R, out) float32.
void add_product(at::Tensor &y, const at::Tensor &low, const at::Tensor &b) {
  if (y.scalar_type() == at::kFloat) {
    product(y, low, b, true);
    return;
  }
  if (!ours(y)) {
    y.copy_(at::add(y.to(at::kFloat), product(low, b)));
    return;
  }
  RECORD("add_product");
  // In bfloat16 the product is never written: a row's update has few terms, and is added where the row is widened.
  const at::Tensor wide = b.contiguous();
  const int64_t n = y.size(0), out = y.size(1), rank = low.size(1), stride = low.stride(0);
  TORCH_CHECK(low.stride(1) == 1, "adapted: the low-rank input has a stride of ", low.stride(1));
  const float *l = low.data_ptr<float>(), *w = wide.data_ptr<float>();
  const Rows rows_of_y(y, out);
  parallel(n, out * std::max<int64_t>(1, rank / 4), [&](int64_t begin, int64_t end) {
    float buffer[piece];
    for (int64_t at = 0; at < out; at += piece)  // a piece of b stays in the cache for all rows
      for (int64_t i = begin; i < end; i++) {
        const int64_t m = std::min(piece, out - at);
        rows_of_y.read(i, at, m, buffer);
        rows::add_low_rank(buffer, l + i * stride, w + at, rank, out, m);
        rows_of_y.keep(i, at, m, buffer);
      }
  });
}

// LinearBackward is that of x·Wᵀ with a frozen W, which gets no gradient.
struct LinearBackward : Node {
  Weight w;
  explicit LinearBackward(const Weight &of) : w(of) {}

  std::string name() const override { return "TuneLinearBackward"; }
  variable_list apply(variable_list &&grads) override {
    const at::Tensor dy = grads[0].contiguous();
    return {product(dy, w.whole(dy.scalar_type()))};
  }
};

at::Tensor linear(const at::Tensor &x, const Weight &w) {
  Held<LinearBackward> back;
  if (torch::autograd::compute_requires_grad(x)) {
    back = hold<LinearBackward>(counts_itself(), w);
    back->set_next_edges(torch::autograd::collect_next_edges(x));
  }
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = product(x.contiguous(), w.whole(x.scalar_type()).t());
  }
  if (back) torch::autograd::set_history(y, back);
  return y;
}

struct AdaptedBackward : Node {
  at::Tensor x, low;                    // low (N, ΣR) float32: Scale·x·Aᵀ, of all layers side by side
  std::vector<Weight> w;
  std::vector<at::Tensor> a, b;
  std::vector<double> scale;

  std::string name() const override { return "TuneAdaptedBackward"; }
  void release_variables() override {
    x = low = at::Tensor();
    w.clear();
    a.clear();
    b.clear();
  }

  variable_list apply(variable_list &&grads) override {
    const bool wants_dx = should_compute_output(0);
    const at::Tensor x32 = x.to(at::kFloat);
    std::vector<at::Tensor> dlows;
    std::vector<at::Tensor> a_grads;
    at::Tensor dx;
    int64_t at = 0;
    for (size_t i = 0; i < w.size(); i++) {
      const int64_t rank = a[i].size(0);
      const at::Tensor dy = grads[i].defined() ? grads[i].contiguous() : at::zeros({x.size(0), w[i].out()}, x.options());
      const at::Tensor dy32 = dy.to(at::kFloat), low_i = low.narrow(1, at, rank);
      product(b[i].mutable_grad(), dy32.t(), low_i, true);
      dlows.push_back(product(dy32, b[i]));
      a_grads.push_back(a[i].mutable_grad());
      if (wants_dx) {
        const at::Tensor whole = w[i].whole(x.scalar_type());  // a quantised weight is made again rather than kept
        if (dx.defined())
          product(dx, dy, whole, true);
        else
          dx = product(dy, whole);
      }
      at += rank;
    }
    const at::Tensor dlow = scaled(dlows.size() == 1 ? dlows[0] : at::cat(dlows, 1), a, scale);
    bool whole;
    at::Tensor a_grad = stacked(a_grads, &whole);
    if (whole) {
      product(a_grad, dlow.t(), x32, true);
    } else {
      int64_t from = 0;
      for (auto &g : a_grads) {
        product(g, dlow.narrow(1, from, g.size(0)).t(), x32, true);
        from += g.size(0);
      }
    }
    if (wants_dx) add_product(dx, dlow, stacked(a, &whole));
    return {dx, at::Tensor()};
  }
};

std::vector<at::Tensor> adapted(const at::Tensor &x_, std::vector<Weight> w, std::vector<at::Tensor> a, std::vector<at::Tensor> b,
                                std::vector<double> scale) {
  // The gradients of A and B are added where they belong, not handed on; an edge to one of them has the node called.
  auto back = node<AdaptedBackward>(x_, a[0]);
  std::vector<at::Tensor> out;
  {
    at::NoGradGuard no_grad;
    const at::Tensor x = x_.contiguous();
    bool whole;
    const at::Tensor low = scaled(product(x.to(at::kFloat), stacked(a, &whole).t()), a, scale);
    int64_t at = 0;
    for (size_t i = 0; i < w.size(); i++) {
      const at::Tensor low_i = low.narrow(1, at, a[i].size(0));
      at::Tensor y = product(x, w[i].whole(x.scalar_type()).t());
      add_product(y, low_i, b[i].t());
      out.push_back(y);
      at += a[i].size(0);
    }
    if (back) {
      back->x = x.detach();
      back->low = low;
      back->w = std::move(w);
      back->a = std::move(a);
      back->b = std::move(b);
      back->scale = std::move(scale);
    }
  }
  if (back) torch::autograd::set_history(out, back);
  return out;
}

// --- the LM head and its cross entropy --------------------------------------------------------------------------------

// Loss of a row so far. Exponentials are taken against the largest logit so far; when a larger one comes, all that was
// summed shrinks by the same factor.
struct RowLoss {
  float top = -INFINITY;
  double total = 0;
  float target = 0, slope = 1;  // the target's logit, and there the slope of the cap
};

// Head is the LM head on the rows h (M, D), of which the first m count.
struct Head {
  const at::Tensor h, weight;  // weight (V, D)
  const int64_t *labels;
  const int64_t m;
  const float cap;
  std::vector<RowLoss> rows_of;

  // logits fills z (M, n) with those of the ids from first on.
  void logits(at::Tensor &z, int64_t first) const { product(z, h, weight.narrow(0, first, z.size(1)).t(), false); }

  // behind_cap returns n capped logits of a row.
  const float *behind_cap(const Rows &z, int64_t row, int64_t at, int64_t n, float *buffer) const {
    const float *x = z.read(row, at, n, buffer);
    if (cap <= 0) return x;
    rows::soft_cap(buffer, x, cap, n);
    return buffer;
  }

  // meet takes a block of logits z into the rows' losses and leaves exp(z - top)·slope in its place. Rows of sums (M, D),
  // none without a gradient, shrink with what the rows have summed.
  void meet(at::Tensor &z, int64_t first, at::Tensor &sums) {
    RECORD("cross_entropy");
    const int64_t v = z.size(1), d = h.size(1);
    const Rows logits(z, v);
    parallel(m, 2 * v, [&](int64_t begin, int64_t end) {
      float buffer[piece], slopes[piece];
      for (int64_t row = begin; row < end; row++) {
        RowLoss &l = rows_of[row];
        float top = l.top;
        for (int64_t at = 0; at < v; at += piece) {
          const int64_t n = std::min(piece, v - at);
          top = std::max(top, rows::max(behind_cap(logits, row, at, n, buffer), n));
        }
        if (top > l.top) {
          const double shrink = std::exp(static_cast<double>(l.top) - top);
          l.total *= shrink;
          l.top = top;
          if (sums.defined()) {
            float *s = sums.data_ptr<float>() + row * d;
            rows::scale(s, s, static_cast<float>(shrink), d);
          }
        }
        for (int64_t at = 0; at < v; at += piece) {
          const int64_t n = std::min(piece, v - at), target = labels[row] - first - at;
          const float *x = behind_cap(logits, row, at, n, buffer);
          if (target >= 0 && target < n) {
            l.target = x[target];
            if (cap > 0) l.slope = 1 - x[target] / cap * (x[target] / cap);
          }
          if (cap > 0) std::memcpy(slopes, x, n * sizeof(float));
          float *to = logits.place(row, at, buffer);
          rows::exp_scaled(to, x, l.top, 1.0f, n);
          l.total += rows::sum(to, n);
          if (cap > 0) rows::soft_cap_slope(to, slopes, cap, n);
          logits.keep(row, at, n, to);
        }
      }
    });
    if (m < z.size(0)) z.narrow(0, m, z.size(0) - m).zero_();
  }

  // gradient turns a block of logits z into softmax - one-hot, times the slope.
  void gradient(at::Tensor &z, int64_t first) const {
    RECORD("cross_entropy_backward");
    const int64_t v = z.size(1);
    const Rows logits(z, v);
    parallel(m, v, [&](int64_t begin, int64_t end) {
      float buffer[piece], slopes[piece];
      for (int64_t row = begin; row < end; row++) {
        const RowLoss &l = rows_of[row];
        for (int64_t at = 0; at < v; at += piece) {
          const int64_t n = std::min(piece, v - at), target = labels[row] - first - at;
          const float *x = behind_cap(logits, row, at, n, buffer);
          if (cap > 0) std::memcpy(slopes, x, n * sizeof(float));
          float *to = logits.place(row, at, buffer);
          rows::exp_scaled(to, x, l.top, static_cast<float>(1 / l.total), n);
          if (target >= 0 && target < n) to[target] -= 1.0f;
          if (cap > 0) rows::soft_cap_slope(to, slopes, cap, n);
          logits.keep(row, at, n, to);
        }
      }
    });
    if (m < z.size(0)) z.narrow(0, m, z.size(0) - m).zero_();
  }
};

// head_loss adds to sum the cross entropy of the first m rows of h (M, D) against labels, in nats, and returns the gradient
// with respect to h, zeros behind row m; none without gradient. head is (V, D); head_grad, where the head is trained, gets
// its gradient added.
//
// The vocabulary is met in blocks whose logits stay in the cache and are never kept: products that write hundreds of
// megabytes wait for memory. The gradient (softmax - one-hot)·head comes out of the same pass, as attention does in Dao et
// al. 2022, arXiv:2205.14135: exponentials times the head are summed against the largest logit so far and divided by
// their total at the end. Only a trained head needs the logits a second time.
at::Tensor head_loss(const at::Tensor &h, const at::Tensor &weight, at::Tensor head_grad, const at::Tensor &labels, int64_t m, double cap,
                     at::Tensor &sum, bool gradient) {
  const int64_t all = h.size(0), v = weight.size(0), d = weight.size(1);
  TORCH_CHECK(labels.scalar_type() == at::kLong && (weight.scalar_type() == h.scalar_type() || tiles::takes(weight)) && labels.numel() >= all && labels.is_contiguous() && m <= all && weight.is_contiguous(),
              "head: labels ", labels.sizes(), ", h ", h.sizes(), ", weight ", weight.sizes());
  const bool wide = h.scalar_type() == at::kFloat;
  Head head{h, weight, labels.data_ptr<int64_t>(), m, static_cast<float>(cap), std::vector<RowLoss>(m)};
  constexpr int64_t cache = 8 << 20;  // bytes of a block: as measured, a processor's share of its last cache
  const int64_t width = std::min(v, std::max<int64_t>(2048, cache / (all * h.element_size()) / 512 * 512));
  const at::Tensor room = at::empty({all * width}, h.options());
  auto block = [&](int64_t first) {
    const int64_t n = std::min(width, v - first);
    return room.narrow(0, 0, all * n).view({all, n});
  };

  at::Tensor sums = gradient ? at::zeros({all, d}, at::kFloat) : at::Tensor();
  at::Tensor part = gradient && !wide ? at::empty({all, d}, h.options()) : at::Tensor();
  for (int64_t first = 0; first < v; first += width) {
    at::Tensor z = block(first);
    head.logits(z, first);
    head.meet(z, first, sums);
    if (!gradient) continue;
    const at::Tensor w = weight.narrow(0, first, z.size(1));
    if (wide) {
      product(sums, z, w, true);
    } else if (!tiles::product(sums, z, w, true)) {
      product(part, z, w, false);
      sums.add_(part);  // in float32: a sum of many blocks would lose bits in bfloat16
    }
  }
  double total = 0;
  for (const RowLoss &l : head.rows_of) total += l.top + std::log(l.total) - l.target;
  *sum.data_ptr<float>() += static_cast<float>(total);
  if (!gradient) return at::Tensor();

  at::Tensor dh = at::empty({all, d}, h.options());
  const Rows w(weight, d), out(dh, d), from(sums, d);
  parallel(all, d, [&](int64_t begin, int64_t end) {
    std::vector<float> b(2 * d);
    for (int64_t row = begin; row < end; row++) {
      float *to = out.place(row, b.data());
      rows::scale(to, from.read(row, nullptr), row < m ? static_cast<float>(1 / head.rows_of[row].total) : 0.0f, d);
      if (row < m) rows::add_scaled(to, w.read(head.labels[row], b.data() + d), -head.rows_of[row].slope, d);
      out.keep(row, to);
    }
  });
  if (!head_grad.defined()) return dh;
  for (int64_t first = 0; first < v; first += width) {
    at::Tensor z = block(first);
    head.logits(z, first);
    head.gradient(z, first);
    at::Tensor g = head_grad.narrow(0, first, z.size(1));
    if (wide)
      product(g, z.t(), h, true);
    else
      g.add_(at::mm(z.t(), h));
  }
  return dh;
}

}  // namespace

extern "C" {

tune_tensor tune_norm(tune_tensor x, tune_tensor w, tune_tensor residual, tune_tensor cos, tune_tensor sin, double eps) {
  return make([&]() -> at::Tensor {
    RECORD("norm");
    return norm(ref(x), optional(w), optional(residual), optional(cos), optional(sin), eps);
  });
}

tune_tensor tune_gated_gelu(tune_tensor gate, tune_tensor up) {
  return make([&]() -> at::Tensor {
    RECORD("gated_gelu");
    return gated_gelu(ref(gate), ref(up));
  });
}

tune_tensor tune_attention(tune_tensor q, tune_tensor k, tune_tensor v, const int64_t *starts, int sequences, int64_t width,
                           int64_t window, double scale, double cap) {
  return make([&]() -> at::Tensor {
    Layout l;
    l.starts.assign(starts, starts + sequences + 1);
    l.sequences = sequences;
    l.longest = width;
    for (int b = 0; b < sequences; b++)
      TORCH_CHECK(l.length(b) >= 0 && l.length(b) <= width, "attention: a sequence of ", l.length(b), " tokens, width ", width);
    return attention(ref(q), ref(k), ref(v), std::move(l), window, scale, cap);
  });
}

tune_tensor tune_head_loss(tune_tensor h, tune_tensor head, tune_tensor head_grad, tune_tensor labels, int64_t rows, double cap,
                           tune_tensor sum, int gradient) {
  return make([&]() -> at::Tensor {
    at::NoGradGuard no_grad;
    const at::Tensor dh = head_loss(ref(h).contiguous(), ref(head), optional(head_grad), ref(labels), rows, cap, ref(sum), gradient != 0);
    return dh.defined() ? dh : ref(sum);
  });
}

void tune_compose(int on) { composing() = on != 0; }

int tune_keeps_bfloat16(int64_t out, int64_t in) { return tiles::takes(out, in) ? 1 : 0; }

tune_tensor tune_linear(tune_tensor x, const tune_weight *w) {
  return make([&]() -> at::Tensor { return linear(ref(x), Weight(*w)); });
}

int tune_adapted(tune_tensor x, int n, const tune_weight *w, tune_tensor *a, tune_tensor *b, const double *scale, tune_tensor *out) {
  return guard(0, [&]() -> int {
    std::vector<Weight> ws;
    std::vector<at::Tensor> as, bs;
    for (int i = 0; i < n; i++) {
      ws.push_back(Weight(w[i]));
      as.push_back(ref(a[i]));
      bs.push_back(ref(b[i]));
    }
    std::vector<at::Tensor> ys = adapted(ref(x), ws, as, bs, std::vector<double>(scale, scale + n));
    for (int i = 0; i < n; i++) out[i] = new at::Tensor(ys[i]);
    return 1;
  });
}

}  // extern "C"
