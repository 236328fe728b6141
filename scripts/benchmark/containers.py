"""Images that are not raw: each format through vhdfs, through qemu's FUSE export, and through nbdfuse."""

import os
import pathlib
import random
import statistics
import subprocess
import time

import measure
from measure import Pattern, Target
from places import MIB, FileSystem, Mount, drop_caches, kept, run, warm

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


def mixed(path, size):
    """A disk of which a third each is random, text-like and mostly zeros, in clusters: decoders have work to do."""
    rng = random.Random(size)
    words = [rng.randbytes(rng.randint(3, 9)) for _ in range(500)]
    with open(path, "wb") as file:
        for number in range(size // (64 << 10)):
            kind = number % 3
            if kind == 0:
                block = rng.randbytes(64 << 10)
            elif kind == 1:
                block = b" ".join(rng.choice(words) for _ in range(11_000))[: 64 << 10]
            else:
                block = (number.to_bytes(8, "big") + bytes(504)) * 128
            file.write(block.ljust(64 << 10, b"."))
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


def containers(scratch, places, progress, runs, quick):
    """Every format by the daemon, against our own raw row and the peers."""
    size = (64 if quick else 512) * MIB
    system = kept(places, FileSystem(scratch, "ext4", size * 9))
    raw = mixed(system.source / "raw.raw", size)
    images = {name: make(system.source, raw, name) for name in FORMATS}
    os.sync()
    mount = kept(places, Mount(scratch, "containers", system.source, "--snapshot=never"))
    rows = []
    for name, image in images.items():
        driver = FORMATS[name][1]
        export = kept(places, StorageDaemon(scratch, name, image, driver))
        nbd = kept(places, NbdFuse(scratch, name, image, driver))
        targets = [
            Target("vhdfs, raw", mount.path / "raw.vhd", mount.pids),
            Target("vhdfs", mount.path / f"{image.stem}.vhd", mount.pids),
            Target("qemu-storage-daemon", export.file, export.pids),
            Target("nbdfuse + qemu-nbd", nbd.file, nbd.pids),
        ]
        for block in BLOCKS:
            progress.set_description(f"{name}: {block}")
            warm(image)
            warm(raw)
            measured = measure.compare(targets, Pattern("read", block), size, runs, progress)
            rows += [{"part": "containers", "file_system": "ext4", "image": name, **row} for row in measured]
        speed = size / 1e6 / statistics.median(seconds_of(image, driver, size) for _ in range(runs))
        rows.append({"part": "convert", "image": name, "mb_per_s": speed})
        export.close()
        nbd.close()
    return rows


def make(folder, raw, name):
    arguments, driver = FORMATS[name]
    image = folder / f"{name.replace(' ', '-')}.{EXTENSIONS[driver]}"
    run("qemu-img", "convert", "-f", "raw", *arguments, raw, image)
    return image


def seconds_of(image, driver, size):
    """How long `qemu-img convert` takes to read an image, to nowhere."""
    began = time.monotonic()
    run("qemu-img", "convert", "-n", "-f", driver, "--target-image-opts", image, f"driver=null-co,size={size}")
    return time.monotonic() - began


def passthrough(scratch, places, progress, runs, quick):
    """Clones of raw images, and clones put together of containers, against a plain reflink copy without FUSE."""
    size = (64 if quick else 512) * MIB
    rows = []
    for kind in ["xfs", "btrfs"]:
        system = kept(places, FileSystem(scratch, kind, size * 6 + 512 * MIB))
        raw = mixed(system.source / "raw.raw", size)
        images = {name: make(system.source, raw, name) for name in ["qcow2", "VMDK sparse", "VHDX"]}
        control = system.path / "control"
        run("cp", "--reflink=always", raw, control)
        os.sync()
        mount = kept(places, Mount(scratch, f"passthrough-{kind}", system.source, "--snapshot=always"))
        views = {"raw": mount.path / "raw.vhd"} | {name: mount.path / f"{image.stem}.vhd" for name, image in images.items()}
        targets = [Target("a reflink copy", control, invalidate=False)]
        for name, view in views.items():
            # Keeps the clone, and with it its page cache, from one run to the next.
            places.enter_context(open(view, "rb"))
            targets.append(Target(name, view, mount.pids, invalidate=False))
        for target in targets:
            warm(target.file)
        for block in BLOCKS:
            progress.set_description(f"passthrough on {kind}: {block}")
            measured = measure.compare(targets, Pattern("read", block), size, runs, progress)
            rows += [{"part": "passthrough", "file_system": kind, "image": "mixed", **row} for row in measured]
        rows += reopened(scratch, places, progress, system, raw, runs, size)
    return rows


def reopened(scratch, places, progress, system, raw, runs, size):
    """A view that is read, closed, and read again at once, by a mount of its own that nothing else keeps open."""
    mount = kept(places, Mount(scratch, f"reopened-{system.kind}", system.source, "--snapshot=always"))
    view = mount.path / "raw.vhd"
    control = system.path / "control"
    shares = []
    for _ in range(runs):
        progress.set_description(f"opened again on {system.kind}")
        drop_caches()
        for file in (view, control):
            warm(file)
        speeds = [measure.read(Target("", file, invalidate=False), Pattern("read", "1m"), size)[0] for file in (view, control)]
        shares.append(speeds[0] / speeds[1])
        progress.update(1)
    return [{"part": "reopened", "file_system": system.kind, "ratio": statistics.median(shares)}]
