"""The figures that the compiler is held to, each measured beside its limit and its peers.

Other libraries' thread pools read their sizes when they are loaded, so those are set here.
"""

import os

THREADS = min(2, len(os.sched_getaffinity(0)))

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(pool, str(THREADS))
