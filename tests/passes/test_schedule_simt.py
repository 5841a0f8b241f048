"""Steps and policies for blocks of threads: small nests as text, and the laws of who owns what."""

import numpy as np
import pytest

from gristmill.codegen.cuda.detect import SM_90
from gristmill.ir.errors import ScheduleError
from gristmill.ir.loops import Kernel, interpret, parse
from gristmill.ir.loops.walk import buffers
from gristmill.passes.schedule.schedule import schedule, take
from gristmill.passes.schedule.simt import schedule_simt
from gristmill.passes.schedule.threads import is_owned, touches, width


def body_of(kernel: Kernel) -> str:
    """The text of the statements, without the indentation of the kernel."""
    lines = str(kernel).splitlines()[1:-1]
    return "\n".join(line[2:] for line in lines)


def same(naive: Kernel, other: Kernel, **shapes: tuple[int, ...]) -> bool:
    rng = np.random.default_rng(0)
    first = {b.name: rng.standard_normal(b.shape).astype(b.dtype.numpy) for b in naive.params}
    second = {name: a.copy() for name, a in first.items()}
    interpret(naive, first)
    interpret(other, second)
    return all(np.allclose(first[n], second[n], 1e-5, 1e-5, equal_nan=True) for n in first)


SUM = parse("""kernel total(in x: f32[6], out y: f32[]) {
  let p: f32[6] in registers
  for i in 6 { p[i] = x[i] }
  for j in 6 { y[] += p[j] from 0 at j }
}""")


def test_publish_copies_for_all_to_see():
    kernel = take(SUM, ("publish", "p", "j"))
    assert (
        body_of(kernel)
        == """\
let p: f32[6] in registers
for i in 6 {
  p[i] = x[i]
}
let p_seen: f32[6] in shared
for p_seen_0 in 6 {
  p_seen[p_seen_0] = p[p_seen_0]
}
for j in 6 {
  y[] += p_seen[j] from 0.0 at j
}"""
    )
    assert same(SUM, kernel)


def test_publish_refuses_what_is_not_read():
    with pytest.raises(ScheduleError, match="nothing to do for loop 'i'"):
        take(SUM, ("publish", "y", "i"))
    with pytest.raises(ScheduleError, match="'p' is written in loop 'i'"):
        take(SUM, ("publish", "p", "i"))
    with pytest.raises(ScheduleError, match="no buffer 'q'"):
        take(SUM, ("publish", "q", "i"))


CLAMPED = """kernel k(in x: f32[6], out y: f32[6]) {{
  for b in 2 {{
    let n: f32[4] in shared
    for f in min(4, -4*b + 6) {{ n[f] = x[4*b + f] }}
    let c: f32[4] in registers
    for i in min(4, -4*b + 6) {{ c[i] = 0.0_f32 }}
    for k in 3 {{ for i in min(4, -4*b + 6) {{ c[i] += {value} }} }}
    for i in min(4, {limit}) {{ y[4*b + i] = c[i] }}
  }}
}}"""


def test_relax_lets_threads_compute_what_nobody_reads():
    naive = parse(CLAMPED.format(value="n[i]", limit="-4*b + 6"))
    kernel = take(naive, ("relax", "i", "c"))
    assert "for k in 3 {\n    for i in 4 {\n      c[i] += n[i]" in body_of(kernel)
    assert str(kernel).count("for i in min(4, -4*b + 6)") == 2
    assert same(naive, kernel)


@pytest.mark.parametrize(
    ("value", "limit", "why"),
    [
        ("x[4*b + i]", "-4*b + 6", "leaves 'x'"),
        ("n[i + 1]", "-4*b + 6", "leaves 'n'"),
        ("n[i]", "-2*b + 4", "'c' is read past the limit"),
    ],
)
def test_relax_refuses_what_could_be_seen(value, limit, why):
    with pytest.raises(ScheduleError, match=why):
        take(parse(CLAMPED.format(value=value, limit=limit)), ("relax", "i", "c"))


