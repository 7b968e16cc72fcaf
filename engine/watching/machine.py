"""How the machine of a training run is doing: processors, memory, the trainer's processes, the run's disk, NVIDIA GPUs.

`Machine.sample` takes one measurement and may block (a network file system, a slow driver), so it is called in a thread. What
cannot be measured is None, never a guess and never an error. Of a run that is trained on another host only the disk is looked at.
`History` keeps the newest half hour. Knows no torch, no screen, and nothing of what a run learns.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import shutil
import socket
import sys
import threading
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.growing_files import read_json
from engine.run_status import START_TOLERANCE, real, whole

EVERY = 2.0
"""Seconds between two samples, usually."""
KEPT = 1800.0
"""Seconds of history."""
_TRAINER = "engine.training"
"""What stands in the command line of every process of a trainer; how a launcher above the first process is told."""
_SERIES = {name: name for name in ("cpu", "trainer_cpu", "trainer_memory", "disk_free")}
_SERIES |= {"memory": "memory_used", "disk_read": "disk_read_rate", "disk_write": "disk_write_rate"}
"""Name of a series -> field of a sample."""


@dataclass(frozen=True)
class GpuSample:
    """One NVIDIA GPU; None for what its driver does not tell."""

    index: int
    name: str
    utilisation: float | None
    """Percent of the time in which it was at work."""
    memory_used: int | None
    """Bytes."""
    memory_total: int | None
    temperature: float | None
    """Degrees Celsius."""
    power: float | None
    """Watts."""
    ours: bool
    """Whether a process of this run is at work on it; False where the driver does not tell (inside a container, mostly)."""


@dataclass(frozen=True)
class MachineSample:
    """One measurement; None for what is not known. Sizes in bytes, rates in bytes a second."""

    time: float
    """Unix seconds."""
    host: str | None = None
    """Where the run is trained, if it is on another host than this one; then only the disk is known."""
    cpu: float | None = None
    """Percent of all cores together; None in the first sample, as it takes two."""
    cores: int | None = None
    load: float | None = None
    """Programs that want a core, averaged over a minute (Unix)."""
    memory_used: int | None = None
    memory_total: int | None = None
    trainer: bool = False
    """Whether the run's process is there."""
    trainer_cpu: float | None = None
    """Percent of one core, all processes of the trainer added up."""
    trainer_memory: int | None = None
    """Resident memory of all its processes; what several of them share is counted in each."""
    disk_free: int | None = None
    """What a person without special rights may still write to the file system that holds the run's folder."""
    disk_total: int | None = None
    disk_read_rate: float | None = None
    disk_write_rate: float | None = None
    all_disks: bool = False
    """Whether the two rates are those of all disks, because it is not known which one holds the folder."""
    gpus: tuple[GpuSample, ...] = ()

    @property
    def gpu_utilisation(self) -> float | None:
        """Percent, the mean of the GPUs at work for this run; of all of them where that is not known."""
        known = [gpu.utilisation for gpu in shown_gpus(self) if gpu.utilisation is not None]
        return sum(known) / len(known) if known else None


def shown_gpus(sample: MachineSample) -> tuple[GpuSample, ...]:
    """The GPUs that are at work for the run; all there are where that is not known."""
    return tuple(gpu for gpu in sample.gpus if gpu.ours) or sample.gpus


