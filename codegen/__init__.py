"""From loop nests to running code: emit text, build it, cache it, own memory, run programs."""
