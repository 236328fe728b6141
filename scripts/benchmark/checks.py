"""How long `vhdfs check` takes, and how much it reads: a real system, also on a large disk."""

import os
import shutil
import statistics
import subprocess
import sys
import time

from places import MIB, REPO, VHDFS, run
from single import fact

GIB = 1024 * MIB
# What is read is counted by the kernel, for the shell and what it has waited for.
COUNTED = '"$@" > "$0"; grep rchar "/proc/$$/io"'


def system(scratch):
    """A copy of the first system of scripts/twins, which is built once."""
    sys.path.insert(0, str(REPO / "scripts" / "twins.d"))
    import systems

    copy = scratch / "system.raw"
    if not copy.exists():
        systems.WORK.mkdir(parents=True, exist_ok=True)
        systems.store()
        try:
            run("cp", "--sparse=always", systems.build("A")[1], copy)
        finally:
            run("umount", systems.STORE)
    return copy


def grown(scratch, image, size):
    """The system on a disk of this size, its root file system filled to two thirds."""
    disk = scratch / f"system-{size // GIB}.raw"
    run("cp", "--sparse=always", image, disk)
    with open(disk, "r+b") as file:
        file.truncate(size)
    run("sgdisk", "-e", disk)
    run("sfdisk", "--quiet", "-N", "3", disk, input=", +\n")
    device = run("losetup", "--find", "--show", "--partscan", disk).strip()
    start, sectors = root_of(disk)
    part = run("losetup", "--find", "--show", f"--offset={start * 512}", f"--sizelimit={sectors * 512}", disk).strip()
    point = scratch / "root"
    point.mkdir(exist_ok=True)
    try:
        run("e2fsck", "-fp", part)
        run("resize2fs", part)
        run("mount", part, point)
        free = os.statvfs(point).f_bavail * os.statvfs(point).f_frsize
        for number in range(int(max(0, free - size // 3) // (256 * MIB))):
            run("fallocate", "-l", "256M", point / f"filler-{number}")
        for number in range(5 * size // GIB):
            shutil.copytree(point / "etc", point / "srv" / f"etc-{number}", symlinks=True)
    finally:
        subprocess.run(["umount", point], capture_output=True)
        run("losetup", "--detach", part)
        run("losetup", "--detach", device)
    return disk


def root_of(disk):
    line = run("sfdisk", "-d", disk).splitlines()[-1]
    fields = dict(field.strip().split("=") for field in line.split(":", 1)[1].split(",") if "=" in field)
    return int(fields["start"]), int(fields["size"])


def checks(scratch, places, progress, runs, quick):
    """Warm, as often as the others; the time and the bytes that were read."""
    rows = []
    sizes = [("2 GiB", 2, 2)] + ([] if quick else [("30 GiB", 30, 10)])
    for name, size, goal in sizes:
        progress.set_description(f"check of a system of {name}")
        disk = grown(scratch, system(scratch), size * GIB)
        seconds, read = [], 0
        for _ in range(runs + 1):
            began = time.monotonic()
            text = run("sh", "-c", COUNTED, scratch / "report", VHDFS, "check", "--time-limit=60", disk)
            seconds.append(time.monotonic() - began)
            read = int(text.split("rchar:")[1].split()[0])
            progress.update(1)
        # The first run warmed the cache.
        rows.append(fact(f"check of a system of {name}, warm (s)", statistics.median(seconds[1:]), f"≤ {goal}", most=goal))
        rows.append(fact(f"read for the check of a system of {name} (MiB)", read / MIB, "≤ 1024", most=1024))
        disk.unlink()
    return rows