class Machine:
    """Measures for one run folder; keep the object, as rates come from two measurements. `close` when done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard = threading.Lock()
        self._busy: tuple[float, float] | None = None
        self._spent: tuple[float, dict[tuple[int, float], float]] | None = None
        self._moved: tuple[float, str | None, int, int] | None = None
        self._gpus = _Nvidia()

    def sample(self) -> MachineSample:
        """Measure now. Never raises; calls from several threads wait for each other."""
        with self._guard:
            status = read_json(self.folder / "status.json") or {}
            host = status.get("host")
            disk = self._disk()
            if isinstance(host, str) and host != socket.gethostname():
                return MachineSample(time.time(), host=host, **disk)
            values: dict[str, Any] = disk | self._rates() | self._processors() | _memory()
            tree = _trainer_tree(whole(status.get("pid")), real(status.get("process_started")))
            values |= self._trainer(tree)
            gpus = self._gpus.sample({process.pid for process in tree})
            return MachineSample(time.time(), gpus=gpus, **values)

    def close(self) -> None:
        """Let go of the GPU driver."""
        with self._guard:
            self._gpus.close()

    def _disk(self) -> dict[str, Any]:
        try:
            usage = shutil.disk_usage(self.folder)
        except OSError:
            return {}
        return {"disk_free": usage.free, "disk_total": usage.total}

    def _rates(self) -> dict[str, Any]:
        import psutil

        name = _block_device(self.folder)
        try:
            disks = psutil.disk_io_counters(perdisk=True, nowrap=False) if name else {}
            found = disks.get(name) or psutil.disk_io_counters(nowrap=False)
        except Exception:  # some systems and containers have no such counters, and each says so in its own way
            found = None
        if found is None:
            return {}
        name = name if name in disks else None
        now, before = time.monotonic(), self._moved
        self._moved = now, name, found.read_bytes, found.write_bytes
        rates: dict[str, Any] = {"all_disks": name is None}
        if before and before[1] == name and now > before[0]:
            read, written = found.read_bytes - before[2], found.write_bytes - before[3]
            if read >= 0 and written >= 0:  # a counter that began again tells nothing
                rates |= {"disk_read_rate": read / (now - before[0]), "disk_write_rate": written / (now - before[0])}
        return rates

    def _processors(self) -> dict[str, Any]:
        # psutil's own cpu_percent keeps its last look for each thread apart, and every sample may come from another thread.
        import psutil

        values: dict[str, Any] = {"cores": psutil.cpu_count()}
        with contextlib.suppress(OSError, AttributeError):
            values["load"] = os.getloadavg()[0]
        try:
            times = psutil.cpu_times()
        except Exception:
            return values
        # A guest's time is in the user's time already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy = total - times.idle - getattr(times, "iowait", 0.0)
        before, self._busy = self._busy, (total, busy)
        if before and total > before[0]:
            values["cpu"] = min(100.0, max(0.0, 100 * (busy - before[1]) / (total - before[0])))
        return values

    def _trainer(self, tree: list[Any]) -> dict[str, Any]:
        import psutil

        if not tree:
            self._spent = None
            return {}
        spent: dict[tuple[int, float], float] = {}
        memory = 0
        for process in tree:
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                spent[process.pid, process.create_time()] = times.user + times.system
        now, before = time.monotonic(), self._spent
        self._spent = now, spent
        values: dict[str, Any] = {"trainer": True, "trainer_memory": memory or None}
        if before and now > before[0]:
            # A process that was not there before has spent all its time since.
            gained = sum(seconds - before[1].get(key, 0.0) for key, seconds in spent.items())
            values["trainer_cpu"] = max(0.0, 100 * gained / (now - before[0]))
        return values


class _Nvidia:
    """NVIDIA's management library, where the optional package and a driver are there; otherwise there are no GPUs."""

    def __init__(self) -> None:
        self._library: Any = None
        self._handles: list[Any] = []
        self._tried = False

    def sample(self, pids: set[int]) -> tuple[GpuSample, ...]:
        if not self._tried:
            self._tried = True
            self._open()
        return tuple(self._one(index, handle, pids) for index, handle in enumerate(self._handles))

    def close(self) -> None:
        if self._library is not None:
            with contextlib.suppress(Exception):
                self._library.nvmlShutdown()
        self._library, self._handles, self._tried = None, [], False

    def _open(self) -> None:
        try:
            library = importlib.import_module("pynvml")
            library.nvmlInit()
        except Exception:  # no package, no driver, a driver of another version: there is nothing to show, and nothing to say
            return
        self._library = library
        with contextlib.suppress(Exception):
            self._handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]

    def _one(self, index: int, handle: Any, pids: set[int]) -> GpuSample:
        name = self._ask("nvmlDeviceGetName", handle)
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        utilisation = self._ask("nvmlDeviceGetUtilizationRates", handle)
        power = self._ask("nvmlDeviceGetPowerUsage", handle)  # milliwatts
        running = self._ask("nvmlDeviceGetComputeRunningProcesses", handle) or ()
        return GpuSample(
            index=index,
            name=name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "GPU"),
            utilisation=real(getattr(utilisation, "gpu", None)),
            memory_used=whole(getattr(memory, "used", None)),
            memory_total=whole(getattr(memory, "total", None)),
            temperature=real(self._ask("nvmlDeviceGetTemperature", handle, 0)),  # 0: the sensor on the chip, which all have
            power=power / 1000 if type(power) is int else None,
            ours=any(getattr(process, "pid", None) in pids for process in running),
        )

    def _ask(self, function: str, *arguments: Any) -> Any:
        """One value; None where this GPU or driver does not have it."""
        try:
            return getattr(self._library, function)(*arguments)
        except Exception:  # each driver refuses in its own way, and a GPU may be lost at any moment
            return None


