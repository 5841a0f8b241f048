"""What compiled code promises of a process: the same bits in all of them, and nothing left behind or changed."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gristmill as gm
from gristmill.codegen import kernels
from gristmill.codegen.detect import host

ROOT = Path(__file__).resolve().parents[2]
TRAINING = """
import hashlib
import numpy as np
import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn, optim

gm.manual_seed(5)
net = nn.Sequential(nn.Linear(300, 257), nn.ReLU(), nn.Dropout(0.3), nn.Linear(257, 10))
opt = optim.Adam(net.parameters(), lr=1e-3)

@gm.compile
def step(x, y):
    opt.zero_grad()
    logits = net(x)
    loss = F.cross_entropy(logits, y) + 1e-3 * logits.softmax(1).tanh().sum()
    loss.backward()
    opt.step()
    return loss, logits.exp().mean(0).detach()

found = hashlib.sha256()
for i, n in enumerate((128, 128, 77, 128, 200)):
    rng = np.random.default_rng(i)
    x = gm.tensor(rng.standard_normal((n, 300)).astype(np.float32))
    loss, means = step(x, gm.tensor(rng.integers(0, 10, n)))
    found.update(loss.detach().numpy().tobytes() + means.numpy().tobytes())
for p in net.parameters():
    found.update(p.detach().numpy().tobytes() + p.grad.numpy().tobytes())
print(found.hexdigest(), len(step.log))
"""


def test_threads_caches_and_processes(tmp_path: Path) -> None:
    """One and two threads (and three, on whatever there is), each cold and warm, in a process each."""
    seen = set()
    for folder in ("a", "b"):
        for threads in ("1", "2", "2", "3"):
            switches = {
                "GRISTMILL_CACHE_DIR": str(tmp_path / folder),
                "GRISTMILL_THREADS": threads,
                "GRISTMILL_CACHE": "on",
                "PYTHONPATH": str(ROOT),
            }
            done = subprocess.run(
                [sys.executable, "-c", TRAINING],
                env={**os.environ, **switches}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            seen.add(done.stdout.strip())
    assert len(seen) == 1 and seen.pop().endswith(" 2")


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("count", [100, pytest.param(5000, marks=pytest.mark.full)])
def test_functions_that_are_dropped_leave_memory_flat(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a kernel of its own, built by LLVM and mapped, and goes with its function."""
    monkeypatch.setenv("GRISTMILL_CACHE", "off")
    x = gm.ones(40)

    def once(k: int) -> None:
        def f(x: gm.Tensor) -> gm.Tensor:
            return (x * gm.full((40,), float(k))).tanh().sum()

        compiled = gm.compile(f)
        assert compiled(x).item() == pytest.approx(40 * np.tanh(float(k)))

    for k in range(30):
        once(-k - 1)
    gc.collect()
    before, built, alive = resident(), kernels.stats()["built"], kernels.stats()["alive"]
    for k in range(count):
        once(k)
    gc.collect()
    assert kernels.stats()["built"] - built >= count
    assert kernels.stats()["alive"] <= alive
    assert resident() - before < (50 << 20) * count / 5000 + (4 << 20)


CONTROL = """
declare void @llvm.x86.sse.stmxcsr(ptr)
define i32 @control() {
  %p = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  %v = load i32, ptr %p
  ret i32 %v
}
"""


def test_the_float_control_register_stays() -> None:
    """Compiling, running and differentiating change no mode; denormals are still numbers, eagerly and compiled."""
    code = kernels.find([CONTROL], host(), lambda: CONTROL)
    control = ctypes.CFUNCTYPE(ctypes.c_uint32)(code.address("control"))
    modes = ~0x3F  # the low bits are sticky flags
    before = control() & modes
    tiny = gm.tensor(np.full(5000, 1e-40, np.float32))
    f = gm.compile(gm.grad(lambda x: (x * x.exp() / 3).sum()))
    want = gm.grad(lambda x: (x * x.exp() / 3).sum())(tiny)
    np.testing.assert_allclose(f(tiny).numpy(), want.numpy(), rtol=1e-6)
    half = gm.compile(lambda x: x * 0.5)(tiny)
    assert control() & modes == before
    assert (half.numpy() == np.float32(1e-40) * np.float32(0.5)).all() and half.numpy()[0] != 0
