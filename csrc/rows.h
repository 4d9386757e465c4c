// Helpers for operations on rows of features on a CPU.
#pragma once

#include <stdint.h>

#include <cmath>

#include "ivn.h"
#include "types.h"
#include "vectorised.h"

namespace ivn {

// The number of rows of a few KB from which threads pay.
constexpr int64_t kWorthThreads = 1 << 14;

template <typename Real, typename In>
Real real(In value) {
  return static_cast<Real>(widened(value));
}

// Calls run(part, first row, last row + 1) for each of the parts whose sums are kept apart.
template <typename Run>
void for_each_part(int64_t R, [[maybe_unused]] int64_t C, [[maybe_unused]] int threads,
                   const Run& run) {
#pragma omp parallel for num_threads(threads) if (R * C > kWorthThreads)
  for (int64_t part = 0; part < IVN_NORM_PARTS; ++part) {
    run(part, R * part / IVN_NORM_PARTS, R * (part + 1) / IVN_NORM_PARTS);
  }
}

// (x - mean) * factor has mean 0 and variance 1, but for eps.
template <typename Real>
struct Moments {
  Real mean, factor;
};

template <typename Real, typename In>
IVN_VECTORISED static Moments<Real> moments(const In* x, int64_t C, Real eps) {
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < C; ++c) sum += real<Real>(x[c]);
  const Real mean = sum / static_cast<Real>(C);
  Real squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < C; ++c) {
    const Real centred = real<Real>(x[c]) - mean;
    squares += centred * centred;
  }
  return {mean, 1 / std::sqrt(squares / static_cast<Real>(C) + eps)};
}

// The part of a unit row's gradient along the constant row and along the row itself: both have no
// effect on the norm.
template <typename Real>
struct Along {
  Real level, radial;
};

// grad_x = the gradient of x from that of its unit row; the two gradients may be one.
template <typename Real, typename In, typename Out>
IVN_VECTORISED static void layer_norm_backward(const In* x, Moments<Real> of, Along<Real> along,
                                               const Real* grad_unit, int64_t C, Out* grad_x) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const Real unit = (real<Real>(x[c]) - of.mean) * of.factor;
    grad_x[c] = rounded<Out>((grad_unit[c] - along.level - unit * along.radial) * of.factor);
  }
}

}  // namespace ivn
