#include <algorithm>
#include <cmath>
#include <vector>

#include "draws.h"
#include "exponential.h"
#include "ivn.h"
#include "types.h"
#include "vectorised.h"

namespace {

using namespace ivn;

constexpr double kLn2 = 0.693147180559945309417;
constexpr int64_t kTogether = 64;  // numbers in a partial sum: rounding grows with the length
constexpr int64_t kWorthThreads = 1 << 12;  // numbers, each drawn

// A row of the table of steps: ivn::diffusion's `Steps`.
template <typename Real>
struct Step {
  Real signal, noise, mean, log_variance, spread, precision;
};

template <typename Real>
struct Rows {
  const int64_t *keys, *timestep;
  const Step<Real>* steps;
  int64_t P, D;
  uint32_t purpose;

  const Step<Real>& step(int64_t row) const { return steps[timestep[row]]; }
  void draw(int64_t row, Real* noise) const {
    ivn::draw(keys + 4 * (row / P), purpose, row % P * D, D, noise);
  }
};

// Calls run(first row, last row + 1, scratch of D numbers) on every thread's share.
template <typename Real, typename Run>
void for_rows(int64_t R, int64_t D, [[maybe_unused]] int threads, const Run& run) {
#pragma omp parallel num_threads(threads) if (R * D > kWorthThreads)
  {
    std::vector<Real> noise(static_cast<size_t>(D));
#pragma omp for
    for (int64_t row = 0; row < R; ++row) run(row, noise.data());
  }
}

template <typename Real, typename Out>
IVN_VECTORISED void mix_row(const Real* target, const Real* noise, const Step<Real>& step,
                            int64_t D, int64_t width, Out* x_t) {
#pragma omp simd
  for (int64_t d = 0; d < D; ++d) {
    x_t[d] = rounded<Out>(step.signal * target[d] + step.noise * noise[d]);
  }
  for (int64_t d = D; d < width; ++d) x_t[d] = rounded<Out>(0);
}

template <typename Real>
struct Sums {
  Real squares, bits;
};

// The squared error of the noise and, past step 0, the divergence.
template <typename Real, typename In>
IVN_VECTORISED Sums<Real> divergence_row(const In* output, const Real* noise,
                                         const Step<Real>& step, int64_t D) {
  Real squares = 0, twice = 0;
  for (int64_t start = 0; start < D; start += kTogether) {
    const int64_t end = std::min(start + kTogether, D);
    Real some_squares = 0, some_twice = 0;
#pragma omp simd reduction(+ : some_squares, some_twice)
    for (int64_t d = start; d < end; ++d) {
      const Real error = Real(widened(output[d])) - noise[d];
      const Real above = (Real(widened(output[D + d])) + 1) / 2 * step.spread;
      some_squares += error * error;
      some_twice += above - 1 + exponential(-above) * (1 + step.precision * (error * error));
    }
    squares += some_squares;
    twice += some_twice;
  }
  return {squares, twice / 2};
}

template <typename Real, typename In>
IVN_VECTORISED void divergence_row_backward(const In* output, const Real* noise,
                                            const Step<Real>& step, int64_t D, Real grad_squares,
                                            Real grad_bits, In* grad) {
#pragma omp simd
  for (int64_t d = 0; d < D; ++d) {
    const Real error = Real(widened(output[d])) - noise[d];
    const Real above = (Real(widened(output[D + d])) + 1) / 2 * step.spread;
    const Real slope = 1 - exponential(-above) * (1 + step.precision * (error * error));
    grad[d] = rounded<In>(2 * error * grad_squares);
    grad[D + d] = rounded<In>(slope / 4 * step.spread * grad_bits);
  }
}

// The normal distribution function by the paper's tanh, and x times its slope at x.
template <typename Real>
struct Edge {
  Real cdf, slope;
};

template <typename Real>
Edge<Real> edge_at(Real x) {
  constexpr Real kSteep = Real(1.5957691216057307117), kCubic = Real(0.044715);
  const Real g = kSteep * (x + kCubic * x * x * x);
  const Real cdf = 1 / (1 + exponential(-g)), beyond = 1 / (1 + exponential(g));
  return {cdf, x * (cdf * beyond * kSteep * (1 + 3 * kCubic * x * x))};
}

template <typename Real>
struct Likelihood {
  Real log, slope;  // log of the bin's probability, and its slope in the log-variance
};

// The 2/255-wide bin around `target`, `centred` off the mean. The first and the last bin are open
// on one side.
template <typename Real>
Likelihood<Real> likelihood_of(Real target, Real centred, Real log_variance) {
  constexpr Real kHalf = Real(1) / 255, kLeast = Real(1e-12);
  const Real inverse = exponential(-log_variance / 2);
  Edge<Real> share;
  if (target < Real(-0.999)) {
    share = edge_at(inverse * (centred + kHalf));
  } else if (target > Real(0.999)) {
    share = edge_at(inverse * (kHalf - centred));
  } else {
    // In the lower tail, where a difference of small numbers keeps its digits.
    const Edge<Real> near = edge_at(inverse * (kHalf - std::abs(centred)));
    const Edge<Real> far = edge_at(inverse * (-kHalf - std::abs(centred)));
    share = {near.cdf - far.cdf, near.slope - far.slope};
  }
  if (share.cdf < kLeast) return {std::log(kLeast), 0};
  return {std::log(share.cdf), share.slope / share.cdf * Real(-0.5)};
}

template <typename Real, typename In>
Sums<Real> likelihood_row(const In* output, const Real* target, const Real* noise,
                          const Step<Real>& step, int64_t D) {
  double squares = 0, bits = 0;
  for (int64_t d = 0; d < D; ++d) {
    const Real error = Real(widened(output[d])) - noise[d];
    const Real above = (Real(widened(output[D + d])) + 1) / 2 * step.spread;
    squares += error * error;
    bits -= likelihood_of(target[d], step.mean * error, step.log_variance + above).log;
  }
  return {static_cast<Real>(squares), static_cast<Real>(bits)};
}

template <typename Real, typename In>
void likelihood_row_backward(const In* output, const Real* target, const Real* noise,
                             const Step<Real>& step, int64_t D, Real grad_squares, Real grad_bits,
                             In* grad) {
  for (int64_t d = 0; d < D; ++d) {
    const Real error = Real(widened(output[d])) - noise[d];
    const Real above = (Real(widened(output[D + d])) + 1) / 2 * step.spread;
    const Real slope = likelihood_of(target[d], step.mean * error, step.log_variance + above).slope;
    grad[d] = rounded<In>(2 * error * grad_squares);
    grad[D + d] = rounded<In>(-slope * step.spread / 2 * grad_bits);
  }
}

}  // namespace

