#include <algorithm>
#include <cstring>

#include "patches.h"
#include "vectorised.h"

namespace {

using namespace ivn;

constexpr int kMostRow = 3 * kMostPatchSize * kMostPatchSize;
// Number of elements that the loops below process at once: whole pixels and whole vectors, so that
// the coefficient of each stays in a register.
constexpr int kTogether = 48;

// Lines are laid behind each other first: loops over a whole patch are long enough for vectors.
void lay_out(const uint8_t* corner, int64_t stride, const PatchGrid& grid, uint8_t* pixels) {
  for (int y = 0; y < grid.p; ++y) {
    std::memcpy(pixels + y * grid.line(), corner + y * stride, grid.line());
  }
}

IVN_VECTORISED ChannelSums channel_sums(const uint8_t* pixels, int count) {
  uint32_t v[kTogether] = {}, v2[kTogether] = {};
  int start = 0;
  for (; start + kTogether <= count; start += kTogether) {
    for (int i = 0; i < kTogether; ++i) {
      const uint16_t byte = pixels[start + i];
      v[i] += byte;
      v2[i] += static_cast<uint16_t>(byte * byte);
    }
  }
  for (int i = 0; start + i < count; ++i) {
    const uint32_t byte = pixels[start + i];
    v[i] += byte;
    v2[i] += byte * byte;
  }
  ChannelSums sums = {};
  for (int i = 0; i < kTogether; ++i) {
    sums.v[i % 3] += v[i];
    sums.v2[i % 3] += v2[i];
  }
  return sums;
}

template <typename Out>
IVN_VECTORISED void write_embedding_row(const uint8_t* pixels, int count, const Affine& affine,
                                        Out* row) {
  using Real = typename Arithmetic<Out>::type;
  Real scale[kTogether], shift[kTogether];
  for (int i = 0; i < kTogether; ++i) {
    scale[i] = static_cast<Real>(affine.scale[i % 3]);
    shift[i] = static_cast<Real>(affine.shift[i % 3]);
  }
  int start = 0;
  for (; start + kTogether <= count; start += kTogether) {
#pragma omp simd
    for (int i = 0; i < kTogether; ++i) {
      row[start + i] = rounded<Out>(pixels[start + i] * scale[i] + shift[i]);
    }
  }
  for (int i = 0; start + i < count; ++i) {
    row[start + i] = rounded<Out>(pixels[start + i] * scale[i] + shift[i]);
  }
}

template <typename Out>
IVN_VECTORISED void write_target_row(const uint8_t* pixels, int area, const Affine& affine,
                                     Out* row) {
  using Real = typename Arithmetic<Out>::type;
  for (int c = 0; c < 3; ++c) {
    const Real scale = static_cast<Real>(affine.scale[c]),
               shift = static_cast<Real>(affine.shift[c]);
    Out* to = row + c * area;
#pragma omp simd
    for (int i = 0; i < area; ++i) to[i] = rounded<Out>(pixels[3 * i + c] * scale + shift);
  }
}

}  // namespace

extern "C" int ivn_gather_patches_cpu(const uint8_t* video, const int64_t* index, void* rows,
                                      int64_t B, int64_t T, int64_t H, int64_t W, int64_t K,
                                      int patch_size, const double* affine, double eps, int type,
                                      int layout, [[maybe_unused]] int threads) {
  if (layout != IVN_EMBEDDING_ROWS && layout != IVN_TARGET_ROWS) return IVN_UNKNOWN_TYPE;
  const PatchGrid grid = {T, H, W, K, patch_size};
  const Affine pixel = {{affine[0], affine[1], affine[2]}, {affine[3], affine[4], affine[5]}};
  return with_type(type, [&](auto zero) {
    using Out = decltype(zero);
    Out* out = static_cast<Out*>(rows);
#pragma omp parallel for num_threads(threads) if (B * K > 16)
    for (int64_t row = 0; row < B * K; ++row) {
      uint8_t pixels[kMostRow];
      lay_out(video + grid.corner(row / K, index[row]), 3 * W, grid, pixels);
      Out* to = out + row * grid.length(layout);
      const int area = patch_size * patch_size;
      if (layout == IVN_TARGET_ROWS) {
        write_target_row(pixels, area, pixel, to);
      } else {
        using Real = typename Arithmetic<Out>::type;
        const ChannelSums sums = channel_sums(pixels, grid.row());
        write_embedding_row(pixels, grid.row(), divided_by_rms<Real>(pixel, sums, area, eps), to);
        std::fill(to + grid.row(), to + grid.length(layout), Out{});
      }
    }
    return 0;
  });
}
