"""The thread pool, as LLVM IR text; ``threads`` builds it together with the walker.

One word hands out the work: ``@tick`` is generation (32 bits), number of tickets (16), next
ticket (16). A thread takes a ticket by an atomic add, so a late worker is harmless and the caller
never waits for one that has not started. Workers spin for ``@patience`` nanoseconds after the
last ticket, then sleep on the generation. A second caller, and one inside a running job, does its
tickets itself. A waker moves sleeping workers off its own processor; they allow all again.
``@wanted`` workers take part: those beyond it are parked, missing ones are started.
"""

POOL = r"""
@tick = internal global i64 0, align 64
@function = internal global ptr null, align 64
@context = internal global ptr null
@done = internal global i32 0, align 64
@waiting = internal global i32 0, align 64
@sleepers = internal global i32 0, align 64
@busy = internal global i32 0, align 64
@wanted = global i32 0, align 64
@started = global i32 0
@patience = global i64 1000000
@spins = internal global i64 0
@allowed = global [16 x i64] zeroinitializer, align 64
@steered = global i32 0
@tids = internal global [8 x i64] zeroinitializer, align 64
@name = internal constant [10 x i8] c"gristmill\00"
declare i64 @syscall(i64, ...)
declare i32 @sched_getcpu()
declare i32 @clock_gettime(i32, ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare void @llvm.x86.sse2.pause()
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal void @sleep(ptr %word, i32 %value) {
  %r = call i64 (i64, ...) @syscall(i64 202, ptr %word, i64 128, i32 %value, ptr null)
  ret void
}
define internal void @wake(ptr %word, i64 %count) {
  %r = call i64 (i64, ...) @syscall(i64 202, ptr %word, i64 129, i64 %count)
  ret void
}
define internal ptr @worker(ptr %self) {
entry:
  %index = ptrtoint ptr %self to i64
  %index32 = trunc i64 %index to i32
  %tid = call i64 (i64, ...) @syscall(i64 186)
  %named = call i64 (i64, ...) @syscall(i64 157, i64 15, ptr @name)
  %known = icmp ult i64 %index, 8
  br i1 %known, label %note, label %take
note:
  %tid.place = getelementptr i64, ptr @tids, i64 %index
  store i64 %tid, ptr %tid.place
  br label %take
take:
  %wanted = load atomic i32, ptr @wanted monotonic, align 4
  %spare = icmp uge i32 %index32, %wanted
  br i1 %spare, label %park, label %add
park:
  call void @sleep(ptr @wanted, i32 %wanted)
  br label %take
add:
  %old = atomicrmw add ptr @tick, i64 1 acq_rel
  %generation = lshr i64 %old, 32
  %middle = lshr i64 %old, 16
  %count = and i64 %middle, 65535
  %ticket = and i64 %old, 65535
  %any = icmp ult i64 %ticket, %count
  br i1 %any, label %run, label %idle
run:
  %f = load ptr, ptr @function
  %c = load ptr, ptr @context
  call void %f(ptr %c, i64 %ticket)
  %d = atomicrmw add ptr @done, i32 1 seq_cst
  %w = load atomic i32, ptr @waiting seq_cst, align 4
  %asked = icmp ne i32 %w, 0
  br i1 %asked, label %tell, label %take
tell:
  call void @wake(ptr @done, i64 1)
  br label %take
idle:
  %limit = load i64, ptr @spins
  br label %spin
spin:
  %k = phi i64 [0, %idle], [%k.next, %pause]
  %t = load atomic i64, ptr @tick acquire, align 8
  %t.generation = lshr i64 %t, 32
  %changed = icmp ne i64 %t.generation, %generation
  br i1 %changed, label %take, label %pause
pause:
  call void @llvm.x86.sse2.pause()
  %k.next = add i64 %k, 1
  %again = icmp ult i64 %k.next, %limit
  br i1 %again, label %spin, label %rest
rest:
  %s = atomicrmw add ptr @sleepers, i32 1 seq_cst
  %high = getelementptr i8, ptr @tick, i64 4
  %g32 = trunc i64 %generation to i32
  call void @sleep(ptr %high, i32 %g32)
  %s.after = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  %steered = load i32, ptr @steered
  %free = icmp ne i32 %steered, 0
  br i1 %free, label %unpin, label %idle
unpin:
  %u = call i64 (i64, ...) @syscall(i64 203, i64 0, i64 128, ptr @allowed)
  br label %idle
}
define internal i64 @now() {
  %t = alloca [2 x i64]
  %r = call i32 @clock_gettime(i32 1, ptr %t)
  %seconds = load i64, ptr %t
  %p = getelementptr i64, ptr %t, i64 1
  %nanoseconds = load i64, ptr %p
  %n = mul i64 %seconds, 1000000000
  %sum = add i64 %n, %nanoseconds
  ret i64 %sum
}
define internal i64 @pauses() {                    ; nanoseconds that a thousand pauses take
entry:
  %begin = call i64 @now()
  br label %loop
loop:
  %k = phi i64 [0, %entry], [%k.next, %loop]
  call void @llvm.x86.sse2.pause()
  %k.next = add i64 %k, 1
  %again = icmp ult i64 %k.next, 1000
  br i1 %again, label %loop, label %return
return:
  %end = call i64 @now()
  %time = sub i64 %end, %begin
  ret i64 %time
}
define void @tune() {                              ; turn @patience into a number of pauses
  %a = call i64 @pauses()
  %b = call i64 @pauses()
  %least = call i64 @llvm.umin.i64(i64 %a, i64 %b)
  %time = or i64 %least, 1
  %patience = load i64, ptr @patience
  %thousands = mul i64 %patience, 1000
  %spins = udiv i64 %thousands, %time
  store i64 %spins, ptr @spins
  ret void
}
define internal void @grow() {                     ; start the missing workers, signals blocked
entry:
  %mask = alloca [16 x i64]
  %before = alloca [16 x i64]
  %handle = alloca i64
  call void @llvm.memset.p0.i64(ptr %mask, i8 -1, i64 128, i1 false)
  %blocked = call i32 @pthread_sigmask(i32 2, ptr %mask, ptr %before)
  %wanted = load atomic i32, ptr @wanted monotonic, align 4
  %first = load i32, ptr @started
  br label %loop
loop:
  %i = phi i32 [%first, %entry], [%i.next, %made]
  %more = icmp slt i32 %i, %wanted
  br i1 %more, label %make, label %finish
make:
  %index = zext i32 %i to i64
  %self = inttoptr i64 %index to ptr
  %failed = call i32 @pthread_create(ptr %handle, ptr null, ptr @worker, ptr %self)
  %ok = icmp eq i32 %failed, 0
  br i1 %ok, label %made, label %fewer
made:
  %h = load i64, ptr %handle
  %detached = call i32 @pthread_detach(i64 %h)
  %i.next = add i32 %i, 1
  br label %loop
fewer:                                             ; the system gives no more: be content
  store atomic i32 %i, ptr @wanted monotonic, align 4
  br label %finish
finish:
  store i32 %i, ptr @started
  %restored = call i32 @pthread_sigmask(i32 2, ptr %before, ptr null)
  ret void
}
define internal void @steer() {                    ; keep the sleeping workers off this processor
entry:
  %mask = alloca [16 x i64]
  %cpu = call i32 @sched_getcpu()
  %wide = zext i32 %cpu to i64
  %inside = icmp ult i64 %wide, 1024
  br i1 %inside, label %cut, label %return
cut:
  call void @llvm.memcpy.p0.p0.i64(ptr %mask, ptr @allowed, i64 128, i1 false)
  %at = lshr i64 %wide, 6
  %shift = and i64 %wide, 63
  %bit = shl i64 1, %shift
  %rest = xor i64 %bit, -1
  %place = getelementptr i64, ptr %mask, i64 %at
  %old = load i64, ptr %place
  %new = and i64 %old, %rest
  store i64 %new, ptr %place
  %started = load i32, ptr @started
  %some = call i32 @llvm.smin.i32(i32 %started, i32 8)
  br label %loop
loop:
  %i = phi i32 [0, %cut], [%i.next, %next]
  %more = icmp slt i32 %i, %some
  br i1 %more, label %set, label %return
set:
  %tid.place = getelementptr i64, ptr @tids, i32 %i
  %tid = load i64, ptr %tid.place
  %known = icmp ne i64 %tid, 0                     ; 0 would be the caller itself
  br i1 %known, label %push, label %next
push:
  %r = call i64 (i64, ...) @syscall(i64 203, i64 %tid, i64 128, ptr %mask)
  br label %next
next:
  %i.next = add i32 %i, 1
  br label %loop
return:
  ret void
}
define void @adopt() {                             ; in a forked child: no worker came along
  store i32 0, ptr @started
  store i32 0, ptr @sleepers
  store i32 0, ptr @waiting
  store i32 0, ptr @done
  store i64 0, ptr @tick
  call void @llvm.memset.p0.i64(ptr @tids, i8 0, i64 64, i1 false)
  store i32 0, ptr @busy
  ret void
}
define void @resize(i32 %workers) {
  store atomic i32 %workers, ptr @wanted seq_cst, align 4
  call void @wake(ptr @wanted, i64 2147483647)
  ret void
}
define void @parallel(ptr %f, ptr %c, i64 %count) {    ; f(c, ticket) for each ticket < count
entry:
  %lock = cmpxchg ptr @busy, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %lock, 1
  br i1 %mine, label %own, label %serial
serial:
  %j = phi i64 [0, %entry], [%j.next, %serial]
  call void %f(ptr %c, i64 %j)
  %j.next = add i64 %j, 1
  %j.more = icmp ult i64 %j.next, %count
  br i1 %j.more, label %serial, label %return
own:
  %started = load i32, ptr @started
  %wanted = load atomic i32, ptr @wanted monotonic, align 4
  %short = icmp slt i32 %started, %wanted
  br i1 %short, label %hire, label %post
hire:
  call void @grow()
  br label %post
post:
  store i32 0, ptr @done
  store ptr %f, ptr @function
  store ptr %c, ptr @context
  %t = load atomic i64, ptr @tick monotonic, align 8
  %g = lshr i64 %t, 32
  %g.next = add i64 %g, 1
  %g.high = shl i64 %g.next, 32
  %n.high = shl i64 %count, 16
  %word = or i64 %g.high, %n.high
  %before = atomicrmw xchg ptr @tick, i64 %word seq_cst
  %sleepers = load atomic i32, ptr @sleepers seq_cst, align 4
  %asleep = icmp ne i32 %sleepers, 0
  br i1 %asleep, label %rouse, label %take
rouse:
  %steered = load i32, ptr @steered
  %steering = icmp ne i32 %steered, 0
  br i1 %steering, label %move, label %call
move:
  call void @steer()
  br label %call
call:
  %high = getelementptr i8, ptr @tick, i64 4
  %others = sub i64 %count, 1
  call void @wake(ptr %high, i64 %others)
  br label %take
take:
  %old = atomicrmw add ptr @tick, i64 1 acq_rel
  %ticket = and i64 %old, 65535
  %any = icmp ult i64 %ticket, %count
  br i1 %any, label %run, label %join
run:
  call void %f(ptr %c, i64 %ticket)
  %d.own = atomicrmw add ptr @done, i32 1 release
  br label %take
join:
  %limit = load i64, ptr @spins
  %half = lshr i64 %limit, 2
  br label %look
look:
  %k = phi i64 [0, %join], [%k.next, %wait]
  %d = load atomic i32, ptr @done acquire, align 4
  %d.wide = zext i32 %d to i64
  %finished = icmp eq i64 %d.wide, %count
  br i1 %finished, label %unlock, label %wait
wait:
  call void @llvm.x86.sse2.pause()
  %k.next = add i64 %k, 1
  %again = icmp ult i64 %k.next, %half
  br i1 %again, label %look, label %rest
rest:                                              ; a worker lost its processor: sleep
  store atomic i32 1, ptr @waiting seq_cst, align 4
  br label %rest.look
rest.look:
  %e = load atomic i32, ptr @done seq_cst, align 4
  %e.wide = zext i32 %e to i64
  %e.finished = icmp eq i64 %e.wide, %count
  br i1 %e.finished, label %rested, label %doze
doze:
  call void @sleep(ptr @done, i32 %e)
  br label %rest.look
rested:
  store atomic i32 0, ptr @waiting monotonic, align 4
  br label %unlock
unlock:
  store atomic i32 0, ptr @busy release, align 4
  br label %return
return:
  ret void
}
declare i32 @llvm.smin.i32(i32, i32)
"""
