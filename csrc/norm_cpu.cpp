#include <algorithm>
#include <cmath>
#include <vector>

#include "ivn.h"
#include "rows.h"

namespace {

using namespace ivn;

template <typename Real, typename In>
IVN_VECTORISED Real rms_factor(const In* x, int64_t C, Real eps) {
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < C; ++c) sum += real<Real>(x[c]) * real<Real>(x[c]);
  return 1 / std::sqrt(sum / static_cast<Real>(C) + eps);
}

template <typename Real, typename In, typename Out>
IVN_VECTORISED void norm_row(const In* x, const Real* weight, int64_t C, Real eps, Out* normed) {
  const Real factor = rms_factor(x, C, eps);
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) normed[c] = rounded<Out>(real<Real>(x[c]) * factor * weight[c]);
}

template <typename Real, typename Stream, typename Branch>
IVN_VECTORISED void add_norm_row(const Stream* x, const Branch* branch, const Real* scale,
                                 Real drop, const Real* weight, int64_t C, Real eps, Stream* stream,
                                 Branch* normed) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    stream[c] = rounded<Stream>(real<Real>(x[c]) + real<Real>(branch[c]) * scale[c] * drop);
  }
  norm_row(stream, weight, C, eps, normed);
}

// grad[c] += the gradient of x from that of its norm; grad_weight[c] += its part of this row.
template <typename Real, typename In, typename Out>
IVN_VECTORISED void norm_row_backward(const In* x, const Out* grad_normed, const Real* weight,
                                      int64_t C, Real eps, Real* grad, Real* grad_weight) {
  const Real factor = rms_factor(x, C, eps);
  Real radial = 0;
#pragma omp simd reduction(+ : radial)
  for (int64_t c = 0; c < C; ++c) {
    const Real along = real<Real>(grad_normed[c]) * real<Real>(x[c]) * factor;
    grad_weight[c] += along;
    radial += along * weight[c];
  }
  radial /= static_cast<Real>(C);
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const Real unit = real<Real>(x[c]) * factor;
    grad[c] += (real<Real>(grad_normed[c]) * weight[c] - unit * radial) * factor;
  }
}

template <typename Real, typename Stream, typename Branch>
IVN_VECTORISED void branch_row_backward(const Real* grad, const Branch* branch, const Real* scale,
                                        Real drop, int64_t C, Stream* grad_x, Branch* grad_branch,
                                        Real* grad_scale) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    grad_x[c] = rounded<Stream>(grad[c]);
    const Real kept = grad[c] * drop;
    grad_branch[c] = rounded<Branch>(kept * scale[c]);
    grad_scale[c] += kept * real<Real>(branch[c]);
  }
}

template <typename Real, typename In>
IVN_VECTORISED void widen_row(const In* from, int64_t C, Real* to) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) to[c] = real<Real>(from[c]);
}

template <typename Real, typename Out>
IVN_VECTORISED void round_row(const Real* from, int64_t C, Out* to) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) to[c] = rounded<Out>(from[c]);
}

}  // namespace

extern "C" int ivn_rms_norm_cpu(const void* x, const void* weight, void* normed, int64_t R,
                                int64_t C, double eps, int x_type, int normed_type,
                                [[maybe_unused]] int threads) {
  return with_types(x_type, normed_type, [&](auto x_zero, auto normed_zero) {
    using In = decltype(x_zero);
    using Out = decltype(normed_zero);
    using Real = typename Arithmetic<In>::type;
#pragma omp parallel for num_threads(threads) if (R * C > kWorthThreads)
    for (int64_t row = 0; row < R; ++row) {
      norm_row(static_cast<const In*>(x) + row * C, static_cast<const Real*>(weight), C,
               static_cast<Real>(eps), static_cast<Out*>(normed) + row * C);
    }
    return 0;
  });
}

extern "C" int ivn_rms_norm_backward_cpu(const void* grad, const void* x, const void* weight,
                                         void* grad_x, void* grad_weight, int64_t R, int64_t C,
                                         double eps, int x_type, int normed_type, int threads) {
  return with_types(x_type, normed_type, [&](auto x_zero, auto normed_zero) {
    using In = decltype(x_zero);
    using Out = decltype(normed_zero);
    using Real = typename Arithmetic<In>::type;
    for_each_part(R, C, threads, [&](int64_t part, int64_t first, int64_t end) {
      std::vector<Real> sum(C);
      Real* own = static_cast<Real*>(grad_weight) + part * C;
      std::fill_n(own, C, Real{0});
      for (int64_t row = first; row < end; ++row) {
        std::fill(sum.begin(), sum.end(), Real{0});
        norm_row_backward(static_cast<const In*>(x) + row * C,
                          static_cast<const Out*>(grad) + row * C, static_cast<const Real*>(weight),
                          C, static_cast<Real>(eps), sum.data(), own);
        round_row(sum.data(), C, static_cast<In*>(grad_x) + row * C);
      }
    });
    return 0;
  });
}

