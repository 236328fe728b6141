"""Single figures: how long one command or one step takes."""

import os
import statistics
import time

import containers
import measure
from measure import Pattern, Target
from places import MIB, VHDFS, FileSystem, Mount, drop_caches, kept, run, sparse, warm


def fact(name, value, goal="", least=None, most=None):
    """A figure, with the goal in words and in numbers."""
    row = {"part": "fact", "name": name, "value": value, "goal": goal}
    return row | ({"least": least} if least is not None else {}) | ({"most": most} if most is not None else {})


def timed(runs, action, after=lambda: None):
    """The median of how long an action takes, in seconds."""
    durations = []
    for _ in range(runs):
        began = time.monotonic()
        action()
        durations.append(time.monotonic() - began)
        after()
    return statistics.median(durations)


def starts(scratch, places, progress, runs, small):
    """From `vhdfs mount` to its return, when the mount is ready."""
    system = kept(places, FileSystem(scratch, "ext4", 4 << 30))
    rows = []
    for count, title, most in [(3, "a small folder", 20), (2_000 if small else 100_000, "{:,} images", 600)]:
        folder = system.source / str(count)
        folder.mkdir()
        for number in range(count):
            with open(folder / f"image-{number:06}.raw", "wb") as file:
                file.truncate(MIB)
        os.sync()
        mountpoint = scratch / f"start-{count}"
        mountpoint.mkdir()
        progress.set_description(f"mounting {count} images")
        mount = lambda: run(VHDFS, "mount", folder, mountpoint)
        unmount = lambda: run(VHDFS, "umount", mountpoint)
        mount()
        unmount()
        seconds = timed(runs, mount, unmount)
        rows.append(fact(f"`vhdfs mount` to ready, {title.format(count)} (ms)", seconds * 1000, f"≤ {most}", most=most))
        progress.update(1)
    return rows


def listings(scratch, places, progress, runs, small):
    """The first listing of a new mount: a folder of qcow2 files against one of raw images, both in memory."""
    count = 500 if small else 10_000
    system = kept(places, FileSystem(scratch, "ext4", 4 << 30))
    original = scratch / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", original, "64M")
    contents = {"raw": b"disk", "qcow2": original.read_bytes()}
    for kind, content in contents.items():
        folder = system.source / kind
        folder.mkdir()
        for number in range(count):
            (folder / f"image-{number:05}.{kind}").write_bytes(content)
    os.sync()
    seconds = {kind: [] for kind in contents}
    for number in range(runs):
        for kind, taken in seconds.items():
            progress.set_description(f"listing {count} images: {kind}")
            run("ls", "-l", system.source / kind)
            mount = Mount(scratch, f"listed-{kind}-{number}", system.source / kind)
            began = time.monotonic()
            run("ls", "-l", mount.path)
            taken.append(time.monotonic() - began)
            mount.close()
            progress.update(1)
    ratio = statistics.median(seconds["qcow2"]) / statistics.median(seconds["raw"])
    return [fact(f"listing {count:,} qcow2 files, times as long as raw images", ratio, "≤ 3", most=3)]


def holes(scratch, places, progress, runs, small):
    """Holes at 1 MiB: against the source cold, and against what a daemon reaches that replies with zeros from memory."""
    size = (64 if small else 512) * MIB
    system = kept(places, FileSystem(scratch, "ext4", size + 512 * MIB))
    image = sparse(system.source / "tera.raw", 1 << 40, 64 << 10, 1 << 34)
    null = system.source / "null.raw"
    with open(null, "wb") as file:
        file.truncate(1 << 40)
    os.sync()
    rows = []
    for options, title in [((), ""), (("--direct-io",), " --direct-io")]:
        mount = kept(places, Mount(scratch, f"holes{title}", system.source, "--snapshot=never", *options))
        ours = Target("vhdfs" + title, mount.path / "tera.vhd", mount.pids)
        progress.set_description("holes" + title)
        cold = measure.compare([Target("source", image), ours], Pattern("read", "1m", cached=False), size, runs, progress)
        rows += [{"part": "sparse", "file_system": "ext4", "image": "1 TiB, almost empty", **row} for row in cold]
        warm_rows = measure.compare([Target("null reply", mount.path / "null.vhd", mount.pids), ours], Pattern("read", "1m"), size, runs, progress)
        rows += [{"part": "sparse", "file_system": "ext4", "image": "holes, warm", **row} for row in warm_rows]
    return rows


