// The arithmetic of a row of gathered patches, shared by the CPU and the GPU.
//
// A pixel becomes x = v * scale[c] + shift[c]. The sum of x^2 over a patch follows exactly from
// the integer sums of v and v^2 per channel, so it does not depend on the order of summation and
// is the same on every device; a row is then one multiply-add per element.
#pragma once

#include <limits.h>
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
// difference of large numbers, so it is in fp64; the factor is rounded to Real.
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

constexpr int kLanes = 32;
constexpr int kAhead = 4;  // number of words that a lane loads before it stores the first

// A patch's bytes from its corner on, and the ends of the video's bytes around it. 32 bits are
// enough for the span of a patch, if not for that of a video.
struct Around {
  const uint8_t* corner;
  int first, end;

  IVN_BOTH Around(const uint8_t* corner, const uint8_t* video, int64_t bytes)
      : corner(corner),
        first(static_cast<int>(video - corner > -4 ? video - corner : -4)),
        end(static_cast<int>(video + bytes - corner < INT_MAX ? video + bytes - corner : INT_MAX)) {
  }

  // How far the byte at `offset` lies behind a 4-byte boundary.
  IVN_BOTH int skew(int offset) const {
    return (static_cast<int>(reinterpret_cast<uintptr_t>(corner)) + offset) & 3;
  }

  // Four bytes from the boundary `offset`; those outside the video are not read.
  IVN_BOTH uint32_t word(int offset) const {
    if (offset >= first && offset <= end - 4) {
      return *reinterpret_cast<const uint32_t*>(corner + offset);
    }
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      if (offset + i >= first && offset + i < end) {
        word |= static_cast<uint32_t>(corner[offset + i]) << 8 * i;
      }
    }
    return word;
  }
};

// Copies the lines of a patch, `stride` bytes apart, into `pixels`, one behind the other. They
// begin at any byte: lanes read the words around them and keep the line's bytes. Half the lanes
// copy a line that has no more words than that, all of them a longer one.
IVN_BOTH void stage(const Around& patch, int stride, const PatchGrid& grid, int lane,
                    uint8_t* pixels) {
  const int line = grid.line(), words = (line + 3 + 3) / 4;  // wherever the line begins
  const int group = words <= kLanes / 2 ? kLanes / 2 : kLanes, lines = kLanes / group;
  for (int start = 0; start < 4 * words; start += 4 * group) {
    const int unskewed = start + 4 * (lane & (group - 1));
    for (int top = group == kLanes ? 0 : lane / (kLanes / 2); top < grid.p; top += kAhead * lines) {
      uint32_t word[kAhead];
      for (int i = 0; i < kAhead; ++i) {
        const int y = top + i * lines, at = unskewed - patch.skew(y * stride);
        word[i] = y < grid.p && at < line ? patch.word(y * stride + at) : 0;
      }
      for (int i = 0; i < kAhead; ++i) {
        const int y = top + i * lines, at = unskewed - patch.skew(y * stride);
        for (int byte = 0; byte < 4; ++byte) {
          const int x = at + byte;
          if (y < grid.p && x >= 0 && x < line) {
            pixels[y * line + x] = static_cast<uint8_t>(word[i] >> 8 * byte);
          }
        }
      }
    }
  }
}

}  // namespace ivn
