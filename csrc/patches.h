// What one row of gathered patches is made of: the arithmetic shared by the CPU and the GPU.
//
// A pixel becomes x = v * scale[c] + shift[c]. The sum of x^2 over a patch follows exactly from
// the integer sums of v and v^2 per channel, so it does not depend on the order of summation and
// is the same on every device; a row is then one multiply-add per element.
#pragma once

#include <math.h>
#include <stdint.h>

#include "both.h"
#include "ivn.h"
#include "types.h"

namespace ivn {

// Bounds the sums below: 64 * 64 * 255^2 fits 32 bits.
constexpr int kMostPatchSize = 64;

struct PatchGrid {
  int64_t T, H, W, K;
  int p;

  IVN_BOTH int line() const { return 3 * p; }     // bytes of one line of a patch
  IVN_BOTH int row() const { return 3 * p * p; }  // elements of a whole patch
  // Elements of a row: those of an embedding row padded with zeros to whole packs of 16 bytes.
  IVN_BOTH int length(int layout) const {
    return layout == IVN_EMBEDDING_ROWS ? (row() + 7) / 8 * 8 : row();
  }
  // The first byte of patch `patch` of video b; its lines are 3 * W bytes apart.
  IVN_BOTH int64_t corner(int64_t b, int64_t patch) const {
    const int64_t columns = W / p, per_frame = H / p * columns;
    const int64_t t = patch / per_frame, y = patch % per_frame / columns, x = patch % columns;
    return (((b * T + t) * H + y * p) * W + x * p) * 3;
  }
};

struct Affine {
  double scale[3], shift[3];
};

struct ChannelSums {
  uint32_t v[3], v2[3];
};

// `pixel` divided by sqrt(mean(x^2) + eps) over a patch of `count` pixels. The mean is a small
// difference of large numbers, so it is in fp64; what follows is rounded to Real.
template <typename Real>
IVN_BOTH Affine divided_by_rms(const Affine& pixel, const ChannelSums& sums, int count,
                               double eps) {
  double squares = 0.0;
  for (int c = 0; c < 3; ++c) {
    const double a = pixel.scale[c], b = pixel.shift[c];
    squares += a * a * sums.v2[c] + 2.0 * a * b * sums.v[c] + b * b * count;
  }
  // Rounding may leave the mean of an all-zero patch just below 0.
  const double mean = squares > 0.0 ? squares / (3.0 * count) : 0.0;
  const Real inverse = 1 / sqrt(static_cast<Real>(mean + eps));
  Affine row;
  for (int c = 0; c < 3; ++c) {
    row.scale[c] = pixel.scale[c] * inverse;
    row.shift[c] = pixel.shift[c] * inverse;
  }
  return row;
}

}  // namespace ivn
