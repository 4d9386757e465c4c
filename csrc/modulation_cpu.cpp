#include <algorithm>
#include <vector>

#include "ivn.h"
#include "rows.h"

namespace {

using namespace ivn;

template <typename Real, typename In>
IVN_VECTORISED void gated_row(const In* x, const In* gate, const In* branch, int64_t W,
                              In* stream) {
#pragma omp simd
  for (int64_t w = 0; w < W; ++w) {
    stream[w] = rounded<In>(real<Real>(x[w]) + real<Real>(gate[w]) * real<Real>(branch[w]));
  }
}

template <typename Real, typename In>
IVN_VECTORISED void modulate_row(const In* x, Moments<Real> of, const In* shift, const In* scale,
                                 const Real* weight, const Real* bias, int64_t W, In* out) {
#pragma omp simd
  for (int64_t w = 0; w < W; ++w) {
    const Real normed = (real<Real>(x[w]) - of.mean) * of.factor * weight[w] + bias[w];
    out[w] = rounded<In>(normed * (1 + real<Real>(scale[w])) + real<Real>(shift[w]));
  }
}

// grad_unit = the gradient of the unit row, before its weight.
template <typename Real, typename In>
IVN_VECTORISED Along<Real> modulate_row_backward(const In* x, Moments<Real> of, const In* grad,
                                                 const In* scale, const Real* weight,
                                                 const Real* bias, int64_t W, Real* grad_unit,
                                                 In* grad_scale, Real* grad_weight,
                                                 Real* grad_bias) {
  Real level = 0, radial = 0;
#pragma omp simd reduction(+ : level, radial)
  for (int64_t w = 0; w < W; ++w) {
    const Real unit = (real<Real>(x[w]) - of.mean) * of.factor;
    const Real grad_out = real<Real>(grad[w]);
    grad_scale[w] = rounded<In>(grad_out * (unit * weight[w] + bias[w]));
    const Real grad_normed = grad_out * (1 + real<Real>(scale[w]));
    grad_weight[w] += grad_normed * unit;
    grad_bias[w] += grad_normed;
    const Real here = grad_normed * weight[w];
    grad_unit[w] = here;
    level += here;
    radial += here * unit;
  }
  return {level / static_cast<Real>(W), radial / static_cast<Real>(W)};
}

template <typename Real, typename In>
IVN_VECTORISED void gated_row_backward(const Real* grad_normed, const In* grad_stream,
                                       const In* gate, const In* branch, int64_t W, In* grad_x,
                                       In* grad_gate, In* grad_branch) {
#pragma omp simd
  for (int64_t w = 0; w < W; ++w) {
    const Real grad = grad_normed[w] + real<Real>(grad_stream[w]);
    grad_x[w] = rounded<In>(grad);
    grad_gate[w] = rounded<In>(grad * real<Real>(branch[w]));
    grad_branch[w] = rounded<In>(grad * real<Real>(gate[w]));
  }
}

}  // namespace

extern "C" int ivn_modulate_cpu(const void* x, const void* gate, const void* branch,
                                const void* shift, const void* scale, const void* affine,
                                void* stream, void* out, int64_t gate_stride, int64_t shift_stride,
                                int64_t scale_stride, int64_t R, int64_t W, double eps, int type,
                                [[maybe_unused]] int threads) {
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const auto* weight = static_cast<const Real*>(affine);
#pragma omp parallel for num_threads(threads) if (R * W > kWorthThreads)
    for (int64_t row = 0; row < R; ++row) {
      const In* normed = static_cast<const In*>(x) + row * W;
      if (branch != nullptr) {
        In* sum = static_cast<In*>(stream) + row * W;
        gated_row<Real>(normed, static_cast<const In*>(gate) + row * gate_stride,
                        static_cast<const In*>(branch) + row * W, W, sum);
        normed = sum;
      }
      modulate_row(normed, moments(normed, W, static_cast<Real>(eps)),
                   static_cast<const In*>(shift) + row * shift_stride,
                   static_cast<const In*>(scale) + row * scale_stride, weight, weight + W, W,
                   static_cast<In*>(out) + row * W);
    }
    return 0;
  });
}

extern "C" int ivn_modulate_backward_cpu(const void* grad_stream, const void* grad_out,
                                         const void* stream, const void* gate, const void* branch,
                                         const void* scale, const void* affine, void* grad_x,
                                         void* grad_gate, void* grad_branch, void* grad_scale,
                                         void* grad_affine, int64_t gate_stride,
                                         int64_t scale_stride, int64_t R, int64_t W, double eps,
                                         int type, int threads) {
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const auto* weight = static_cast<const Real*>(affine);
    for_each_part(R, W, threads, [&](int64_t part, int64_t first, int64_t end) {
      std::vector<Real> grad(W);
      Real* own = static_cast<Real*>(grad_affine) + 2 * part * W;
      std::fill_n(own, 2 * W, Real{0});
      for (int64_t row = first; row < end; ++row) {
        const int64_t at = row * W;
        const In* normed = static_cast<const In*>(stream) + at;
        const Moments<Real> of = moments(normed, W, static_cast<Real>(eps));
        const Along<Real> along = modulate_row_backward(
            normed, of, static_cast<const In*>(grad_out) + at,
            static_cast<const In*>(scale) + row * scale_stride, weight, weight + W, W, grad.data(),
            static_cast<In*>(grad_scale) + at, own, own + W);
        In* to = static_cast<In*>(grad_x) + at;
        if (branch == nullptr) {
          layer_norm_backward(normed, of, along, grad.data(), W, to);
          continue;
        }
        layer_norm_backward(normed, of, along, grad.data(), W, grad.data());
        gated_row_backward(grad.data(), static_cast<const In*>(grad_stream) + at,
                           static_cast<const In*>(gate) + row * gate_stride,
                           static_cast<const In*>(branch) + at, W, to,
                           static_cast<In*>(grad_gate) + at, static_cast<In*>(grad_branch) + at);
      }
    });
    return 0;
  });
}
