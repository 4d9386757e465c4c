#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "ivn.h"
#include "rows.h"

namespace {

using namespace ivn;

// Products of p = layer_norm(pred) and t.
template <typename Real>
struct Products {
  Real pp, pt, tt;
};

template <typename Real, typename Pred, typename Target>
IVN_VECTORISED Products<Real> products(const Pred* pred, Moments<Real> of, const Target* target,
                                       const Real* weight, const Real* bias, int64_t D) {
  Real pp = 0, pt = 0, tt = 0;
#pragma omp simd reduction(+ : pp, pt, tt)
  for (int64_t d = 0; d < D; ++d) {
    const Real p = (real<Real>(pred[d]) - of.mean) * of.factor * weight[d] + bias[d];
    const Real t = real<Real>(target[d]);
    pp += p * p;
    pt += p * t;
    tt += t * t;
  }
  return {pp, pt, tt};
}

// The gradient of the unit row, before its weight, for a gradient along_t * t + along_p * p of p.
template <typename Real, typename Pred, typename Target>
IVN_VECTORISED Along<Real> direction_backward(const Pred* pred, Moments<Real> of,
                                              const Target* target, const Real* weight,
                                              const Real* bias, Real along_t, Real along_p,
                                              int64_t D, Real* grad_unit, Real* grad_weight,
                                              Real* grad_bias) {
  Real level = 0, radial = 0;
#pragma omp simd reduction(+ : level, radial)
  for (int64_t d = 0; d < D; ++d) {
    const Real unit = (real<Real>(pred[d]) - of.mean) * of.factor;
    const Real p = unit * weight[d] + bias[d];
    const Real grad = along_t * real<Real>(target[d]) + along_p * p;
    grad_weight[d] += grad * unit;
    grad_bias[d] += grad;
    const Real here = grad * weight[d];
    grad_unit[d] = here;
    level += here;
    radial += here * unit;
  }
  return {level / static_cast<Real>(D), radial / static_cast<Real>(D)};
}

// Calls run(Pred{}, Target{}) for the element types.
template <typename Run>
int with_pair(int pred_type, int target_type, const Run& run) {
  return with_type(pred_type, [&](auto pred) {
    using Pred = decltype(pred);
    if constexpr (std::is_same_v<Pred, double>) {
      return target_type == IVN_FLOAT64 ? run(Pred{}, double{}) : IVN_UNKNOWN_TYPE;
    } else {
      if (target_type == IVN_FLOAT32) return run(Pred{}, float{});
      return target_type == IVN_BFLOAT16 ? run(Pred{}, Bfloat16{}) : IVN_UNKNOWN_TYPE;
    }
  });
}

}  // namespace

extern "C" int ivn_cosine_distance_cpu(const void* pred, const void* target, const void* affine,
                                       void* distance, int64_t R, int64_t D, double norm_eps,
                                       double eps, int pred_type, int target_type,
                                       [[maybe_unused]] int threads) {
  return with_pair(pred_type, target_type, [&](auto pred_zero, auto target_zero) {
    using Pred = decltype(pred_zero);
    using Target = decltype(target_zero);
    using Real = typename Arithmetic<Pred>::type;
    const auto* weight = static_cast<const Real*>(affine);
    const Real least = static_cast<Real>(eps);
#pragma omp parallel for num_threads(threads) if (R * D > kWorthThreads)
    for (int64_t row = 0; row < R; ++row) {
      const Pred* x = static_cast<const Pred*>(pred) + row * D;
      const auto [pp, pt, tt] =
          products(x, moments(x, D, static_cast<Real>(norm_eps)),
                   static_cast<const Target*>(target) + row * D, weight, weight + D, D);
      const Real lengths = std::max(std::sqrt(pp), least) * std::max(std::sqrt(tt), least);
      static_cast<Real*>(distance)[row] = 1 - pt / lengths;
    }
    return 0;
  });
}

extern "C" int ivn_cosine_distance_backward_cpu(const void* grad, const void* pred,
                                                const void* target, const void* affine,
                                                void* grad_pred, void* grad_affine, int64_t R,
                                                int64_t D, double norm_eps, double eps,
                                                int pred_type, int target_type, int threads) {
  return with_pair(pred_type, target_type, [&](auto pred_zero, auto target_zero) {
    using Pred = decltype(pred_zero);
    using Target = decltype(target_zero);
    using Real = typename Arithmetic<Pred>::type;
    const auto* weight = static_cast<const Real*>(affine);
    const Real least = static_cast<Real>(eps);
    for_each_part(R, D, threads, [&](int64_t part, int64_t first, int64_t end) {
      std::vector<Real> grad_unit(D);
      Real* own = static_cast<Real*>(grad_affine) + 2 * part * D;
      std::fill_n(own, 2 * D, Real{0});
      for (int64_t row = first; row < end; ++row) {
        const Pred* x = static_cast<const Pred*>(pred) + row * D;
        const Target* t = static_cast<const Target*>(target) + row * D;
        const Moments<Real> of = moments(x, D, static_cast<Real>(norm_eps));
        const auto [pp, pt, tt] = products(x, of, t, weight, weight + D, D);
        const Real length = std::sqrt(pp);
        const Real p_norm = std::max(length, least), t_norm = std::max(std::sqrt(tt), least);
        // Below eps the length is a constant, so only the dot product has a gradient.
        const Real radial = length > least ? pt / (p_norm * t_norm) / (p_norm * p_norm) : 0;
        const Real factor = static_cast<const Real*>(grad)[row];
        const Along<Real> along =
            direction_backward(x, of, t, weight, weight + D, -factor / (p_norm * t_norm),
                               factor * radial, D, grad_unit.data(), own, own + D);
        layer_norm_backward(x, of, along, grad_unit.data(), D,
                            static_cast<Pred*>(grad_pred) + row * D);
      }
    });
    return 0;
  });
}