class History:
    """The newest half hour of samples, series by series, at a fixed cost: not a number stands for what was not known.

    Not for several threads: add a sample where the series are read.
    """

    def __init__(self, seconds: float = KEPT, every: float = EVERY) -> None:
        self.capacity = max(2, round(seconds / every))
        self.every = every
        self.count = 0
        """Samples so far, those that are no longer kept included."""
        self.latest: MachineSample | None = None
        self._rings: dict[str, array[float]] = {}

    def add(self, sample: MachineSample) -> None:
        """Keep the figures of a sample; after a long silence (a suspended machine) an unknown comes first."""
        if self.latest is not None and not -self.every <= sample.time - self.latest.time <= 5 * self.every:
            self._put({})
        self.latest = sample
        self._put(_figures(sample))

    def series(self, name: str) -> array[float]:
        """All that is kept of a series, the newest last; empty where nothing of that name was ever known.

        The names: cpu, memory, trainer_cpu, trainer_memory, disk_free, disk_read, disk_write, gpu0, gpu0_memory, gpu1 ...
        """
        ring = self._rings.get(name)
        if ring is None:
            return array("d")
        if self.count <= self.capacity:
            return ring[: self.count]
        at = self.count % self.capacity
        return ring[at:] + ring[:at]

    def _put(self, figures: dict[str, float]) -> None:
        at = self.count % self.capacity
        for name in figures:
            if name not in self._rings:
                self._rings[name] = array("d", [math.nan]) * self.capacity
        for name, ring in self._rings.items():
            ring[at] = figures.get(name, math.nan)
        self.count += 1


def _figures(sample: MachineSample) -> dict[str, float]:
    values = {name: getattr(sample, field) for name, field in _SERIES.items()}
    for gpu in sample.gpus:
        values |= {f"gpu{gpu.index}": gpu.utilisation, f"gpu{gpu.index}_memory": gpu.memory_used}
    return {name: float(value) for name, value in values.items() if value is not None}


def _trainer_tree(pid: int | None, started: float | None) -> list[Any]:
    """The processes of a trainer: the one written down, a launcher above it, and all below; none where it is another program's."""
    import psutil

    if not pid or started is None:
        return []
    try:
        root = psutil.Process(pid)
        if abs(root.create_time() - started) > START_TOLERANCE or root.status() == psutil.STATUS_ZOMBIE:
            return []
    except (psutil.Error, OverflowError, OSError):
        return []
    with contextlib.suppress(psutil.Error, OSError):  # other people's processes may not be looked at
        for above in root.parents():  # with several processes, the one written down is one child of a launcher
            if not any(_TRAINER in word for word in above.cmdline()):
                break
            root = above
    try:
        return [root, *root.children(recursive=True)]
    except (psutil.Error, OSError):
        return [root]


def _memory() -> dict[str, Any]:
    import psutil

    try:
        memory = psutil.virtual_memory()
    except Exception:
        return {}
    return {"memory_used": memory.total - memory.available, "memory_total": memory.total}


def _block_device(folder: Path) -> str | None:
    """The name under which the system counts what is read from and written to the folder's disk (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        device = folder.stat().st_dev
        path = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
        return path.resolve().name if path.exists() else None
    except OSError:
        return None
