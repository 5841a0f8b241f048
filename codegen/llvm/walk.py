"""The native routine that walks a program table, as LLVM IR text; ``program`` packs the table.

A step is eight words: kind, function (or host index, or slot), first segment (in words from the
table's start), number of segments, grain (slot, offset), scratch (in words from the first slot),
and the nanoseconds of work from here to the program's end (sleeping workers are not woken for
little). A segment is its iterations (slot, offset), the number of its arguments, and those
(slot, offset) each. Before a step runs, ``@prepare`` writes into the scratch words what its
chunks need: function, grain, number of segments, chunks per ticket, chunks; then for each segment
its first chunk, its iterations and the address of its arguments; then the arguments. The pool
counts tickets in 16 bits, so beyond 60000 chunks a ticket is several of them.
"""

END, SERIAL, PARALLEL, HOST, CHECK = range(5)
STEP_WORDS, SEGMENT_WORDS = 8, 3
SCRATCH_WORDS, SCRATCH_SEGMENT_WORDS = 5, 3
LITTLE = 60_000  # nanoseconds of work that are not worth waking a thread for

WALK = r"""
define internal i64 @prepare(ptr %step, ptr %table, ptr %slots) {
entry:
  %step1 = getelementptr i64, ptr %step, i64 1
  %function = load i64, ptr %step1
  %step2 = getelementptr i64, ptr %step, i64 2
  %word = load i64, ptr %step2
  %step3 = getelementptr i64, ptr %step, i64 3
  %count = load i64, ptr %step3
  %step4 = getelementptr i64, ptr %step, i64 4
  %grain.raw = call i64 @value(ptr %step4, ptr %slots)
  %grain = call i64 @llvm.smax.i64(i64 %grain.raw, i64 1)
  %step6 = getelementptr i64, ptr %step, i64 6
  %scratch.at = load i64, ptr %step6
  %scratch = getelementptr i64, ptr %slots, i64 %scratch.at
  store i64 %function, ptr %scratch
  %scratch1 = getelementptr i64, ptr %scratch, i64 1
  store i64 %grain, ptr %scratch1
  %scratch2 = getelementptr i64, ptr %scratch, i64 2
  store i64 %count, ptr %scratch2
  %records = getelementptr i64, ptr %scratch, i64 5
  %arguments = getelementptr [3 x i64], ptr %records, i64 %count
  %segments = getelementptr i64, ptr %table, i64 %word
  %round = sub i64 %grain, 1
  br label %segment
segment:
  %i = phi i64 [0, %entry], [%i.next, %next]
  %total = phi i64 [0, %entry], [%total.next, %next]
  %seg = phi ptr [%segments, %entry], [%seg.next, %next]
  %args = phi ptr [%arguments, %entry], [%args.next, %next]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %fill, label %finish
fill:
  %iterations.raw = call i64 @value(ptr %seg, ptr %slots)
  %iterations = call i64 @llvm.smax.i64(i64 %iterations.raw, i64 0)
  %seg2 = getelementptr i64, ptr %seg, i64 2
  %argc = load i64, ptr %seg2
  %pairs = getelementptr i64, ptr %seg, i64 3
  %record = getelementptr [3 x i64], ptr %records, i64 %i
  store i64 %total, ptr %record
  %record1 = getelementptr i64, ptr %record, i64 1
  store i64 %iterations, ptr %record1
  %record2 = getelementptr i64, ptr %record, i64 2
  store ptr %args, ptr %record2
  br label %argument
argument:
  %k = phi i64 [0, %fill], [%k.next, %copy]
  %k.more = icmp ult i64 %k, %argc
  br i1 %k.more, label %copy, label %next
copy:
  %pair = getelementptr [2 x i64], ptr %pairs, i64 %k
  %argument.value = call i64 @value(ptr %pair, ptr %slots)
  %place = getelementptr i64, ptr %args, i64 %k
  store i64 %argument.value, ptr %place
  %k.next = add i64 %k, 1
  br label %argument
next:
  %rounded = add i64 %iterations, %round
  %chunks = udiv i64 %rounded, %grain
  %total.next = add i64 %total, %chunks
  %seg.next = getelementptr [2 x i64], ptr %pairs, i64 %argc
  %args.next = getelementptr i64, ptr %args, i64 %argc
  %i.next = add i64 %i, 1
  br label %segment
finish:
  %per.less = udiv i64 %total, 60000
  %per = add i64 %per.less, 1
  %scratch3 = getelementptr i64, ptr %scratch, i64 3
  store i64 %per, ptr %scratch3
  %scratch4 = getelementptr i64, ptr %scratch, i64 4
  store i64 %total, ptr %scratch4
  ret i64 %total
}
define internal i64 @value(ptr %pair, ptr %slots) alwaysinline {
  %slot = load i64, ptr %pair
  %pair1 = getelementptr i64, ptr %pair, i64 1
  %offset = load i64, ptr %pair1
  %place = getelementptr i64, ptr %slots, i64 %slot
  %base = load i64, ptr %place
  %sum = add i64 %base, %offset
  ret i64 %sum
}
define internal void @whole(ptr %scratch) {        ; every segment in one call
entry:
  %function = load ptr, ptr %scratch
  %scratch2 = getelementptr i64, ptr %scratch, i64 2
  %count = load i64, ptr %scratch2
  %records = getelementptr i64, ptr %scratch, i64 5
  br label %segment
segment:
  %i = phi i64 [0, %entry], [%i.next, %next]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %look, label %return
look:
  %record = getelementptr [3 x i64], ptr %records, i64 %i
  %record1 = getelementptr i64, ptr %record, i64 1
  %iterations = load i64, ptr %record1
  %any = icmp ne i64 %iterations, 0
  br i1 %any, label %call, label %next
call:
  %record2 = getelementptr i64, ptr %record, i64 2
  %args = load ptr, ptr %record2
  call void %function(ptr %args, i64 0, i64 %iterations)
  br label %next
next:
  %i.next = add i64 %i, 1
  br label %segment
return:
  ret void
}
define internal void @chunks(ptr %scratch, i64 %ticket) {   ; the chunks of one ticket
entry:
  %function = load ptr, ptr %scratch
  %scratch1 = getelementptr i64, ptr %scratch, i64 1
  %grain = load i64, ptr %scratch1
  %scratch2 = getelementptr i64, ptr %scratch, i64 2
  %count = load i64, ptr %scratch2
  %scratch3 = getelementptr i64, ptr %scratch, i64 3
  %per = load i64, ptr %scratch3
  %scratch4 = getelementptr i64, ptr %scratch, i64 4
  %total = load i64, ptr %scratch4
  %records = getelementptr i64, ptr %scratch, i64 5
  %begin = mul i64 %ticket, %per
  %end.far = add i64 %begin, %per
  %end = call i64 @llvm.umin.i64(i64 %end.far, i64 %total)
  br label %chunk
chunk:
  %c = phi i64 [%begin, %entry], [%c.next, %call]
  %c.more = icmp ult i64 %c, %end
  br i1 %c.more, label %search, label %return
search:                                            ; the last segment whose first chunk is <= c
  %low = phi i64 [0, %chunk], [%low.next, %halve]
  %high = phi i64 [%count, %chunk], [%high.next, %halve]
  %width = sub i64 %high, %low
  %wide = icmp ugt i64 %width, 1
  br i1 %wide, label %halve, label %call
halve:
  %sum = add i64 %low, %high
  %middle = lshr i64 %sum, 1
  %middle.record = getelementptr [3 x i64], ptr %records, i64 %middle
  %middle.first = load i64, ptr %middle.record
  %before = icmp ule i64 %middle.first, %c
  %low.next = select i1 %before, i64 %middle, i64 %low
  %high.next = select i1 %before, i64 %high, i64 %middle
  br label %search
call:
  %record = getelementptr [3 x i64], ptr %records, i64 %low
  %first = load i64, ptr %record
  %record1 = getelementptr i64, ptr %record, i64 1
  %iterations = load i64, ptr %record1
  %record2 = getelementptr i64, ptr %record, i64 2
  %args = load ptr, ptr %record2
  %index = sub i64 %c, %first
  %lo = mul i64 %index, %grain
  %hi.far = add i64 %lo, %grain
  %hi = call i64 @llvm.umin.i64(i64 %hi.far, i64 %iterations)
  call void %function(ptr %args, i64 %lo, i64 %hi)
  %c.next = add i64 %c, 1
  br label %chunk
return:
  ret void
}
define i64 @walk(ptr %table, i64 %first, ptr %slots) {   ; the index of the step it stopped at
entry:
  br label %loop
loop:
  %i = phi i64 [%first, %entry], [%i.next, %next]
  %step = getelementptr [8 x i64], ptr %table, i64 %i
  %kind = load i64, ptr %step
  switch i64 %kind, label %return [i64 1, label %run  i64 2, label %run  i64 4, label %check]
run:
  %total = call i64 @prepare(ptr %step, ptr %table, ptr %slots)
  %step6 = getelementptr i64, ptr %step, i64 6
  %scratch.at = load i64, ptr %step6
  %scratch = getelementptr i64, ptr %slots, i64 %scratch.at
  %may = icmp eq i64 %kind, 2
  %many = icmp ugt i64 %total, 1
  %wanted = load atomic i32, ptr @wanted monotonic, align 4
  %crowd = icmp sgt i32 %wanted, 0
  %both = and i1 %may, %many
  %share = and i1 %both, %crowd
  br i1 %share, label %weigh, label %alone
weigh:                                             ; waking costs more than a little work saves
  %step7 = getelementptr i64, ptr %step, i64 7
  %work = load i64, ptr %step7
  %little = icmp ult i64 %work, LITTLE
  %started = load i32, ptr @started
  %here = call i32 @llvm.smin.i32(i32 %started, i32 %wanted)
  %sleepers = load atomic i32, ptr @sleepers monotonic, align 4
  %asleep = icmp sge i32 %sleepers, %here
  %leave = and i1 %little, %asleep
  br i1 %leave, label %alone, label %spread
spread:
  %scratch3 = getelementptr i64, ptr %scratch, i64 3
  %per = load i64, ptr %scratch3
  %round = sub i64 %per, 1
  %rounded = add i64 %total, %round
  %tickets = udiv i64 %rounded, %per
  call void @parallel(ptr @chunks, ptr %scratch, i64 %tickets)
  br label %next
alone:
  call void @whole(ptr %scratch)
  br label %next
check:
  %step1 = getelementptr i64, ptr %step, i64 1
  %mailbox.at = call i64 @value(ptr %step1, ptr %slots)
  %mailbox = inttoptr i64 %mailbox.at to ptr
  %letter = load i64, ptr %mailbox
  %clear = icmp eq i64 %letter, 0
  br i1 %clear, label %next, label %return
next:
  %i.next = add i64 %i, 1
  br label %loop
return:
  ret i64 %i
}
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
""".replace("LITTLE", str(LITTLE))
