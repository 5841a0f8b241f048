"""From loop nests to running code: emit text, build it, cache it, own memory, run programs.

``detect.host`` is the target at hand, ``kernels.find`` the way from text to code (in memory, on
disk, or built by ``llvm.build`` and mapped by ``llvm.load``), ``memory.allocate`` gives blocks,
``program.Program`` runs steps on the threads of ``llvm.threads``, ``cache`` keeps the disk tidy.
"""
