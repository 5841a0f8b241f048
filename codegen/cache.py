"""The disk cache of built kernels: one verified file per entry, in a folder only the user owns.

What lies there is mapped as code, so nothing is believed: the folder must be the user's and
closed to others, an entry a regular file of ours whose key, length and SHA-256 agree. Anything
else is a miss. Entries are written aside and renamed, so that several processes may share.
"""

import contextlib
import errno
import functools
import hashlib
import importlib.util
import itertools
import os
import stat
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from .forks import held_at_fork

_MAGIC = b"GRSTML02"
_HEADER = struct.Struct("<8s32s32sQ")  # magic, key, SHA-256 of the payload, its length
_LARGEST = 256 << 20
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_OPEN_FOLDER = _OPEN | os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_STALE = 3600.0  # seconds after which a file written aside was left by a process that died
_serial = itertools.count()
_evicting = held_at_fork(threading.Lock(), "evict")


class Cache:
    """A folder of entries, least recently used first out. No method raises for what is on disk."""

    def __init__(self, folder: str | os.PathLike[str], limit: int = 1 << 30) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self._counts = {"hits": 0, "misses": 0, "writes": 0, "evictions": 0}
        self._handle: int | None = None
        self._grown = 0
        self._told = False
        self._open()

    def _open(self) -> None:
        """Make and open the folder, or warn once and stay without."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            handle = os.open(self.folder, _OPEN_FOLDER)
        except OSError as error:
            return self._refuse(error.strerror or str(error))
        status = os.fstat(handle)
        if status.st_uid != os.geteuid():
            wrong = f"it belongs to user {status.st_uid}, not to {os.geteuid()}"
        elif status.st_mode & 0o077:
            wrong = f"others may enter it (mode {stat.S_IMODE(status.st_mode):o}, expected 700)"
        else:
            self._handle = handle
            self._grown = self.limit  # the first write looks how full the folder is
            return
        os.close(handle)
        self._refuse(wrong)

    def _refuse(self, why: str) -> None:
        warnings.warn(
            f"gristmill works without its cache: {self.folder} is not used, {why}. "
            f"Put it right, or name another folder by GRISTMILL_CACHE_DIR.",
            RuntimeWarning,
            stacklevel=2,
        )

    def _cannot_write(self, error: OSError) -> None:
        """Say it once; a folder that somebody removed meanwhile is no trouble."""
        if error.errno == errno.ENOENT or self._told:
            return
        self._told = True
        warnings.warn(
            f"gristmill cannot store kernels in {self.folder} ({error.strerror}): every process will build them "
            f"anew. Make room there, or name another folder by GRISTMILL_CACHE_DIR.",
            RuntimeWarning,
            stacklevel=2,
        )

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            os.close(self._handle)  # type: ignore[arg-type]

    def read(self, key: str) -> bytes | None:
        """The payload stored under a key, or None."""
        found = self._entry(key)
        self._counts["misses" if found is None else "hits"] += 1
        return found

    def _entry(self, key: str) -> bytes | None:
        """An entry's payload, verified; one of ours that is wrong is removed."""
        if self._handle is None:
            return None
        try:
            handle = os.open(key, os.O_RDONLY | os.O_NONBLOCK | _OPEN, dir_fd=self._handle)
        except OSError:
            return None
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return None
            data = _read_all(handle, status.st_size) if status.st_size <= _LARGEST else b""
            found = _verify(key, data)
            if found is None:
                self._remove(key)
            else:
                os.utime(handle)
            return found
        except OSError:
            return None
        finally:
            os.close(handle)

    def write(self, key: str, payload: bytes) -> None:
        """Store a payload under a key, for other processes to find whole or not at all."""
        if self._handle is None:
            return
        digest = hashlib.sha256(payload).digest()
        data = _HEADER.pack(_MAGIC, bytes.fromhex(key), digest, len(payload)) + payload
        if len(data) > min(_LARGEST, self.limit):
            return
        aside = f".{key}.{os.getpid()}.{next(_serial)}"
        try:
            self._write_aside(aside, data)
            os.rename(aside, key, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except OSError as error:
            self._remove(aside)
            self._cannot_write(error)
            return
        self._counts["writes"] += 1
        self._grown += len(data)
        if self._grown > self.limit // 16:
            self.evict()

    def _write_aside(self, name: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN
        handle = os.open(name, flags, 0o600, dir_fd=self._handle)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)

    def evict(self) -> None:
        """Remove the entries used longest ago until the folder is within its limit.

        Another process may remove the same files at the same time, or be reading them: both
        are harmless.
        """
        with _evicting:
            self._grown = 0
            entries, total = [], 0
            for name, status in self._files():
                if name.startswith("."):
                    if time.time() - status.st_mtime > _STALE:
                        self._remove(name)
                    continue
                entries.append((status.st_mtime_ns, name, status.st_size))
                total += status.st_size
            if total <= self.limit:
                return
            for _, name, size in sorted(entries):
                if total <= self.limit - self.limit // 8:
                    break
                self._remove(name)
                self._counts["evictions"] += 1
                total -= size

    def clear(self) -> None:
        """Remove every entry."""
        for name, _ in self._files():
            self._remove(name)

    def stats(self) -> dict[str, int]:
        """Hits, misses, writes and evictions of this process; entries and bytes on disk."""
        sizes = [s.st_size for name, s in self._files() if not name.startswith(".")]
        return {**self._counts, "entries": len(sizes), "bytes": sum(sizes)}

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        if self._handle is None:
            return
        for name in os.listdir(self._handle):
            try:
                status = os.stat(name, dir_fd=self._handle, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield name, status

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._handle)


def _read_all(handle: int, size: int) -> bytes:
    """At most ``size`` bytes; a file that grows meanwhile is no entry of ours."""
    parts = []
    while size > 0 and (part := os.read(handle, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _verify(key: str, data: bytes) -> bytes | None:
    """The payload of an entry, if all of it is as it was written."""
    if len(data) < _HEADER.size:
        return None
    magic, stored, digest, length = _HEADER.unpack_from(data)
    if magic != _MAGIC or stored.hex() != key or len(data) != _HEADER.size + length:
        return None
    payload = data[_HEADER.size :]
    return payload if hashlib.sha256(payload).digest() == digest else None


def key(*parts: str | bytes) -> str:
    """The name of what follows from ``parts``, this LLVM and this Gristmill: 64 hex digits."""
    digest = hashlib.sha256(_foundation())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(struct.pack("<?Q", isinstance(part, str), len(data)) + data)
    return digest.hexdigest()


@functools.cache
def _foundation() -> bytes:
    """What every key rests on: the version of llvmlite, and our own source as it lies there."""
    digest = hashlib.sha256(_llvm_version())
    package = Path(__file__).parent.parent
    for folder, folders, names in os.walk(package, followlinks=True):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and f[0] != ".")
        for name in sorted(names):
            if name.endswith(".py") and name[0] != ".":  # an editor's lock is a link to nowhere
                path = os.path.join(folder, name)
                status = os.stat(path)
                text = f"{path[len(str(package)) :]} {status.st_size} {status.st_mtime_ns}\n"
                digest.update(text.encode())
    return digest.digest()


def _llvm_version() -> bytes:
    """What says llvmlite's version: its own file, ten times quicker to read than its metadata."""
    found = importlib.util.find_spec("llvmlite")
    try:
        return (Path(found.origin).parent / "_version.py").read_bytes()  # type: ignore
    except (OSError, AttributeError):
        from importlib import metadata

        return metadata.version("llvmlite").encode()


def folder() -> Path:
    """Where the cache lies: ``GRISTMILL_CACHE_DIR``, or the platform's folder for the user."""
    named = os.environ.get("GRISTMILL_CACHE_DIR")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("gristmill", appauthor=False))


@functools.lru_cache(maxsize=4)
def _at(folder: Path) -> Cache:
    return Cache(folder)


def current() -> Cache | None:
    """The cache that the environment names now, or None where ``GRISTMILL_CACHE=off``."""
    if os.environ.get("GRISTMILL_CACHE", "").lower() in ("off", "0"):
        return None
    return _at(folder())


def read(key: str) -> bytes | None:
    """The payload stored under a key, or None."""
    cache = current()
    return cache.read(key) if cache else None


def write(key: str, payload: bytes) -> None:
    """Store a payload under a key."""
    cache = current()
    if cache:
        cache.write(key, payload)


def stats() -> dict[str, int]:
    """Hits, misses, writes and evictions of this process; entries and bytes on disk."""
    cache = current()
    return cache.stats() if cache else {}