def cats(scratch, places, progress, runs, small):
    """A qcow2 as a VHD on the same XFS: its blocks are shared."""
    size = (256 if small else 10 * 1024) * MIB
    system = kept(places, FileSystem(scratch, "xfs", size + 2048 * MIB))
    image, output = system.source / "disk.qcow2", system.path / "disk.vhd"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, str(size))
    # At most 2 GiB in one request.
    step = min(size, 1 << 30)
    writes = [word for at in range(0, size, step) for word in ("-c", f"write -q -P 7 {at} {step}")]
    run("qemu-io", "-f", "qcow2", "-t", "none", *writes, image)
    os.sync()
    before = used(system.path)
    seconds = timed(runs, lambda: run(VHDFS, "cat", image, "--output", output))
    os.sync()
    grown = used(system.path) - before
    progress.update(1)
    title = f"`vhdfs cat` of a qcow2 of {size >> 20:,} MiB to the same XFS"
    return [fact(f"{title} (s)", seconds, "≤ 1", most=1), fact(f"{title}, space that it takes (MiB)", grown / MIB, "no data", most=16)]


def used(path):
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def sums(scratch, places, progress, runs, small):
    """`manifest` against the tools that it stands for, CPU second by CPU second, and `map` of many pieces."""
    size = (64 if small else 1024) * MIB
    runs = min(runs, 3)
    pieces = 20_000 if small else 200_000
    image = containers.mixed(scratch / "data.raw", size)
    empty, large = scratch / "holes.raw", scratch / "empty.raw"
    for path, length in [(empty, size), (large, 4 << 40)]:
        with open(path, "wb") as file:
            file.truncate(length)
    warm(image)
    tools = cpu(runs, lambda: (run("sha256sum", image), run("md5sum", image)))
    progress.set_description("manifest")
    ours = cpu(runs, lambda: run(VHDFS, "manifest", image))
    of_holes = cpu(runs, lambda: run(VHDFS, "manifest", empty))
    blocks = cpu(runs, lambda: run(VHDFS, "manifest", "--blocks-only", image))
    rows = [
        fact("`manifest` of data, times the speed of `sha256sum` and `md5sum` per core", tools / ours, "≥ 0.9", least=0.9),
        fact("`manifest` of holes, times the same", tools / of_holes, "≥ 20", least=20),
        fact("`manifest --blocks-only` of data, times the same", tools / blocks),
        fact("`map` of an empty image of 4 TiB (s)", timed(runs, lambda: run(VHDFS, "map", large)), "≤ 1", most=1),
    ]
    progress.update(4)
    for kind in ["xfs", "ext4"]:
        system = kept(places, FileSystem(scratch, kind, pieces * 8192 + 2048 * MIB))
        scattered = system.source / "scattered.raw"
        progress.set_description(f"map on {kind}")
        scatter(scattered, pieces)
        os.sync()
        drop_caches()
        seconds = timed(runs, lambda: run(VHDFS, "map", "--json", scattered))
        rows.append(fact(f"`map --json`, seconds for 1,000,000 extents (measured with {pieces:,} on {kind}, cold)", seconds * 1e6 / pieces, "≤ 5", most=5))
        system.close()
        progress.update(1)
    return rows


def scatter(path, pieces):
    """A file with a hole behind each block of data: so many extents."""
    block = os.urandom(4096)
    with open(path, "wb", buffering=0) as file:
        for number in range(pieces):
            os.pwrite(file.fileno(), block, number * 8192)


def cpu(runs, action):
    """Median CPU seconds of what an action runs."""
    spent = []
    for _ in range(runs):
        before = containers.children_cpu()
        action()
        spent.append(containers.children_cpu() - before)
    return statistics.median(spent)
