"""The parts of the benchmark, each answering rows for the report."""

import os
import pathlib
import statistics
import subprocess
import threading
import time

import checks
import measure
from measure import Pattern, Target
from places import MIB, REPO, TOOLS, VHDFS, FileSystem, Mount, Nbdfuse, Xmount, dense, drop_caches, kept, run, sparse, warm

SEQUENTIAL = ["4k", "32k", "128k", "1m", "4m"]
RANDOM = ["4k", "64k", "4m"]


def patterns(quick):
    """Cached in full; uncached for the block sizes that uploaders use."""
    readers = [1] if quick else [1, 4, 16]
    cached = [Pattern("read", block, number) for block in SEQUENTIAL for number in readers]
    cached += [Pattern("randread", block, number) for block in RANDOM for number in readers]
    cold = [Pattern("read", block, number, cached=False) for block in ["128k", "1m", "4m"] for number in readers[:2]]
    return cached + cold + [Pattern("randread", "64k", 1, cached=False)]


def reads(scratch, places, progress, runs, quick):
    """Dense images: the direct engine on ext4, and passthrough on XFS and btrfs."""
    size = (64 if quick else 512) * MIB
    rows = []
    for kind in ["ext4", "xfs", "btrfs"]:
        system = kept(places, FileSystem(scratch, kind, size * 4 + 512 * MIB))
        image = dense(system.source / "dense.raw", size)
        empty = system.source / "empty.raw"
        with open(empty, "wb") as file:
            file.truncate(size)
        os.sync()
        targets = [Target("source", image, invalidate=False)]
        if kind == "ext4":
            cached = kept(places, Mount(scratch, "cached", system.source, "--snapshot=never"))
            direct = kept(places, Mount(scratch, "direct", system.source, "--snapshot=never", "--direct-io"))
            peer, other = kept(places, Xmount(scratch, image)), kept(places, Nbdfuse(scratch, image))
            targets += [
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
        else:
            mount = kept(places, Mount(scratch, kind, system.source, "--snapshot=always"))
            # Keeps the clone, and with it its page cache, from one run to the next.
            places.enter_context(open(mount.path / "dense.vhd", "rb"))
            targets.append(Target("vhdfs, passthrough", mount.path / "dense.vhd", mount.pids))
        # Once for nothing, so that the machine has the memory that caches will take.
        for target in targets:
            measure.read(target, Pattern("read", "1m"), size)
        for pattern in patterns(quick):
            progress.set_description(f"{kind}: {pattern}, {'cached' if pattern.cached else 'uncached'}")
            if pattern.cached:
                for target in targets:
                    warm(image if target.pids and "passthrough" not in target.name else target.file)
            measured = measure.compare(targets, pattern, size, runs, progress)
            rows += [{"part": "reads", "file_system": kind, "image": "dense", **row} for row in measured]
    return rows


def defaults(scratch, places, progress, runs, quick):
    """What the defaults were chosen from: numbers of threads, and how far the kernel reads ahead."""
    size = (64 if quick else 512) * MIB
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


def sparse_images(scratch, places, progress, runs, quick):
    """Half-empty and nearly empty images, uncached: holes must cost nothing."""
    size = (64 if quick else 512) * MIB
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
    return rows + copies(system, mount, runs) + opens(scratch, places, runs, quick)


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


def opens(scratch, places, runs, quick):
    """How long an open takes in the default mode, clone included."""
    system = kept(places, FileSystem(scratch, "xfs", 1 << 34))
    dense_size = (64 if quick else 10 * 1024) * MIB
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
        value = opened_and_closed(path, 200 if quick else 5000) * 1e6
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


def listing(scratch, places, progress, runs, quick):
    """A folder of many images: names, attributes, and one of them."""
    count = 2_000 if quick else 100_000
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


class Azurite:
    """The storage emulator, which notes when the first page arrives."""

    def __init__(self, scratch):
        data = scratch / "azurite"
        data.mkdir()
        command = [TOOLS / "bin" / "azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", "0",
                   "--skipApiVersionCheck", "--disableTelemetry", "--location", data]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "listens on " in line:
                self.url = line.split("listens on ")[1].strip() + "/devstoreaccount1"
                break
        self.first_page = None
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        for line in self.process.stdout:
            if "comp=page" in line and self.first_page is None:
                self.first_page = time.monotonic()

    def container(self, name):
        return run(TOOLS / "venv" / "bin" / "python", REPO / "tests" / "azure" / "blob.py", "container", self.url, name).strip()

    def close(self):
        self.process.terminate()
        self.process.wait()


def job(scratch, places, progress, runs, quick):
    """The whole job: a raw image of no whole MiB becomes a page blob."""
    size = (32 if quick else 512) * MIB
    source = scratch / "job"
    source.mkdir()
    image = dense(source / "disk.raw", size)
    with open(image, "ab") as file:
        file.write(b"x" * 1000)
    os.sync()
    azurite = kept(places, Azurite(scratch))
    results = {"qemu-img": [], "vhdfs": []}
    for number in range(runs):
        for name, prepare in [("qemu-img", converted), ("vhdfs", mounted)]:
            progress.set_description(f"upload: {name}")
            url = azurite.container(f"{name}-{number}")
            azurite.first_page = None
            began = time.monotonic()
            folder, written, finish = prepare(scratch, source)
            azcopy(scratch, folder / "disk.vhd", url)
            wall = time.monotonic() - began
            results[name].append((wall, azurite.first_page - began, written()))
            finish()
            progress.update(1)
    return [{"part": "job", "way": name, "image_bytes": image.stat().st_size,
             "wall_s": statistics.median(row[0] for row in rows), "first_byte_s": statistics.median(row[1] for row in rows),
             "written_bytes": rows[0][2]} for name, rows in results.items()]


def azcopy(scratch, file, url):
    environment = os.environ | {"AZCOPY_LOG_LOCATION": str(scratch / "logs"), "AZCOPY_JOB_PLAN_LOCATION": str(scratch / "logs"),
                                "AZCOPY_DISABLE_SYSLOG": "true"}
    run(TOOLS / "bin" / "azcopy", "copy", file, url, "--from-to", "LocalBlob", "--blob-type", "PageBlob",
        "--skip-version-check", env=environment)


def converted(scratch, source):
    """The guide's way, on a copy because it changes the image."""
    folder = scratch / "converted"
    folder.mkdir()
    copy, vhd = folder / "disk.raw", folder / "disk.vhd"
    run("cp", "--reflink=never", source / "disk.raw", copy)
    run("qemu-img", "resize", "-q", "-f", "raw", copy, str(-(-copy.stat().st_size // MIB) * MIB))
    run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size", copy, vhd)
    written = sum(path.stat().st_blocks * 512 for path in (copy, vhd))
    return folder, lambda: written, lambda: run("rm", "-r", folder)


def mounted(scratch, source):
    mount = Mount(scratch, "job", source)
    counter = pathlib.Path(f"/proc/{mount.pids[0]}/io")
    written = lambda: int(counter.read_text().split("\nwrite_bytes: ")[1].split("\n")[0])
    # The socket for `vhdfs status` is a few blocks where /run is on a disk.
    before = written()

    def finish():
        mount.close()
        mount.path.rmdir()

    return mount.path, lambda: written() - before, finish


PARTS = {"reads": reads, "defaults": defaults, "sparse": sparse_images, "listing": listing, "job": job, "checks": checks.checks}