def test_synchronize_waits_for_what_others_write():
    kernel = parse("""kernel k(in x: f32[8], out y: f32[8]) {
      block b in 1 {
        let s: f32[8] in shared
        for t in 3 {
          thread i in 8 { s[i] = x[i] }
          thread j in 8 { s[j] = (s[j] + s[j]) }
          thread k in 8 { y[k] = s[7 - k] }
        }
      }
    }""")
    done = take(kernel, ("synchronize",))
    assert (
        body_of(done)
        == """\
block b in 1 {
  let s: f32[8] in shared
  for t in 3 {
    barrier
    thread i in 8 {
      s[i] = x[i]
    }
    thread j in 8 {
      s[j] = (s[j] + s[j])
    }
    barrier
    thread k in 8 {
      y[k] = s[-k + 7]
    }
  }
}"""
    )
    assert take(done, ("synchronize",)) == done


def test_synchronize_asks_nothing_of_a_thread_that_meets_its_own():
    """Elements 8*a + i belong to thread i, whatever a is; a part of 4 per thread does as well."""
    kernel = parse("""kernel k(in x: f32[32], out y: f32[32]) {
      block b in 1 {
        let s: f32[32] in shared
        for a in 4 { thread i in 8 { s[8*a + i] = x[8*a + i] } }
        for c in 4 { thread j in min(8, -8*c + 30) { y[8*c + j] = s[8*c + j] } }
        let p: f32[32] in shared
        thread u in 8 { for v in 4 { p[4*u + v] = 1.0_f32 } }
        for w in 4 { thread z in 8 { p[4*z + w] += 1.0_f32 } }
      }
    }""")
    assert take(kernel, ("synchronize",)) == kernel


@pytest.mark.parametrize(
    ("first", "second", "owned"),
    [
        ("s[8*a + i]", "s[8*a + i + 16]", True),
        ("s[8*a + i]", "s[8*a + i + 1]", False),
        ("s[8*a + i]", "s[4*a + i]", False),
        ("s[4*i + a]", "s[4*i + 3]", True),
        ("s[4*i + a]", "s[3*i + a]", False),
        ("s[2*i + a]", "s[2*i + a]", False),
        ("s[at[i]]", "s[at[i]]", False),
    ],
)
def test_who_owns_an_element(first, second, owned):
    kernel = parse(f"""kernel k(in at: i64[8], out s: f32[99]) {{
      for a in 4 {{ thread i in 8 {{ {first} = 1.0_f32 }} }}
      for a in 4 {{ thread i in 8 {{ {second} = 2.0_f32 }} }}
    }}""")
    group = [t for t in touches(kernel.body, 8, {}, {}) if t.buffer == "s"]
    assert is_owned(group) is owned


def test_width_counts_the_threads_of_a_body():
    kernel = parse("""kernel k(out y: f32[9, 9]) {
      thread i in 4 { thread j in 8 { y[i, j] = 1.0_f32 } }
      for a in 3 { thread i in 5 { y[a, i] = 2.0_f32 } }
    }""")
    assert width(kernel.body) == 32


def test_rows_of_open_length_live_in_the_output():
    naive = parse("""kernel k[n](in x: f32[3, n], out y: f32[3, n]) {
      for r in 3 {
        let e: f32[n] in local
        for j in n { e[j] = exp(x[r, j]) }
        let s: f32[] in registers
        for k in n { s[] += e[k] from 0 at k }
        for l in n { y[r, l] = (e[l] / s[]) }
      }
    }""")
    kernel, steps = schedule_simt(naive, SM_90)
    assert ("reuse", "e", "y") in steps
    assert all(b.memory != "local" for b in buffers(kernel).values())


def test_a_schedule_can_be_replayed():
    naive = parse("""kernel k(in A: f32[20, 30], in B: f32[30, 40], out C: f32[20, 40]) {
      for i in 20 { for j in 40 { for k in 30 { C[i, j] fma= A[i, k] * B[k, j] from 0 at k } } }
    }""")
    kernel, steps = schedule_simt(naive, SM_90)
    assert schedule(naive, steps) == kernel
    assert str(parse(str(kernel))) == str(kernel)


def test_what_no_policy_takes_runs_in_one_thread():
    """Two nests over one axis, of which each stores to two buffers, cannot be told apart."""
    nest = "for i in 9 { y[i] = x[i] z[i] = x[i] }"
    naive = parse(f"kernel k(in x: f32[9], out y: f32[9], out z: f32[9]) {{ {nest} {nest} }}")
    kernel, steps = schedule_simt(naive, SM_90)
    assert steps[0] == ("plain", "two nests run over 'i'")
    assert same(naive, kernel)