extern "C" int ivn_add_norm_cpu(const void* x, const void* branch, const void* scale,
                                const void* drop, const void* weight, void* stream, void* normed,
                                int64_t R, int64_t C, double eps, int stream_type, int branch_type,
                                [[maybe_unused]] int threads) {
  return with_types(stream_type, branch_type, [&](auto stream_zero, auto branch_zero) {
    using Stream = decltype(stream_zero);
    using Branch = decltype(branch_zero);
    using Real = typename Arithmetic<Stream>::type;
    const auto* drops = static_cast<const Real*>(drop);
#pragma omp parallel for num_threads(threads) if (R * C > kWorthThreads)
    for (int64_t row = 0; row < R; ++row) {
      add_norm_row(static_cast<const Stream*>(x) + row * C,
                   static_cast<const Branch*>(branch) + row * C, static_cast<const Real*>(scale),
                   drops[row], static_cast<const Real*>(weight), C, static_cast<Real>(eps),
                   static_cast<Stream*>(stream) + row * C, static_cast<Branch*>(normed) + row * C);
    }
    return 0;
  });
}

extern "C" int ivn_add_norm_backward_cpu(const void* grad_stream, const void* grad_normed,
                                         const void* stream, const void* branch, const void* scale,
                                         const void* drop, const void* weight, void* grad_x,
                                         void* grad_branch, void* grad_scale, void* grad_weight,
                                         int64_t R, int64_t C, double eps, int stream_type,
                                         int branch_type, int threads) {
  return with_types(stream_type, branch_type, [&](auto stream_zero, auto branch_zero) {
    using Stream = decltype(stream_zero);
    using Branch = decltype(branch_zero);
    using Real = typename Arithmetic<Stream>::type;
    const auto* scales = static_cast<const Real*>(scale);
    const auto* weights = static_cast<const Real*>(weight);
    for_each_part(R, C, threads, [&](int64_t part, int64_t first, int64_t end) {
      std::vector<Real> grad(C);
      Real* own_scale = static_cast<Real*>(grad_scale) + part * C;
      Real* own_weight = static_cast<Real*>(grad_weight) + part * C;
      std::fill_n(own_scale, C, Real{0});
      std::fill_n(own_weight, C, Real{0});
      for (int64_t row = first; row < end; ++row) {
        const int64_t at = row * C;
        widen_row(static_cast<const Stream*>(grad_stream) + at, C, grad.data());
        norm_row_backward(static_cast<const Stream*>(stream) + at,
                          static_cast<const Branch*>(grad_normed) + at, weights, C,
                          static_cast<Real>(eps), grad.data(), own_weight);
        branch_row_backward(grad.data(), static_cast<const Branch*>(branch) + at, scales,
                            static_cast<const Real*>(drop)[row], C,
                            static_cast<Stream*>(grad_x) + at,
                            static_cast<Branch*>(grad_branch) + at, own_scale);
      }
    });
    return 0;
  });
}

extern "C" int ivn_qk_norm_cpu(const void* qkv, const void* weights, void* normed, int64_t R,
                               int64_t C, double eps, int type, [[maybe_unused]] int threads) {
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const auto* from = static_cast<const In*>(qkv);
    auto* to = static_cast<In*>(normed);
#pragma omp parallel for num_threads(threads) if (R * C > kWorthThreads)
    for (int64_t row = 0; row < R; ++row) {
      const int64_t at = 3 * row * C;
      for (int part = 0; part < 2; ++part) {
        norm_row(from + at + part * C, static_cast<const Real*>(weights) + part * C, C,
                 static_cast<Real>(eps), to + at + part * C);
      }
      std::copy_n(from + at + 2 * C, C, to + at + 2 * C);
    }
    return 0;
  });
}

extern "C" int ivn_qk_norm_backward_cpu(const void* grad, const void* qkv, const void* weights,
                                        void* grad_qkv, void* grad_weights, int64_t R, int64_t C,
                                        double eps, int type, int threads) {
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const auto* from = static_cast<const In*>(grad);
    auto* to = static_cast<In*>(grad_qkv);
    for_each_part(R, C, threads, [&](int64_t part, int64_t first, int64_t end) {
      std::vector<Real> sum(C);
      Real* own = static_cast<Real*>(grad_weights) + 2 * part * C;
      std::fill_n(own, 2 * C, Real{0});
      for (int64_t row = first; row < end; ++row) {
        const int64_t at = 3 * row * C;
        for (int which = 0; which < 2; ++which) {
          std::fill(sum.begin(), sum.end(), Real{0});
          norm_row_backward(static_cast<const In*>(qkv) + at + which * C, from + at + which * C,
                            static_cast<const Real*>(weights) + which * C, C,
                            static_cast<Real>(eps), sum.data(), own + which * C);
          round_row(sum.data(), C, to + at + which * C);
        }
        std::copy_n(from + at + 2 * C, C, to + at + 2 * C);
      }
    });
    return 0;
  });
}
