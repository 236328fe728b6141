"""Images that are not raw: each format through vhdfs, through qemu's FUSE export, and through nbdfuse."""

import os
import random
import resource
import statistics
import subprocess
import time

import measure
from measure import Pattern, Target
from places import MIB, FileSystem, Mount, kept, run, warm

# Name, arguments of `qemu-img convert`, qemu's driver.
FORMATS = {
    "qcow2": (["-O", "qcow2"], "qcow2"),
    "qcow2 zlib": (["-O", "qcow2", "-c"], "qcow2"),
    "qcow2 zstd": (["-O", "qcow2", "-c", "-o", "compression_type=zstd"], "qcow2"),
    "VMDK sparse": (["-O", "vmdk"], "vmdk"),
    "VMDK stream": (["-O", "vmdk", "-o", "subformat=streamOptimized"], "vmdk"),
    "VHDX": (["-O", "vhdx"], "vhdx"),
    "VDI": (["-O", "vdi"], "vdi"),
    "dynamic VHD": (["-O", "vpc", "-o", "subformat=dynamic,force_size"], "vpc"),
}
EXTENSIONS = {"qcow2": "qcow2", "vmdk": "vmdk", "vhdx": "vhdx", "vdi": "vdi", "vpc": "vhd"}
BLOCKS = ["4k", "128k", "1m"]
# What uploaders read at once.
UPLOADED = "4m"


def mixed(path, size):
    """A disk of which a third each is random, text-like and mostly zeros, in clusters: decoders have work to do."""
    rng = random.Random(size)
    words = [rng.randbytes(rng.randint(3, 9)) for _ in range(500)]
    texts = [b" ".join(rng.choice(words) for _ in range(11_000))[: 64 << 10].ljust(64 << 10, b".") for _ in range(64)]
    with open(path, "wb") as file:
        for number in range(size // (64 << 10)):
            kind = number % 3
            if kind == 0:
                block = rng.randbytes(64 << 10)
            elif kind == 1:
                # Begins differently, so that no two clusters are the same.
                block = number.to_bytes(8, "big") + texts[number % len(texts)][8:]
            else:
                block = (number.to_bytes(8, "big") + bytes(504)) * 128
            file.write(block)
    return path


class StorageDaemon:
    """qemu-storage-daemon's FUSE export of one image."""

    def __init__(self, scratch, name, image, driver):
        self.file = scratch / f"qsd-{name.replace(' ', '-')}"
        self.file.touch()
        file_node = f"driver=file,filename={image},node-name=file,read-only=on"
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", file_node, "--blockdev", f"driver={driver},file=file,node-name=disk,read-only=on",
             "--export", f"type=fuse,id=export,node-name=disk,mountpoint={self.file},writable=off"])  # fmt: skip
        wait_for(lambda: self.file.stat().st_size > 0)
        self.pids = [self.process.pid]

    def close(self):
        self.process.terminate()
        self.process.wait()


class NbdFuse:
    """qemu-nbd shown as a file by nbdfuse."""

    def __init__(self, scratch, name, image, driver):
        self.folder = scratch / f"nbdfuse-{name.replace(' ', '-')}"
        self.folder.mkdir()
        self.file = self.folder / "disk"
        self.process = subprocess.Popen(
            ["nbdfuse", self.file, "--socket-activation", "qemu-nbd", "-r", "-f", driver, image],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        wait_for(self.file.exists)
        children = run("pgrep", "-P", self.process.pid).split()
        self.pids = [self.process.pid, *map(int, children)]

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=False)
        self.process.wait()


def wait_for(condition):
    until = time.monotonic() + 30
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("a peer did not start")
        time.sleep(0.05)


