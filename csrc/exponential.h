// e^x in plain arithmetic: loops over it become vectors with every compiler.
#pragma once

#include <stdint.h>
#include <string.h>

namespace ivn {

template <typename Real>
struct Exponential;

template <>
struct Exponential<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23, kBias = 127, kTerms = 7;
  static constexpr float kLeast = -87.0f, kMost = 89.0f, kInteger = 12582912.0f;  // 1.5 * 2^23
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
};

template <>
struct Exponential<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023, kTerms = 13;
  static constexpr double kLeast = -708.0, kMost = 710.0, kInteger = 6755399441055744.0;
  static constexpr double kLn2High = 0.693147180369123816490, kLn2Low = 1.90821492927058770002e-10;
};

// Accurate to two units of the last place; e^kLeast below kLeast, and infinite if 2^n is.
template <typename Real>
inline Real exponential(Real x) {
  using E = Exponential<Real>;
  const Real not_low = x < E::kLeast ? E::kLeast : x;
  const Real inside = not_low > E::kMost ? E::kMost : not_low;
  // e^x = 2^n e^r. Added to kInteger, a number leaves its nearest integer in the lowest bits.
  const Real shifted = inside * Real(1.44269504088896340736) + E::kInteger;
  const Real n = shifted - E::kInteger;
  const Real r = (inside - n * E::kLn2High) - n * E::kLn2Low;
  Real series = 1;
  for (int i = E::kTerms; i > 0; --i) series = 1 + series * r * (1 / Real(i));
  typename E::Bits bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + E::kBias) << E::kMantissa;
  Real power;
  memcpy(&power, &bits, sizeof power);
  return series * power;
}

}  // namespace ivn
