"""What machine code the writer's text becomes where speed depends on it."""

import re

import pytest

from gristmill.codegen.detect import level
from gristmill.codegen.llvm.build import assembly
from gristmill.codegen.llvm.write import write
from gristmill.ir.loops import Kernel, parse
from gristmill.ir.target import Target
from gristmill.passes.schedule.policy import schedule_kernel

MATMUL = """kernel matmul(in A: f32[512, 512], in B: f32[512, 512], out C: f32[512, 512]) {
  for i in 512 { for j in 512 { for k in 512 { C[i, j] fma= A[i, k] * B[k, j] from 0 at k } } }
}"""
TILE = """kernel tile(in A: f32[512, 16], in B: f32[512, 64], out C: f32[16, 64]) {
  let t: f32[16, 64] in registers
  unrolled i in 16 { unrolled u in 4 { vector v in 16 { t[i, 16*u + v] = 0.0_f32 } } }
  for k in 512 {
    unrolled i1 in 16 { unrolled u1 in 4 { vector v1 in 16 { t[i1, 16*u1 + v1] fma= A[k, i1] * B[k, 16*u1 + v1] } } }
  }
  unrolled i2 in 16 { unrolled u2 in 4 { vector v2 in 16 { C[i2, 16*u2 + v2] = t[i2, 16*u2 + v2] } } }
}"""


def products_and_spills(kernel: Kernel, target: Target) -> tuple[int, int]:
    """Of the innermost loop with the most products: these, and instructions that use the stack."""
    lines = assembly(write(kernel, target).text, target).splitlines()
    start = {line[:-1]: n for n, line in enumerate(lines) if re.match(r"\.\w+:", line)}
    found = [(0, 0)]
    for n, line in enumerate(lines):
        back = re.match(r"\s+j\w+\s+(\.\w+)", line)
        first = start.get(back[1], n) if back else n
        body = lines[first + 1 : n]
        if not any(re.match(r"\.\w+:", b) for b in body):
            products = sum(bool(re.search(r"\s(vfmadd\w*|v?mulps)\s", b)) for b in body)
            found.append((products, sum(bool(re.search(r"%r[sb]p", b)) for b in body)))
    return max(found)


@pytest.mark.parametrize("name, least", [("x86-64-v4", 16), ("x86-64-v3", 8), ("x86-64", 8)])
def test_the_tile_of_a_product_stays_in_registers(name: str, least: int) -> None:
    target = level(name)
    products, spills = products_and_spills(schedule_kernel(parse(MATMUL), target)[0], target)
    assert products >= least
    assert spills == 0


def test_a_tile_that_is_too_large_is_seen_to_spill() -> None:
    products, spills = products_and_spills(parse(TILE), level("x86-64-v4"))
    assert products == 64
    assert spills > 0


EXP = """kernel map(in x: f32[64], out y: f32[64]) {
  for i in 64 { y[i] = exp(x[i]) }
}"""
LARGEST = """kernel full(in x: f32[4096], out y: f32[]) {
  for i in 4096 { y[] max= x[i] from -inf at i }
}"""


def listing(text: str, name: str) -> str:
    target = level(name)
    return assembly(write(schedule_kernel(parse(text), target)[0], target).text, target)


def test_powers_of_two_are_scaled_at_once_where_the_machine_can() -> None:
    assert "vscalefps" in listing(EXP, "x86-64-v4")
    assert "scalef" not in listing(EXP, "x86-64-v3")


def test_a_step_of_a_maximum_waits_for_no_sign() -> None:
    """LLVM's own ``maximum`` moves signs to a mask and back before it compares: twice as long a chain."""
    text = listing(LARGEST, "x86-64-v4")
    assert "vmaxps" in text and "vpmovd2m" not in text
