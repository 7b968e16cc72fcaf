"""Compiled code on disk, and in this process: found, checked and mapped without numba, LLVM or torch, in about a millisecond.

A file holds one state of the sources for one kind of processor: a page with its head, then the code. `building` makes it. Where the
system maps no image (anything but Linux on x86-64), the file holds an object file, which llvmlite loads.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import mmap
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from engine import files
from engine.errors import TinyTalesError, UsageError

SOURCES = (
    "arithmetic", "attention", "building", "kernels", "likeliest", "linking", "machine", "products", "room", "tables", "tasks", "tiles",
    "unfolding", "widening", "widths",
)  # fmt: skip
"""The modules that compiled code is made from."""
MARK = b"tinytales-kernels-1\n"
PAGE = 65_536
"""Where the code begins: a multiple of every processor's page."""
LARGEST = 1 << 28
PATIENCE_S = 300.0
"""How long another process may take to compile."""
KEPT_DAYS = 60
"""How long code that another version or processor made is left there."""
Enter = Callable[[int, int, int, int, int], int]
"""Addresses of the numbers of shape, weights and room; thread; steps that it has seen."""
_loading = threading.Lock()
_loaded: Enter | None = None
_kept: list[Any] = []
"""What the loaded code lies in."""


class Damaged(TinyTalesError):
    """A file of compiled code that is not what it says."""


def open_own(path: Path) -> BinaryIO:
    """A plain file, open for reading, that nobody but us (or root) can have written; `Damaged` for any other, OSError for none."""
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb")
    if hasattr(os, "getuid"):
        for found in (os.fstat(file.fileno()), path.parent.stat()):
            if found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o022:
                file.close()
                raise Damaged("others may have written to it")
    return file


def ready(folder: Path) -> bool:
    """Whether compiled code for this machine and this version lies in the folder."""
    return _place(folder).is_file()


def fault(folder: Path) -> str:
    """Why the code that lies in the folder cannot be loaded; empty where it can."""
    try:
        _open(_place(folder))
    except (OSError, ValueError, Damaged) as error:
        return _reason(error)
    return ""


def load(folder: Path) -> Enter:
    """The compiled code, from the folder, after compiling it into it where it is not there: then it takes about ten seconds.

    Raises `UsageError` where the folder cannot be written or the code cannot be made. One is loaded for all of a process.
    """
    global _loaded
    with _loading:
        if _loaded is None:
            try:
                _loaded = _open(_place(folder))
            except PermissionError as error:
                raise _cannot_load(error) from error
            except (OSError, ValueError, Damaged):
                with contextlib.suppress(OSError):
                    _place(folder).unlink()
                compile_into(folder)
                try:
                    _loaded = _open(_place(folder))
                except (OSError, ValueError, Damaged) as error:
                    raise _cannot_load(error) from error
        return _loaded


def compile_into(folder: Path) -> None:
    """Compile in a process of its own and wait for it. Raises `UsageError`."""
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"Compiled code cannot be kept in {folder} ({_reason(error)}); choose another folder.") from error
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".compiling", timeout=PATIENCE_S, mode=0o600):
            if not ready(folder):
                _compile(folder)
    except Timeout as error:
        raise UsageError("Another process is compiling the step and does not get done; end it, or try again later.") from error


def _compile(folder: Path) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))}
    command = [sys.executable, "-P", "-m", "engine.decode", str(folder), "--end-with-input"]
    with tempfile.TemporaryFile() as told:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, stderr=told, env=environment) as process:
            code = process.wait()  # its input closes when this process ends, in whatever way
        told.seek(0)
        said = told.read().decode("utf-8", "replace").splitlines()
    if code:
        last = next((" ".join(line.split())[:200].rstrip(".") for line in reversed(said) if line.strip()), "")
        why = last or (f"it was ended by signal {-code}, most often for want of memory" if code < 0 else f"exit code {code}")
        raise UsageError(f"The compiled step cannot be made ({why}); leave --step compiled out.")


def _cannot_load(error: Exception) -> UsageError:
    return UsageError(f"The compiled step cannot be loaded ({_reason(error)}); leave --step compiled out.")


def keep(folder: Path, code: bytes, entry: int | str) -> None:
    """Write compiled code into the folder: an image with the offset of its entry, or an object file with the name of it."""
    head = MARK + json.dumps({"entry": entry, "sha256": hashlib.sha256(code).hexdigest(), "size": len(code)}).encode() + b"\n"
    place = _place(folder)
    files.write_bytes(place, head.ljust(PAGE, b"\0") + code)
    place.chmod(0o600)
    for other in folder.glob("step-*.code"):
        if time.time() - other.stat().st_mtime > KEPT_DAYS * 86_400:  # of a version that is gone
            other.unlink(missing_ok=True)


@functools.cache
def _state() -> str:
    """A name for these sources on this kind of processor."""
    digest = hashlib.sha256(_processor().encode())
    for module in SOURCES:
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return digest.hexdigest()[:24]


def _processor() -> str:
    """What decides which instructions there are: a home folder may be shared by several machines."""
    told = [platform.system(), platform.machine(), platform.processor()]
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "flags", "Features", "CPU part")):
                told.append(" ".join(sorted(line.split())))
            elif not line.strip():
                break
    except OSError:
        pass
    return "\n".join(told)


def _place(folder: Path) -> Path:
    return folder / f"step-{_state()}.code"


def _open(path: Path) -> Enter:
    with open_own(path) as file:
        start = file.read(PAGE)
        try:
            head = json.loads(start.removeprefix(MARK).partition(b"\n")[0])
            entry, size, sum_of_it = head["entry"], int(head["size"]), head["sha256"]
            if not 0 < size < LARGEST or (isinstance(entry, int) and not 0 <= entry < size):
                raise ValueError("impossible numbers")
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged("the head of the file is damaged") from error
        code = file.read(size + 1)
        if not start.startswith(MARK) or len(code) != size or hashlib.sha256(code).hexdigest() != sum_of_it:
            raise Damaged("the file is damaged")
        address = _mapped(file.fileno(), size) + entry if isinstance(entry, int) else _resolved(code, str(entry))
    return callable_at(address)


def callable_at(address: int) -> Enter:
    """The compiled function there, which gives back a status, a result and, where it failed, a reason that nobody reads."""
    numbers = [ctypes.c_int64] * 5
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_void_p), *numbers)(
        address
    )

    def enter(*given: int) -> int:
        result, nothing = ctypes.c_int64(), ctypes.c_void_p()
        if function(ctypes.byref(result), ctypes.byref(nothing), *given):
            raise RuntimeError("the compiled step met a fault")
        return result.value

    return enter


def _mapped(file: int, size: int) -> int:
    """The address of an image in memory that may be run, as the file holds it."""
    import numpy as np

    runs = mmap.PROT_READ | mmap.PROT_EXEC
    try:
        pages = mmap.mmap(file, size, flags=mmap.MAP_PRIVATE, prot=runs, offset=PAGE)
    except PermissionError:  # a disk from which nothing may be run
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=runs | mmap.PROT_WRITE)
        pages.write(os.pread(file, size, PAGE))
    _kept.append(pages)
    return int(np.frombuffer(pages, np.uint8).ctypes.data)


def _resolved(code: bytes, name: str) -> int:
    """The address of a function of an object file, which LLVM puts into memory."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _kept.append(engine)
    return int(engine.get_function_address(name))


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
