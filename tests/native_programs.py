"""Kernels that programs of the tests call, and processes that run such programs: what the tests of walkers share."""

import os
import subprocess
import sys
import textwrap

# add: p[i] += by; wait: a while of pauses, then p[i] += 1; control: the float control register
TEXT = """
define void @add(ptr %args, i64 %lo, i64 %hi) {
entry:
  %p = load ptr, ptr %args
  %args1 = getelementptr i64, ptr %args, i64 1
  %by = load i64, ptr %args1
  br label %loop
loop:
  %i = phi i64 [%lo, %entry], [%i.next, %loop]
  %place = getelementptr i64, ptr %p, i64 %i
  %x = load i64, ptr %place
  %y = add i64 %x, %by
  store i64 %y, ptr %place
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %hi
  br i1 %more, label %loop, label %return
return:
  ret void
}
define void @spans(ptr %args, i64 %lo, i64 %hi) {
  %p = load ptr, ptr %args
  %place = getelementptr i64, ptr %p, i64 %lo
  store i64 %hi, ptr %place
  ret void
}
define void @thread(ptr %args, i64 %lo, i64 %hi) {
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i.next, %loop]
  call void @llvm.x86.sse2.pause()
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, 4000
  br i1 %more, label %loop, label %return
return:
  %p = load ptr, ptr %args
  %place = getelementptr i64, ptr %p, i64 %lo
  %tid = call i64 (i64, ...) @syscall(i64 186)
  store i64 %tid, ptr %place
  ret void
}
define i32 @control() {
  %p = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  %v = load i32, ptr %p
  ret i32 %v
}
declare i64 @syscall(i64, ...)
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
"""


def run(script, **more):
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": top, **more}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
