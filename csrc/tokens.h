// The arithmetic of rows of tokens, shared by the CPU and the GPU.
#pragma once

#include <stdint.h>

#include "both.h"
#include "types.h"

namespace ivn {

// A token's element, or the value that stands in for it, with that of its position.
template <typename Out, typename In, typename Real>
IVN_BOTH Out positioned(In token, Real position) {
  return rounded<Out>(static_cast<Real>(widened(token)) + position);
}

// The position, of P, of slot `slot` in tables laid end to end.
IVN_BOTH int64_t position_of(int64_t slot, int64_t P) { return slot < P ? slot : slot % P; }

// Rows of K tokens, each batch's behind H rows of heads.
struct Behind {
  int64_t H, K;

  IVN_BOTH int64_t rows() const { return H + K; }
  // The row, counted over all batches, of token `token`, counted over all batches.
  IVN_BOTH int64_t row_of(int64_t token) const { return token / K * (H + K) + H + token % K; }
};

}  // namespace ivn
