"""The parts of the benchmark, each answering rows for the report."""

import os
import pathlib
import statistics
import time

import checks
import containers
import job
import measure
import single
from measure import Pattern, Target
from places import MIB, FileSystem, Mount, Nbdfuse, Xmount, dense, drop_caches, kept, run, sparse, warm

# What a reader of small blocks, `cp`, and an uploader ask for; what comes from several at once; what a guest does.
CACHED = [Pattern("read", "4k"), Pattern("read", "128k"), Pattern("read", "1m"), Pattern("read", "4m"),
          Pattern("read", "4m", 4), Pattern("randread", "4k"), Pattern("randread", "64k", 4)]  # fmt: skip
COLD = [Pattern("read", "4m", 1, cached=False), Pattern("read", "4m", 4, cached=False)]


def reads(scratch, places, progress, runs, small):
    """A dense raw image by the direct engine, against the source, the peers, and a daemon that replies with zeros."""
    size = (64 if small else 512) * MIB
    system = kept(places, FileSystem(scratch, "ext4", size * 3 + 512 * MIB))
    image = dense(system.source / "dense.raw", size)
    with open(system.source / "empty.raw", "wb") as file:
        file.truncate(size)
    os.sync()
    cached = kept(places, Mount(scratch, "cached", system.source, "--snapshot=never"))
    direct = kept(places, Mount(scratch, "direct", system.source, "--snapshot=never", "--direct-io"))
    peer, other = kept(places, Xmount(scratch, image)), kept(places, Nbdfuse(scratch, image))
    targets = [
        Target("source", image, invalidate=False),
        Target("vhdfs", cached.path / "dense.vhd", cached.pids),
        # Must leave alone what the kernel has cached of the view for the target above: a virtual
        # machine may give pages that are free for seconds back to its host, and pay to get them.
        Target("vhdfs, O_DIRECT reader", cached.path / "dense.vhd", cached.pids, invalidate=False, direct=True),
        Target("vhdfs --direct-io", direct.path / "dense.vhd", direct.pids),
        Target("xmount", peer.file, peer.pids),
        Target("nbdkit + nbdfuse", other.file, other.pids),
        Target("ceiling: vhdfs, a hole", cached.path / "empty.vhd", cached.pids),
        Target("ceiling: --direct-io, a hole", direct.path / "empty.vhd", direct.pids),
    ]
    # Once for nothing, so that the machine has the memory that caches will take.
    for target in targets:
        measure.read(target, Pattern("read", "1m"), size)
    rows = []
    for pattern in CACHED + COLD:
        progress.set_description(f"{pattern}, {'cached' if pattern.cached else 'uncached'}")
        if pattern.cached:
            warm(image)
        chosen = targets if pattern.cached else targets[:4]
        measured = measure.compare(chosen, pattern, size, runs, progress)
        rows += [{"part": "reads", "file_system": "ext4", "image": "dense", **row} for row in measured]
    return rows


def defaults(scratch, places, progress, runs, small):
    """What the defaults were chosen from: numbers of threads, and how far the kernel reads ahead."""
    size = (64 if small else 512) * MIB
    system = kept(places, FileSystem(scratch, "ext4", size * 2 + 512 * MIB))
    image = dense(system.source / "dense.raw", size)
    os.sync()
    targets = [Target("source", image, invalidate=False)]
    for threads in [2, 4, 8]:
        mount = kept(places, Mount(scratch, f"threads-{threads}", system.source, "--snapshot=never", f"--threads={threads}"))
        targets.append(Target(f"{threads} threads", mount.path / "dense.vhd", mount.pids))
    for ahead in [128, 256, 512, 1024, 4096]:
        mount = kept(places, Mount(scratch, f"ahead-{ahead}", system.source, "--snapshot=never"))
        device = os.stat(mount.path).st_dev
        bdi = pathlib.Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        bdi.write_text(str(ahead))
        targets.append(Target(f"{ahead} KiB ahead", mount.path / "dense.vhd", mount.pids))
    rows = []
    chosen = [Pattern("read", block, readers) for block in ["4k", "64k", "128k", "1m", "4m"] for readers in [1, 4]]
    chosen += [Pattern("randread", "4k", 1), Pattern("randread", "64k", 1), Pattern("read", "4m", 1, cached=False), Pattern("read", "4m", 4, cached=False)]
    for pattern in chosen:
        progress.set_description(f"defaults: {pattern}")
        if pattern.cached:
            warm(image)
        measured = measure.compare(targets, pattern, size, runs, progress)
        rows += [{"part": "defaults", "file_system": "ext4", "image": "dense", **row} for row in measured]
    return rows


def sparse_images(scratch, places, progress, runs, small):
    """Half-empty and nearly empty images, uncached: holes must cost nothing."""
    size = (64 if small else 512) * MIB
    system = kept(places, FileSystem(scratch, "ext4", size * 4 + 512 * MIB))
    half = sparse(system.source / "half.raw", size, MIB, 2 * MIB)
    tera = sparse(system.source / "tera.raw", 1 << 40, 64 << 10, 1 << 34)
    os.sync()
    mount = kept(places, Mount(scratch, "sparse", system.source, "--snapshot=never"))
    direct = kept(places, Mount(scratch, "sparse-direct", system.source, "--snapshot=never", "--direct-io"))
    rows = []
    for image, title in [(half, "50 % sparse"), (tera, "1 TiB, almost empty")]:
        view = image.with_suffix(".vhd").name
        targets = [
            Target("source", image),
            Target("vhdfs", mount.path / view, mount.pids),
            Target("vhdfs --direct-io", direct.path / view, direct.pids),
        ]
        for block in ["128k", "1m", "4m"]:
            pattern = Pattern("read", block, 1, cached=False)
            progress.set_description(f"{title}: {pattern}")
            measured = measure.compare(targets, pattern, size, runs, progress)
            rows += [{"part": "sparse", "file_system": "ext4", "image": title, **row} for row in measured]
    drop_caches()
    warm_part(mount.path / "tera.vhd", size)
    rows.append({"part": "fact", "name": "source bytes cached after reading the first 512 MiB of a 1 TiB image through vhdfs (MiB)",
                 "value": measure.in_mib(measure.cached_bytes(tera)), "goal": "no holes of the source"})
    return rows + copies(system, mount, runs) + opens(scratch, places, runs, small)


