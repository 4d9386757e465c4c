// Keyed random numbers: Philox4x32-10 (Salmon et al., SC 2011), counted as ivn/ops/random.py says.
//
// Only exact operations and explicit fused multiply-adds follow, so that every bit is the same on
// every device.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "both.h"

namespace ivn {

struct Words {
  uint32_t v[4];
};

// Draws 4 * block .. 4 * block + 3 of the sample whose key (seed, epoch, position, repeat) is
// `key`; `purpose` holds the purpose in its highest 8 bits and the layer in the others.
IVN_BOTH Words random_words(const int64_t* key, uint32_t purpose, uint32_t block) {
  uint32_t c0 = block, c1 = purpose, c2 = static_cast<uint32_t>(key[2]),
           c3 = static_cast<uint32_t>(key[1]) << 8 | static_cast<uint32_t>(key[3]);
  uint32_t k0 = static_cast<uint32_t>(key[0]),
           k1 = static_cast<uint32_t>(static_cast<uint64_t>(key[0]) >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53) * c0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// Constants of normal numbers of type Real: bits of a word, and numbers of polynomial terms. Every
// step is exact, correctly rounded, or a fused multiply-add.
template <typename Real>
struct Normal;

template <>
struct Normal<float> {
  using Bits = uint32_t;
  using Signed = int32_t;
  static constexpr int kBits = 23, kMantissa = 23, kBias = 127, kLogTerms = 5, kTrigTerms = 5;
  static constexpr Bits kToRoot = 0x004AFB0D;  // added to a number, steps its exponent at sqrt(2)
};

template <>
struct Normal<double> {
  using Bits = uint64_t;
  using Signed = int64_t;
  static constexpr int kBits = 32, kMantissa = 52, kBias = 1023, kLogTerms = 10, kTrigTerms = 9;
  static constexpr Bits kToRoot = 0x00095F619980C433;
};

// -log(u) of u = (k + 1/2) / 2^bits, k below 2^bits.
template <typename Real>
IVN_BOTH Real minus_log(Real k_and_half) {
  using N = Normal<Real>;
  typename N::Bits bits;
  memcpy(&bits, &k_and_half, sizeof bits);
  const typename N::Signed e =
      static_cast<typename N::Signed>((bits + N::kToRoot) >> N::kMantissa) - N::kBias;
  bits -= static_cast<typename N::Bits>(e) << N::kMantissa;
  Real m;
  memcpy(&m, &bits, sizeof m);
  // log m = 2 artanh f
  const Real f = (m - 1) / (m + 1), s = f * f;
  Real series = Real(2) / (2 * N::kLogTerms + 1);
  for (int i = N::kLogTerms - 1; i > 0; --i) series = fma(series, s, Real(2) / (2 * i + 1));
  const Real log_m = fma(f * s, series, 2 * f);
  // Through 32 bits, from which vectors of doubles can be made.
  const Real power = static_cast<Real>(static_cast<int32_t>(N::kBits - e));
  return fma(power, Real(0.693147180559945309417), -log_m);
}

template <typename Real>
struct Pair {
  Real first, second;
};

// Two standard normal numbers by Box and Muller's transform: sqrt(-2 log u) times the cosine and
// the sine of 2 pi v, u and v made of the words.
template <typename Real>
IVN_BOTH Pair<Real> normal_pair(uint32_t word_u, uint32_t word_v) {
  using N = Normal<Real>;
  constexpr int kDropped = 32 - N::kBits;
  const Real u = static_cast<Real>(static_cast<typename N::Signed>(word_u >> kDropped)) + Real(0.5);
  const Real radius = sqrt(2 * minus_log(u));
  // 4 v = quarter + rest with |rest| <= 1/2, exactly.
  const auto k = static_cast<typename N::Signed>(word_v >> kDropped);
  const auto quarter = (k + (typename N::Signed{1} << (N::kBits - 3))) >> (N::kBits - 2);
  const Real rest = (static_cast<Real>(k - (quarter << (N::kBits - 2))) + Real(0.5)) /
                    static_cast<Real>(typename N::Bits{1} << (N::kBits - 2));
  const Real x = rest * Real(1.57079632679489661923), square = x * x;
  Real sine = 1, cosine = 1;
  for (int i = N::kTrigTerms; i > 0; --i) {
    sine = fma(-square * sine, Real(1) / (2 * i * (2 * i + 1)), Real(1));
    cosine = fma(-square * cosine, Real(1) / (2 * i * (2 * i - 1)), Real(1));
  }
  sine *= x;
  const bool swapped = quarter & 1;
  const Real across = swapped ? sine : cosine, up = swapped ? cosine : sine;
  const Real first = (quarter + 1) & 2 ? -across : across;
  const Real second = quarter & 2 ? -up : up;
  return {radius * first, radius * second};
}

}  // namespace ivn
