"""Ten ratios against the limits in limits.json, in three minutes: for use before each release.

Each ratio is the median of ratios of neighbouring runs: what disturbs the machine disturbs both.
"""

import json
import os
import pathlib
import statistics

import containers
import measure
from containers import StorageDaemon
from measure import Pattern, Target
from places import MIB, FileSystem, Mount, kept, warm

LIMITS = pathlib.Path(__file__).with_name("limits.json")
SIZE = 256 * MIB


def ratio(ours, base, block, progress, runs, refilled=False):
    """The median of ours to base, each pair read one after the other, in alternating order."""
    ratios = []
    pattern = Pattern("read", block)
    for number in range(runs):
        speeds = {}
        for target in [ours, base][:: 1 if number % 2 else -1]:
            if refilled:
                target.refill()
            speeds[target.name] = measure.read(target, pattern, SIZE)[0]
        ratios.append(speeds[ours.name] / speeds[base.name])
        progress.update(1)
    return statistics.median(ratios)


def clones(scratch, places, progress, runs):
    """What the kernel serves, against a plain reflink copy."""
    (control, raw, qcow2), system = containers.cloned(scratch, places, "xfs", SIZE, ["qcow2"])
    yield "passthrough, raw, 4k, to a reflink copy", ratio(raw, control, "4k", progress, runs, refilled=True)
    yield "passthrough, raw, 1m, to a reflink copy", ratio(raw, control, "1m", progress, runs, refilled=True)
    yield "passthrough, qcow2, 128k, to a reflink copy", ratio(qcow2, control, "128k", progress, runs, refilled=True)
    again = containers.reopened(scratch, progress, system, runs, SIZE)
    yield "opened again, 1m, to a reflink copy", next(row["ratio"] for row in again if row["block"] == "1m")


def daemon(scratch, places, progress, runs):
    """What the daemon serves, against its ceiling, our raw row, and the peer."""
    system = kept(places, FileSystem(scratch, "ext4", SIZE * 5))
    raw = containers.mixed(system.source / "raw.raw", SIZE)
    with open(system.source / "null.raw", "wb") as file:
        file.truncate(SIZE)
    images = {name: containers.make(system.source, raw, name) for name in ("qcow2", "qcow2 zlib", "VMDK sparse")}
    os.sync()
    mount = kept(places, Mount(scratch, "cached", system.source, "--snapshot=never"))
    direct = kept(places, Mount(scratch, "direct", system.source, "--snapshot=never", "--direct-io"))
    view = lambda mount, name: Target(f"{mount.path.name}/{name}", mount.path / f"{name}.vhd", mount.pids)
    for image in (raw, *images.values()):
        warm(image)
    yield "direct engine, raw, 1m, to its ceiling", ratio(view(mount, "raw"), view(mount, "null"), "1m", progress, runs)
    yield "--direct-io, raw, 1m, to its ceiling", ratio(view(direct, "raw"), view(direct, "null"), "1m", progress, runs)
    yield "qcow2, 1m, to raw", ratio(view(mount, "qcow2"), view(mount, "raw"), "1m", progress, runs)
    for name, image in images.items():
        peer = StorageDaemon(scratch, name, image, containers.FORMATS[name][1])
        target = Target("peer", peer.file, peer.pids)
        yield f"{name}, 1m, to qemu-storage-daemon", ratio(view(mount, image.stem), target, "1m", progress, runs)
        peer.close()


def compare(scratch, places, progress, runs):
    """Whether no ratio is below its limit; prints all of them."""
    limits = json.loads(LIMITS.read_text())
    measured = dict([*clones(scratch, places, progress, runs), *daemon(scratch, places, progress, runs)])
    if measured.keys() != limits.keys():
        raise SystemExit(f"{LIMITS}: has other rows than are measured: {measured.keys() ^ limits.keys()}")
    progress.close()
    is_right = True
    for name, value in measured.items():
        is_met = value >= limits[name]
        is_right &= is_met
        print(f"{'ok  ' if is_met else 'SLOW'} {value:6.2f} ≥ {limits[name]:.2f}  {name}")
    return is_right