extern "C" int ivn_noisy_target_cpu(const void* target, const int64_t* keys,
                                    const int64_t* timestep, const void* steps, void* x_t,
                                    int64_t B, int64_t P, int64_t D, int64_t width,
                                    uint32_t purpose, int type, int threads) {
  return with_type(type, [&](auto zero) {
    using Out = decltype(zero);
    using Real = typename Arithmetic<Out>::type;
    const Rows<Real> rows = {keys, timestep, static_cast<const Step<Real>*>(steps), P, D, purpose};
    for_rows<Real>(B * P, D, threads, [&](int64_t row, Real* noise) {
      rows.draw(row, noise);
      mix_row(static_cast<const Real*>(target) + row * D, noise, rows.step(row), D, width,
              static_cast<Out*>(x_t) + row * width);
    });
    return 0;
  });
}

extern "C" int ivn_diffusion_loss_cpu(const void* output, const void* target, const int64_t* keys,
                                      const int64_t* timestep, const void* steps, void* mse,
                                      void* variational, int64_t B, int64_t P, int64_t D,
                                      uint32_t purpose, int type, int threads) {
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const Rows<Real> rows = {keys, timestep, static_cast<const Step<Real>*>(steps), P, D, purpose};
    for_rows<Real>(B * P, D, threads, [&](int64_t row, Real* noise) {
      rows.draw(row, noise);
      const In* out = static_cast<const In*>(output) + 2 * row * D;
      const Sums<Real> sums = timestep[row] == 0
                                  ? likelihood_row(out, static_cast<const Real*>(target) + row * D,
                                                   noise, rows.step(row), D)
                                  : divergence_row(out, noise, rows.step(row), D);
      static_cast<Real*>(mse)[row] = sums.squares / static_cast<Real>(D);
      static_cast<Real*>(variational)[row] = sums.bits / static_cast<Real>(D * kLn2);
    });
    return 0;
  });
}

extern "C" int ivn_diffusion_loss_backward_cpu(const void* grad_mse, const void* grad_variational,
                                               const void* output, const void* target,
                                               const int64_t* keys, const int64_t* timestep,
                                               const void* steps, void* grad_output, int64_t B,
                                               int64_t P, int64_t D, uint32_t purpose, int type,
                                               int threads) {
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const Rows<Real> rows = {keys, timestep, static_cast<const Step<Real>*>(steps), P, D, purpose};
    for_rows<Real>(B * P, D, threads, [&](int64_t row, Real* noise) {
      rows.draw(row, noise);
      const In* out = static_cast<const In*>(output) + 2 * row * D;
      In* grad = static_cast<In*>(grad_output) + 2 * row * D;
      const Real squares = static_cast<const Real*>(grad_mse)[row] / static_cast<Real>(D);
      const Real bits =
          static_cast<const Real*>(grad_variational)[row] / static_cast<Real>(D * kLn2);
      if (timestep[row] == 0) {
        likelihood_row_backward(out, static_cast<const Real*>(target) + row * D, noise,
                                rows.step(row), D, squares, bits, grad);
      } else {
        divergence_row_backward(out, noise, rows.step(row), D, squares, bits, grad);
      }
    });
    return 0;
  });
}
