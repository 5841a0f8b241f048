// CUDA C on a processor: every thread of a block is a fiber; barriers and warp collectives are
// where another one goes on. Blocks run one after another. x86-64 only, for the sake of emu_switch.
#include "emu.h"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>
#include <sys/mman.h>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

extern "C" void emu_switch(void** save, void* load) __attribute__((visibility("hidden")));
asm(".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
extern "C" char __start_emu_shared[] __attribute__((weak));
extern "C" char __stop_emu_shared[] __attribute__((weak));

namespace emu {

constexpr size_t STACK = 128 << 10;
constexpr size_t MOST_THREADS = 1024;

struct Fiber {
  void* sp;
  State state;
  uint3 thread;
  unsigned lane, mask, parity;
  int line;
};

static char* stacks;
static std::vector<Fiber> fibers;
static std::vector<Slot> slots;  // slots[parity][thread]: a warp may be one collective ahead
static Fiber* current;
static void* home;
static void (*body)(void*);
static void* body_data;
static char message[512];
static sigjmp_buf escape;

static void explain(const char* what, int line, uint3 thread) {
  snprintf(message, sizeof message, "%s (line %d, block %u, thread %u)", what, line, blockIdx.x, thread.x);
}
[[noreturn]] void fail(const char* what, int line) {
  explain(what, line, threadIdx);
  siglongjmp(escape, 1);
}
[[noreturn]] static void fail(const char* what, const Fiber& at) {
  explain(what, at.line, at.thread);
  siglongjmp(escape, 1);
}

// ---- what a fiber calls ----

static void wait(State state, unsigned mask, int line) {
  current->state = state;
  current->mask = mask;
  current->line = line;
  emu_switch(&current->sp, home);
}
unsigned lane() { return current->lane; }
Slot* slot_of(unsigned lane) {
  size_t me = current - fibers.data();
  return &slots[current->parity * fibers.size() + (me & ~size_t(31)) + lane];
}
void sync_block(int line) { wait(BLOCK, 0, line); }
void meet(const void* value, size_t size, unsigned mask, int line) {
  if (!(mask >> current->lane & 1)) fail("a lane calls a collective whose mask leaves it out", line);
  current->parity ^= 1;
  memcpy(slot_of(current->lane)->bytes, value, size);
  wait(WARP, mask, line);
}
static void begin() {
  body(body_data);
  current->state = DONE;
  emu_switch(&current->sp, home);
  abort();
}

// ---- who may go on ----

static bool all_wait(size_t base, const Fiber& f) {
  for (unsigned l = 0; l < 32; l++) {
    if (!(f.mask >> l & 1)) continue;
    if (base + l >= fibers.size()) fail("a mask names a lane that the block does not have", f);
    const Fiber& other = fibers[base + l];
    if (other.state == DONE) fail("a mask names a lane that has returned", f);
    if (other.state != WARP || other.mask != f.mask || other.line != f.line) return false;
  }
  return true;
}
static bool release_warp(size_t base) {
  bool moved = false;
  for (size_t i = base; i < fibers.size() && i < base + 32; i++) {
    if (fibers[i].state != WARP || !all_wait(base, fibers[i])) continue;
    unsigned mask = fibers[i].mask;
    for (unsigned l = 0; l < 32; l++) if (mask >> l & 1) fibers[base + l].state = RUN;
    moved = true;
  }
  return moved;
}
static bool release_block() {
  const Fiber* first = nullptr;
  for (const Fiber& f : fibers) if (f.state == BLOCK && !first) first = &f;
  if (!first) return false;
  for (const Fiber& f : fibers) {
    if (f.state == WARP) fail("waits in a collective that other lanes never reach", f);
    if (f.state == DONE) fail("waits at a barrier, while other threads have returned", *first);
    if (f.line != first->line) fail("waits at another barrier than the rest of its block", f);
  }
  for (Fiber& f : fibers) f.state = RUN;
  return true;
}

// ---- one block ----

static unsigned random_state;
static unsigned draw(unsigned below) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % below;
}
template <class T> static void arrange(T* order, unsigned n, unsigned seed) {
  for (unsigned k = 0; k < n; k++) order[k] = T(seed & 1 ? n - 1 - k : k);
  if (seed & 4) for (unsigned k = n; k > 1; k--) std::swap(order[k - 1], order[draw(k)]);
}
static void prepare(Fiber& f, size_t i) {
  void** top = (void**)(stacks + (i + 1) * STACK);
  top[-2] = (void*)begin;
  for (int k = 3; k <= 8; k++) top[-k] = nullptr;
  f.sp = top - 8;
  f.state = RUN;
  f.parity = 0;
}
static bool run_warp(size_t base, const unsigned char* lanes) {
  bool ran = false;
  for (int k = 0; k < 32; k++) {
    size_t i = base + lanes[k];
    if (i >= fibers.size() || fibers[i].state != RUN) continue;
    current = &fibers[i];
    threadIdx = current->thread;
    ran = true;
    emu_switch(&home, current->sp);
  }
  return ran;
}
static void run_block(unsigned seed) {
  unsigned char lanes[32];
  unsigned order[MOST_THREADS / 32], warps = unsigned((fibers.size() + 31) / 32);
  if (__start_emu_shared) memset(__start_emu_shared, 0xFF, __stop_emu_shared - __start_emu_shared);
  for (size_t i = 0; i < fibers.size(); i++) prepare(fibers[i], i);
  arrange(lanes, 32, seed);
  arrange(order, warps, seed);
  for (;;) {
    bool ran = false;
    for (unsigned w = 0; w < warps; w++) {
      size_t base = size_t(order[w]) * 32;
      while (run_warp(base, lanes) | release_warp(base)) {
        ran = true;
        if (!(seed & 2)) break;
      }
    }
    if (!ran && !release_block()) break;
  }
  for (const Fiber& f : fibers) if (f.state != DONE) fail("waits for lanes that never come", f);
}
static void on_fault(int, siginfo_t* info, void*) {
  snprintf(message, sizeof message, "illegal address %p (block %u, thread %u)", info->si_addr,
           blockIdx.x, threadIdx.x);
  siglongjmp(escape, 2);
}

// ``dims``: the grid's and the block's sizes. Schedules are the bits of ``seed``: 1, warps and
// lanes in descending order; 2, a warp runs as far as it can before the next; 4, shuffled.
int launch(void (*kernel)(void*), void* data, const unsigned* dims, unsigned seed) {
  size_t threads = size_t(dims[3]) * dims[4] * dims[5];
  message[0] = 0;
  if (threads == 0 || threads > MOST_THREADS) {
    snprintf(message, sizeof message, "a block of %zu threads", threads);
    return 3;
  }
  if (!stacks) {
    stacks = (char*)mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  static std::vector<char> other_stack(1 << 16);
  stack_t on{other_stack.data(), 0, other_stack.size()}, stack_before;
  struct sigaction act{}, before;
  act.sa_sigaction = on_fault;
  act.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaltstack(&on, &stack_before);
  sigaction(SIGSEGV, &act, &before);
  gridDim = {dims[0], dims[1], dims[2]};
  blockDim = {dims[3], dims[4], dims[5]};
  body = kernel;
  body_data = data;
  random_state = seed * 2654435761u + 1;
  fibers.assign(threads, Fiber{});
  slots.assign(2 * threads, Slot{});
  for (size_t i = 0; i < threads; i++) {
    unsigned t = unsigned(i);
    fibers[i].thread = {t % dims[3], t / dims[3] % dims[4], t / dims[3] / dims[4]};
    fibers[i].lane = t % 32;
  }
  int code = sigsetjmp(escape, 1);
  if (code == 0)
    for (unsigned z = 0; z < dims[2]; z++)
      for (unsigned y = 0; y < dims[1]; y++)
        for (unsigned x = 0; x < dims[0]; x++) {
          blockIdx = {x, y, z};
          run_block(seed);
        }
  sigaction(SIGSEGV, &before, nullptr);
  sigaltstack(&stack_before, nullptr);
  return code;
}

}  // namespace emu

extern "C" __attribute__((visibility("default"))) const char* emu_message() { return emu::message; }
