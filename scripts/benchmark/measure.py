"""How it is measured: fio reads, CPU time and memory of daemons, medians of interleaved runs."""

import dataclasses
import json
import os
import pathlib
import random
import statistics
import subprocess

from places import MIB, drop_caches, forget, warm

TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Target:
    """Something that is read: a name, a file, and the processes that it costs."""

    name: str
    file: pathlib.Path
    pids: list = dataclasses.field(default_factory=list)
    # Whether to drop what the kernel has cached of this very file (not of the source below it).
    invalidate: bool = True
    direct: bool = False
    # The file whose pages the kernel keeps for it, if that is another: the clone behind a view.
    cache: pathlib.Path | None = None

    def refill(self):
        """Fills the page cache of it anew, and of nothing else."""
        forget(self.cache or self.file)
        warm(self.file)


@dataclasses.dataclass
class Pattern:
    """How it is read."""

    mode: str  # read, randread
    block: str
    readers: int = 1
    cached: bool = True

    def __str__(self):
        mode = "random" if self.mode == "randread" else "sequential"
        return f"{mode} {self.block}, {self.readers} reader{'s' if self.readers > 1 else ''}"


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def peak_memory(pids):
    """Largest resident size since the last call, in MiB."""
    total = 0
    for pid in pids:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        total += int(status.split("VmHWM:")[1].split()[0])
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    return total / 1024


def read(target, pattern, size):
    """One run of fio; answers bytes per second, CPU seconds of the daemon per GiB and its MiB."""
    share = size // pattern.readers
    command = [
        "fio", "--name=read", f"--filename={target.file}", f"--rw={pattern.mode}", f"--bs={pattern.block}",
        "--ioengine=psync", "--readonly", "--thread", "--group_reporting", "--output-format=json",
        # Its own buffer would be the limit at large blocks: some 7.5 GB/s.
        "--iomem=mmap", f"--invalidate={int(target.invalidate)}", f"--direct={int(target.direct)}", f"--numjobs={pattern.readers}",
        f"--size={share}", f"--offset_increment={share}", "--runtime=400ms", "--norandommap=1", "--randrepeat=1",
    ]  # fmt: skip
    before = cpu_seconds(target.pids)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    result = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]["read"]
    spent = cpu_seconds(target.pids) - before
    gib = result["io_bytes"] / (1 << 30)
    return result["bw_bytes"], spent / gib if gib else 0.0, peak_memory(target.pids)


def compare(targets, pattern, size, runs, progress, refilled=False):
    """Medians of `runs` interleaved runs in random order; the first target is what the ratios are to.

    With `refilled`, the page cache of each target is filled anew before it is read: how fast a file is depends
    on where its pages happen to lie.
    """
    results = {target.name: [] for target in targets}
    order = random.Random(str(pattern))
    for _ in range(runs):
        for target in order.sample(targets, len(targets)):
            if not pattern.cached:
                drop_caches()
            if refilled:
                target.refill()
            results[target.name].append(read(target, pattern, size))
            progress.update(1)
    median = lambda name, column: statistics.median(row[column] for row in results[name])
    base = median(targets[0].name, 0)
    return [
        {
            "target": name,
            "mode": pattern.mode,
            "block": pattern.block,
            "readers": pattern.readers,
            "cached": pattern.cached,
            "mb_per_s": median(name, 0) / 1e6,
            "ratio": median(name, 0) / base,
            "cpu_s_per_gib": median(name, 1),
            "peak_mib": max(row[2] for row in results[name]),
            "runs": [row[0] / 1e6 for row in results[name]],
        }
        for name in results
    ]


def cached_bytes(path):
    """How much of a file is in the page cache, in bytes."""
    out = subprocess.run(["fincore", "-nb", "-o", "RES", str(path)], capture_output=True, text=True, check=True)
    return int(out.stdout.split()[0])


def in_mib(count):
    return count / MIB