def warm_part(path, size):
    with open(path, "rb", buffering=0) as file:
        while size > 0:
            size -= len(file.read(4 * MIB))


def copies(system, mount, runs):
    sparse(system.source / "extents.raw", 8 << 30, 4096, (8 << 30) // 200)
    os.sync()
    time.sleep(1)
    view, copy = mount.path / "extents.vhd", system.path / "copy"
    seconds = {}
    for name, path in [("source", system.source / "extents.raw"), ("vhdfs", view)]:
        seconds[name] = timed(runs, lambda: run("cp", "--sparse=auto", path, copy))
        copy.unlink()
    return [{"part": "fact", "name": f"cp --sparse=auto of 8 GiB in 200 extents, {name} (s)", "value": value,
             "goal": "0.1" if name == "vhdfs" else ""} for name, value in seconds.items()]


def opens(scratch, places, runs, small):
    """How long an open takes in the default mode, clone included."""
    system = kept(places, FileSystem(scratch, "xfs", 1 << 34))
    dense_size = (64 if small else 10 * 1024) * MIB
    with open(system.source / "dense.raw", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, dense_size)
    sparse(system.source / "tera.raw", 1 << 40, 64 << 10, 1 << 34)
    os.sync()
    mount = kept(places, Mount(scratch, "opens", system.source))
    rows = []
    for name, title in [("dense", "10 GiB, one extent"), ("tera", "1 TiB sparse, 64 extents")]:
        path = mount.path / f"{name}.vhd"
        seconds = timed(runs, lambda: os.close(os.open(path, os.O_RDONLY)))
        rows.append({"part": "fact", "name": f"open with a snapshot, {title} (ms)", "value": seconds * 1000, "goal": "20"})
    direct = kept(places, Mount(scratch, "opens-direct", system.source, "--snapshot=never"))
    for which, path in [("source", system.source / "dense.raw"), ("vhdfs, under a read lease", direct.path / "dense.vhd")]:
        value = opened_and_closed(path, 200 if small else 5000) * 1e6
        goal = "100" if which != "source" else ""
        rows.append({"part": "fact", "name": f"open and close, {which} (µs)", "value": value, "goal": goal})
    return rows


def opened_and_closed(path, times):
    """The median of many, in seconds."""
    durations = []
    for _ in range(times):
        began = time.perf_counter()
        os.close(os.open(path, os.O_RDONLY))
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def timed(runs, action):
    durations = []
    for _ in range(runs):
        began = time.monotonic()
        action()
        durations.append(time.monotonic() - began)
        time.sleep(0.1)
    return statistics.median(durations)


def listing(scratch, places, progress, runs, small):
    """A folder of many images: names, attributes, and one of them."""
    count = 2_000 if small else 100_000
    runs = min(runs, 3)
    system = kept(places, FileSystem(scratch, "ext4", 4 << 30))
    for number in range(count):
        with open(system.source / f"image-{number:06}.raw", "wb") as file:
            file.truncate(MIB)
    os.sync()
    mount = Mount(scratch, "listing", system.source)
    rows = []
    actions = {"ls -f": ["ls", "-f"], "ls -l": ["ls", "-l"], "one stat": ["stat", "-c", "%s"]}
    for name, command in actions.items():
        seconds = {"source": [], "vhdfs": []}
        for _ in range(runs):
            for which, folder in [("source", system.source), ("vhdfs", mount.path)]:
                progress.set_description(f"{count} images: {name}, {which}")
                drop_caches()
                if which == "vhdfs":
                    # What is measured is the mount: the source's own caches are warm for both.
                    run("ls", "-l", system.source)
                path = folder / ("image-000777.raw" if which == "source" else "image-000777.vhd")
                if which == "source":
                    run("ls", "-l", system.source)
                began = time.monotonic()
                run(*command, path if name == "one stat" else folder)
                seconds[which].append(time.monotonic() - began)
                progress.update(1)
        medians = {which: statistics.median(values) for which, values in seconds.items()}
        rows.append({"part": "listing", "images": count, "action": name, **medians,
                     "ratio": medians["vhdfs"] / medians["source"]})
    rows.append({"part": "fact", "name": f"peak memory of the daemon after listing {count} images (MiB)",
                 "value": measure.peak_memory(mount.pids), "goal": ""})
    mount.close()
    return rows


PARTS = {
    "reads": reads,
    "defaults": defaults,
    "sparse": sparse_images,
    "holes": single.holes,
    "containers": containers.containers,
    "passthrough": containers.passthrough,
    "job": job.job,
    "listing": listing,
    "starts": single.starts,
    "listings": single.listings,
    "cats": single.cats,
    "sums": single.sums,
    "checks": checks.checks,
}

# What only a change of defaults, or of how holes are read, needs again.
FOR_DEFAULTS = ["defaults", "sparse"]
