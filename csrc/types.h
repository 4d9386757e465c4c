// Element types, and the types in which they are computed.
#pragma once

#include <stdint.h>
#include <string.h>

#include "both.h"
#include "ivn.h"

namespace ivn {

// A bf16 number, as its bits: fp32 rounded to nearest, ties to even.
struct Bfloat16 {
  uint16_t bits;
};

template <typename Out>
struct Arithmetic {
  using type = Out;
};
template <>
struct Arithmetic<Bfloat16> {
  using type = float;
};

template <typename Out>
IVN_BOTH Out rounded(typename Arithmetic<Out>::type value) {
  return value;
}
template <>
IVN_BOTH Bfloat16 rounded<Bfloat16>(float value) {
#ifdef __CUDA_ARCH__
  // One instruction does the same; NaN alone has other bits.
  uint16_t near;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(near) : "f"(value));
  return {near};
#else
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint32_t near = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  // Rounding up would carry some NaN into infinity or zero.
  return {static_cast<uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : near)};
#endif
}

template <typename In>
IVN_BOTH typename Arithmetic<In>::type widened(In value) {
  return value;
}
template <>
IVN_BOTH float widened<Bfloat16>(Bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// Calls run.operator()<Out>() for the element type `type`.
template <typename Run>
int with_type(int type, const Run& run) {
  switch (type) {
    case IVN_FLOAT32:
      return run(float{});
    case IVN_FLOAT64:
      return run(double{});
    case IVN_BFLOAT16:
      return run(Bfloat16{});
    default:
      return IVN_UNKNOWN_TYPE;
  }
}

// Calls run(Wide{}, Narrow{}) for the element types: the same, or fp32 and bf16.
template <typename Run>
int with_types(int wide, int narrow, const Run& run) {
  if (wide == IVN_FLOAT32 && narrow == IVN_FLOAT32) return run(float{}, float{});
  if (wide == IVN_FLOAT64 && narrow == IVN_FLOAT64) return run(double{}, double{});
  if (wide == IVN_FLOAT32 && narrow == IVN_BFLOAT16) return run(float{}, Bfloat16{});
  if (wide == IVN_BFLOAT16 && narrow == IVN_BFLOAT16) return run(Bfloat16{}, Bfloat16{});
  return IVN_UNKNOWN_TYPE;
}

// Elements that are loaded and stored together, at most 16 bytes at a time.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth < 16 ? sizeof(T) * kWidth : 16) Pack {
  T element[kWidth];
};

}  // namespace ivn