def containers(scratch, places, progress, runs, small):
    """Every format by the daemon, against our own raw row and the peers."""
    size = (64 if small else 512) * MIB
    system = kept(places, FileSystem(scratch, "ext4", size * 9))
    raw = mixed(system.source / "raw.raw", size)
    images = {name: make(system.source, raw, name) for name in FORMATS}
    os.sync()
    mount = kept(places, Mount(scratch, "containers", system.source, "--snapshot=never"))
    rows = []
    for name, image in images.items():
        driver = FORMATS[name][1]
        export = StorageDaemon(scratch, name, image, driver)
        nbd = NbdFuse(scratch, name, image, driver)
        ours = [Target("vhdfs, raw", mount.path / "raw.vhd", mount.pids), Target("vhdfs", mount.path / f"{image.stem}.vhd", mount.pids)]
        peers = [Target("qemu-storage-daemon", export.file, export.pids), Target("nbdfuse + qemu-nbd", nbd.file, nbd.pids)]
        for block in [*BLOCKS, UPLOADED]:
            progress.set_description(f"{name}: {block}")
            warm(image)
            warm(raw)
            targets = ours if block == UPLOADED else ours + peers
            measured = measure.compare(targets, Pattern("read", block), size, runs, progress)
            rows += [{"part": "containers", "file_system": "ext4", "image": name, **row} for row in measured]
        rows.append({"part": "convert", "image": name, **converted(image, driver, size, runs)})
        export.close()
        nbd.close()
    return rows


def make(folder, raw, name):
    arguments, driver = FORMATS[name]
    image = folder / f"{name.replace(' ', '-')}.{EXTENSIONS[driver]}"
    run("qemu-img", "convert", "-f", "raw", *arguments, raw, image)
    return image


def converted(image, driver, size, runs):
    """How fast `qemu-img convert` reads an image, to nowhere, and its CPU seconds per GiB."""
    measured = []
    for _ in range(runs):
        began, spent = time.monotonic(), children_cpu()
        run("qemu-img", "convert", "-n", "-f", driver, "--target-image-opts", image, f"driver=null-co,size={size}")
        measured.append((size / 1e6 / (time.monotonic() - began), (children_cpu() - spent) / (size / (1 << 30))))
    return {"mb_per_s": statistics.median(row[0] for row in measured), "cpu_s_per_gib": statistics.median(row[1] for row in measured)}


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def passthrough(scratch, places, progress, runs, small):
    """Clones of raw images, and clones put together of containers, against a plain reflink copy without FUSE."""
    size = (64 if small else 512) * MIB
    rows = []
    for kind in ["xfs", "btrfs"]:
        targets, system = cloned(scratch, places, kind, size, ["qcow2", "VMDK sparse", "VHDX"])
        for block in BLOCKS:
            progress.set_description(f"passthrough on {kind}: {block}")
            measured = measure.compare(targets, Pattern("read", block), size, runs, progress, refilled=True)
            rows += [{"part": "passthrough", "file_system": kind, "image": "mixed", **row} for row in measured]
        rows += reopened(scratch, progress, system, runs, size)
    return rows


def cloned(scratch, places, kind, size, names):
    """A reflink copy of a raw image, and views of it and of containers that the kernel serves; the views are kept open."""
    system = kept(places, FileSystem(scratch, kind, size * (3 + len(names)) + 512 * MIB))
    raw = mixed(system.source / "raw.raw", size)
    images = {name: make(system.source, raw, name) for name in names}
    control = system.path / "control"
    run("cp", "--reflink=always", raw, control)
    os.sync()
    mount = kept(places, Mount(scratch, f"passthrough-{kind}", system.source, "--snapshot=always"))
    views = {"raw": mount.path / "raw.vhd"} | {name: mount.path / f"{image.stem}.vhd" for name, image in images.items()}
    targets = [Target("a reflink copy", control, invalidate=False)]
    for name, view in views.items():
        before = mount.clones()
        places.enter_context(open(view, "rb"))
        clone = next(path for number, path in mount.clones().items() if number not in before)
        targets.append(Target(name, view, mount.pids, invalidate=False, cache=clone))
    return targets, system


def reopened(scratch, progress, system, runs, size):
    """A view that is read, closed, and read again at once, by a mount of its own that nothing else keeps open."""
    mount = Mount(scratch, f"reopened-{system.kind}", system.source, "--snapshot=always")
    view, control = mount.path / "raw.vhd", system.path / "control"
    shares = {block: [] for block in ("4k", "1m")}
    for _ in range(runs):
        for block, measured in shares.items():
            progress.set_description(f"opened again on {system.kind}: {block}")
            speeds = []
            for file in (view, control):
                warm(file)
                speeds.append(measure.read(Target("", file, invalidate=False), Pattern("read", block), size)[0])
            measured.append(speeds[0] / speeds[1])
            progress.update(1)
    mount.close()
    return [{"part": "reopened", "file_system": system.kind, "block": block, "ratio": statistics.median(measured)}
            for block, measured in shares.items()]
