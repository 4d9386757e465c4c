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

// -log(u) of u = (word + 1/2) / 2^32, to a few units in the last place, with no case apart: so the
// compiler may vectorise it. log m = 2 artanh f with f = (m - 1) / (m + 1), |f| < 0.172, as a
// series up to f^21.
IVN_BOTH double minus_log_uniform(uint32_t word) {
  const double x = word + 0.5;  // exact
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  // x = m * 2^e with m in [0.707, 1.414): the exponent steps up where m passes sqrt(2).
  const uint64_t shifted = bits + 0x00095F619980C433;
  const int64_t e = static_cast<int64_t>(shifted >> 52) - 1023;
  bits -= static_cast<uint64_t>(e) << 52;
  double m;
  memcpy(&m, &bits, sizeof m);
  const double f = (m - 1.0) / (m + 1.0), s = f * f;
  double series = 2.0 / 21;
  series = fma(series, s, 2.0 / 19);
  series = fma(series, s, 2.0 / 17);
  series = fma(series, s, 2.0 / 15);
  series = fma(series, s, 2.0 / 13);
  series = fma(series, s, 2.0 / 11);
  series = fma(series, s, 2.0 / 9);
  series = fma(series, s, 2.0 / 7);
  series = fma(series, s, 2.0 / 5);
  series = fma(series, s, 2.0 / 3);
  const double log_m = fma(f * s, series, 2.0 * f);
  return fma(static_cast<double>(32 - e), 0.693147180559945309417, -log_m);
}

}  // namespace ivn
