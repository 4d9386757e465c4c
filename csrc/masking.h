// The arithmetic of masks, shared by the CPU and the GPU.
#pragma once

#include <stdint.h>

#include "both.h"
#include "random.h"

namespace ivn {

// word + 1/2, exactly; from a signed number, of which vectors of doubles can be made.
IVN_BOTH double halfway_past(uint32_t word) {
  return static_cast<double>(static_cast<int32_t>(word ^ 0x80000000u)) + 2147483648.5;
}

// The time at which a token arrives in the exponential race; weight 0 comes after all others.
IVN_BOTH double arrival(uint32_t word, double weight) {
  return weight > 0.0 ? minus_log(halfway_past(word)) / weight : HUGE_VAL;
}

struct Corner {
  int64_t row, column;
};

// The corner of block `i` of the draw: words 2 * i and 2 * i + 1, scaled to the free places.
IVN_BOTH Corner corner_of(const int64_t* key, uint32_t purpose, int i, int64_t free_rows,
                          int64_t free_columns) {
  const Words words = random_words(key, purpose, static_cast<uint32_t>(i) / 2);
  const uint32_t row = words.v[i % 2 * 2], column = words.v[i % 2 * 2 + 1];
  return {static_cast<int64_t>(row * static_cast<uint64_t>(free_rows) >> 32),
          static_cast<int64_t>(column * static_cast<uint64_t>(free_columns) >> 32)};
}

}  // namespace ivn
