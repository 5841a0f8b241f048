"""The emulator itself: it runs right kernels under both schedules, and sees what is wrong with others."""

import cuda_emulator as emulator
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing())

ROW_SUMS = """
extern "C" __global__ void row_sums(const float* x, float* out, long long n) {
  __shared__ float part[4];
  float s = 0.0f;
  for (long long j = threadIdx.x; j < n; j += blockDim.x) s += x[blockIdx.x * n + j];
  for (int d = 16; d > 0; d >>= 1) s += __shfl_xor_sync(0xffffffffu, s, d);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = part[0] + part[1] + part[2] + part[3];
}
"""


def row_sums(text: str, seed: int) -> bool:
    """Whether the kernel gives the sums of whole numbers."""
    x = emulator.guarded(np.arange(3 * 300, dtype=np.float32).reshape(3, 300))
    out = emulator.guarded(np.zeros(3, np.float32))
    emulator.launch(text, "row_sums", 3, 128, [x, out, 300], seed)
    return bool((out == x.sum(1)).all())


@pytest.mark.parametrize("seed", [0, 1, 2, *emulator.SEEDS])
def test_a_right_kernel_runs(seed):
    assert row_sums(ROW_SUMS, seed)


def test_a_missing_barrier_shows():
    broken = ROW_SUMS.replace("  __syncthreads();\n", "")
    assert not all(row_sums(broken, seed) for seed in emulator.SEEDS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  __syncthreads();", "  if (threadIdx.x < 64) __syncthreads();", "have returned"),
        ("0xffffffffu, s, d", "0x0000ffffu, s, d", "leaves it out"),
        ("j < n;", "j < 4 * n;", "illegal address"),
        ("  float s", "  if (threadIdx.x == 5) return;\n  float s", "lane that has returned"),
    ],
)
def test_what_is_wrong_is_said(old, new, message):
    assert old in ROW_SUMS
    with pytest.raises(emulator.LaunchError, match=message):
        row_sums(ROW_SUMS.replace(old, new), 3)


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(RuntimeError, match="g\\+\\+ refuses"):
        emulator.build('extern "C" __global__ void broken(float* x) { x[0] = y; }')
