// CUDA C on a processor: what a kernel's text meets in the place of the CUDA headers.
// It includes no C++ library headers, so that a kernel compiles in a tenth of a second.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__ inline
#define __launch_bounds__(...)
// Every shared array of a text lies in one section, which the runtime spoils before each block.
#define __shared__ static __attribute__((section("emu_shared"), aligned(128)))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace emu {

enum State { RUN, BLOCK, WARP, DONE };
struct alignas(16) Slot { unsigned char bytes[16]; };

unsigned lane();
Slot* slot_of(unsigned lane);
void sync_block(int line);
void meet(const void* value, size_t size, unsigned mask, int line);
[[noreturn]] void fail(const char* what, int line);
int launch(void (*kernel)(void*), void* data, const unsigned* dims, unsigned seed);

template <class T> T shuffle(unsigned mask, T value, unsigned from, int line) {
  meet(&value, sizeof value, mask, line);
  if (!(mask >> from & 1)) fail("shuffle reads a lane outside its mask", line);
  T out;
  memcpy(&out, slot_of(from)->bytes, sizeof out);
  return out;
}

// Parameters lie packed as the driver takes them: each at its natural alignment.
template <class... A> struct Offsets {
  size_t at[sizeof...(A) + 1];
  constexpr Offsets() : at{} {
    const size_t sizes[] = {sizeof(A)..., 0}, aligns[] = {alignof(A)..., 1};
    for (size_t i = 0, p = 0; i < sizeof...(A); p += sizes[i++])
      at[i] = p = (p + aligns[i] - 1) / aligns[i] * aligns[i];
  }
};

template <size_t... I> struct Numbers {};
template <class... A> struct Call { void (*kernel)(A...); const char* arguments; };
template <class... A, size_t... I> void apply(const Call<A...>& call, Numbers<I...>) {
  constexpr Offsets<A...> offsets;
  call.kernel(*(const A*)(call.arguments + offsets.at[I])...);
}
template <class... A> void invoke(void* call) {
  apply(*(Call<A...>*)call, Numbers<__integer_pack(sizeof...(A))...>{});
}
template <class... A>
int enter(void (*kernel)(A...), const char* arguments, const unsigned* dims, unsigned seed) {
  Call<A...> call{kernel, arguments};
  return launch(invoke<A...>, &call, dims, seed);
}

}  // namespace emu

// The line a collective stands on: where threads that wait for each other must agree.
#define EMU_LINE int line = __builtin_LINE()

inline void __syncthreads(EMU_LINE) { emu::sync_block(line); }
inline void __syncwarp(unsigned mask = ~0u, EMU_LINE) { char none = 0; emu::meet(&none, 1, mask, line); }
template <class T> T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMU_LINE) {
  return emu::shuffle(mask, value, (emu::lane() & ~(width - 1)) | (from & (width - 1)), line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, EMU_LINE) {
  unsigned me = emu::lane(), other = me ^ with;
  bool beyond = (other & ~(width - 1)) > (me & ~(width - 1));
  return emu::shuffle(mask, value, beyond ? me : other, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMU_LINE) {
  unsigned me = emu::lane();
  return emu::shuffle(mask, value, (me & (width - 1)) + by < unsigned(width) ? me + by : me, line);
}

inline int __float_as_int(float x) { int bits; memcpy(&bits, &x, 4); return bits; }
inline float __int_as_float(int bits) { float x; memcpy(&x, &bits, 4); return x; }
inline long long __double_as_longlong(double x) { long long bits; memcpy(&bits, &x, 8); return bits; }
inline double __longlong_as_double(long long bits) { double x; memcpy(&x, &bits, 8); return x; }

struct __half { unsigned short bits; };
struct __nv_bfloat16 { unsigned short bits; };
inline float __half2float(__half h) { _Float16 x; memcpy(&x, &h, 2); return float(x); }
inline __half __float2half(float f) { _Float16 x = (_Float16)f; __half h; memcpy(&h, &x, 2); return h; }
inline __half __double2half(double f) { _Float16 x = (_Float16)f; __half h; memcpy(&h, &x, 2); return h; }
inline short __half_as_short(__half h) { return short(h.bits); }
inline __half __short_as_half(short bits) { return {(unsigned short)bits}; }
inline short __bfloat16_as_short(__nv_bfloat16 b) { return short(b.bits); }
inline __nv_bfloat16 __short_as_bfloat16(short bits) { return {(unsigned short)bits}; }
inline float __bfloat162float(__nv_bfloat16 b) { return __int_as_float(int(unsigned(b.bits) << 16)); }
inline __nv_bfloat16 __float2bfloat16(float f) {
  unsigned u = unsigned(__float_as_int(f));
  if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {(unsigned short)((u + 0x7fffu + (u >> 16 & 1)) >> 16)};
}

#define EMU_ENTRY(name) \
  extern "C" __attribute__((visibility("default"))) \
  int name##__emu(const char* arguments, const unsigned* dims, unsigned seed) { \
    return emu::enter(name, arguments, dims, seed); \
  }
