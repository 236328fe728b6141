"""The whole job: an image becomes a page blob, by azcopy, into a sink that discards and checks what it gets."""

import os
import pathlib
import statistics
import subprocess
import threading
import time

import containers
from places import MIB, REPO, TOOLS, VHDFS, FileSystem, Mount, kept, run

# What azcopy wants to see before it believes that it may write.
SIGNATURE = "?sv=2024-11-04&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z&sig=c2luaw%3D%3D"


class Sink:
    """scripts/benchmark/sink, which knows what the blobs have to be."""

    def __init__(self, expected):
        folder = REPO / "scripts" / "benchmark" / "sink"
        target = REPO / "target" / "sink"
        run("cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", folder / "Cargo.toml", "--target-dir", target)
        self.process = subprocess.Popen([target / "release" / "sink", expected], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.told, self.began = {}, {}
        self.changed = threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            path, *words = line.split()
            name = path.rpartition("/")[2]
            with self.changed:
                if words == ["begins"]:
                    self.began[name] = time.monotonic()
                else:
                    self.told[name] = [int(word) for word in words]
                self.changed.notify_all()

    def judge(self, name, size, has_our_footer):
        """When the first page of a blob arrived. The disk in it must be right, and the footer, if it is as expected."""
        with self.changed:
            if not self.changed.wait_for(lambda: name in self.told, timeout=60):
                raise SystemExit(f"{name}: azcopy did not ask what became of it")
            taken, _, wrong = self.told[name]
        if wrong > (0 if has_our_footer else 1):
            raise SystemExit(f"{name}: {wrong} ranges are wrong")
        # What is zero is not sent.
        if not 0 < taken <= size:
            raise SystemExit(f"{name}: {taken} bytes of {size}")
        return self.began[name]

    def close(self):
        self.process.kill()
        self.process.wait()


def job(scratch, places, progress, runs, small):
    """azcopy of a VHD that is there already, of views, and the recipe: `qemu-img convert`, then azcopy."""
    size = (64 if small else 2048) * MIB
    runs = min(runs, 3)
    system = kept(places, FileSystem(scratch, "ext4", size * 8))
    raw = containers.mixed(system.source / "raw.raw", size)
    images = {name: containers.make(system.source, raw, name) for name in ("qcow2", "qcow2 zlib")}
    mtime = raw.stat()
    for image in images.values():
        os.utime(image, ns=(mtime.st_atime_ns, mtime.st_mtime_ns))
    ready = system.path / "ready.vhd"
    run(VHDFS, "cat", raw, "--output", ready)
    mount = kept(places, Mount(scratch, "job", system.source))
    sink = kept(places, Sink(ready))
    ways = {
        "a VHD, already converted": lambda: (ready, 0),
        "vhdfs, raw": lambda: (mount.path / "raw.vhd", 0),
        "vhdfs, qcow2": lambda: (mount.path / "qcow2.vhd", 0),
        "vhdfs, qcow2 zlib": lambda: (mount.path / "qcow2-zlib.vhd", 0),
        "qemu-img, raw": lambda: recipe(system, raw, "raw"),
        "qemu-img, qcow2": lambda: recipe(system, images["qcow2"], "qcow2"),
    }
    results = {name: [] for name in ways}
    for image in (raw, ready, *images.values()):
        containers.warm(image)
    for number in range(runs):
        for name, prepare in ways.items():
            progress.set_description(f"upload: {name}")
            before = written(mount.pids)
            began = time.monotonic()
            file, bytes_written = prepare()
            prepared = time.monotonic() - began
            blob = f"{name.replace(' ', '-').replace(',', '')}-{number}.vhd"
            azcopy(scratch, file, f"{sink.url}/container/{blob}{SIGNATURE}")
            wall = time.monotonic() - began
            # Other names, and other programs, make other footers of the same disk.
            has_our_footer = name in ("a VHD, already converted", "vhdfs, raw")
            first = sink.judge(blob, ready.stat().st_size, has_our_footer) - began
            bytes_written += written(mount.pids) - before
            results[name].append((wall, prepared, first, bytes_written))
            if name.startswith("qemu-img"):
                file.unlink()
            progress.update(1)
    return [{"part": "job", "way": name, "image_bytes": size, "wall_s": median(rows, 0), "prepared_s": median(rows, 1),
             "first_byte_s": median(rows, 2), "written_bytes": rows[0][3]} for name, rows in results.items()]


def median(rows, column):
    return statistics.median(row[column] for row in rows)


def written(pids):
    counters = [pathlib.Path(f"/proc/{pid}/io").read_text() for pid in pids]
    return sum(int(text.split("\nwrite_bytes: ")[1].split("\n")[0]) for text in counters)


def recipe(system, image, driver):
    """The guide's way. The disk is a whole number of MiB already, which spares it one more copy."""
    vhd = system.path / "recipe.vhd"
    run("qemu-img", "convert", "-f", driver, "-O", "vpc", "-o", "subformat=fixed,force_size", image, vhd)
    return vhd, vhd.stat().st_blocks * 512


def azcopy(scratch, file, url):
    environment = os.environ | {"AZCOPY_LOG_LOCATION": str(scratch / "logs"), "AZCOPY_JOB_PLAN_LOCATION": str(scratch / "logs"),
                                "AZCOPY_DISABLE_SYSLOG": "true"}
    run(TOOLS / "bin" / "azcopy", "copy", file, url, "--from-to", "LocalBlob", "--blob-type", "PageBlob",
        "--skip-version-check", env=environment)
