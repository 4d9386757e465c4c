#include <algorithm>

#include "patches.h"
#include "vectorised.h"

namespace {

using namespace ivn;

constexpr int kMostLine = 3 * kMostPatchSize;

// The loops below run over the bytes of one line, channels interleaved, with one coefficient for
// each: no stride, no division, so the compiler vectorises them.
IVN_VECTORISED ChannelSums channel_sums(const uint8_t* corner, int64_t stride, int p) {
  uint32_t v[kMostLine] = {}, v2[kMostLine] = {};
  const int line = 3 * p;
  for (int y = 0; y < p; ++y) {
    const uint8_t* from = corner + y * stride;
    for (int i = 0; i < line; ++i) {
      const uint16_t byte = from[i];
      v[i] += byte;
      v2[i] += static_cast<uint16_t>(byte * byte);
    }
  }
  ChannelSums sums = {};
  for (int i = 0; i < line; ++i) {
    sums.v[i % 3] += v[i];
    sums.v2[i % 3] += v2[i];
  }
  return sums;
}

template <typename Out>
IVN_VECTORISED void write_embedding_row(const uint8_t* corner, int64_t stride, int p,
                                        const Affine& affine, Out* row) {
  using Real = typename Arithmetic<Out>::type;
  Real scale[kMostLine], shift[kMostLine];
  const int line = 3 * p;
  for (int i = 0; i < line; ++i) {
    scale[i] = static_cast<Real>(affine.scale[i % 3]);
    shift[i] = static_cast<Real>(affine.shift[i % 3]);
  }
  for (int y = 0; y < p; ++y) {
    const uint8_t* from = corner + y * stride;
    Out* to = row + y * line;
    for (int i = 0; i < line; ++i) to[i] = rounded<Out>(from[i] * scale[i] + shift[i]);
  }
}

template <typename Out>
IVN_VECTORISED void write_target_row(const uint8_t* corner, int64_t stride, int p,
                                     const Affine& affine, Out* row) {
  using Real = typename Arithmetic<Out>::type;
  for (int c = 0; c < 3; ++c) {
    const Real scale = static_cast<Real>(affine.scale[c]),
               shift = static_cast<Real>(affine.shift[c]);
    for (int y = 0; y < p; ++y) {
      const uint8_t* from = corner + y * stride + c;
      Out* to = row + (c * p + y) * p;
      for (int x = 0; x < p; ++x) to[x] = rounded<Out>(from[3 * x] * scale + shift);
    }
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
      const uint8_t* corner = video + grid.corner(row / K, index[row]);
      Out* to = out + row * grid.length(layout);
      if (layout == IVN_TARGET_ROWS) {
        write_target_row(corner, 3 * W, patch_size, pixel, to);
      } else {
        const ChannelSums sums = channel_sums(corner, 3 * W, patch_size);
        const int count = patch_size * patch_size;
        const Affine affine =
            divided_by_rms<typename Arithmetic<Out>::type>(pixel, sums, count, eps);
        write_embedding_row(corner, 3 * W, patch_size, affine, to);
        std::fill(to + grid.row(), to + grid.length(layout), Out{});
      }
    }
    return 0;
  });
}
