"""What is measured: source files on several file systems, and the ways to read them as a VHD."""

import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
VHDFS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "release" / "vhdfs"
TOOLS = pathlib.Path(os.environ["VHDFS_TEST_TOOLS"])
MIB = 1 << 20


def run(*command, **options):
    """Runs a command that must succeed, with its output kept for the error message."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def drop_caches():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def forget(path):
    """Drops what the kernel has cached of one file that is on disk."""
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def warm(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(4 * MIB):
            pass


def dense(path, size):
    """Random bytes, so that nothing on the way can take them for zeros."""
    block = random.Random(size).randbytes(MIB)
    with open(path, "wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def sparse(path, size, stripe, period):
    """`stripe` bytes of data in each `period`; holes between."""
    data = random.Random(period).randbytes(stripe)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset in range(0, size, period):
            file.seek(offset)
            file.write(data[: size - offset])
    return path


class FileSystem:
    """ext4, XFS or btrfs on a loop device, so that all three are measured alike."""

    def __init__(self, scratch, kind, size):
        self.kind = kind
        self.device = scratch / f"{kind}.device"
        self.path = scratch / kind
        self.path.mkdir()
        with open(self.device, "wb") as file:
            file.truncate(size)
        run(f"mkfs.{kind}", "-q", self.device)
        run("mount", "-o", "loop", self.device, self.path)
        (self.path / "source").mkdir()
        self.source = self.path / "source"

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=False)


class Mount:
    """A mount of ours; `pids` are the processes whose CPU time and memory it costs."""

    def __init__(self, scratch, name, source, *options):
        self.path = scratch / f"mount-{name}"
        self.path.mkdir()
        run(VHDFS, "mount", *options, source, self.path)
        self.pids = [int(pid) for pid in run("pgrep", "-f", f"mount .*{self.path}$").split()]

    def clones(self):
        """The files without a name that the daemon has open, each by a path that leads to it."""
        entries = [entry for pid in self.pids for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
        return {entry.stat().st_ino: entry for entry in entries if "/#" in os.readlink(entry)}

    def close(self):
        run(VHDFS, "umount", "--lazy", self.path)


class Xmount:
    """xmount's emulation of a VHD over one raw image."""

    def __init__(self, scratch, image):
        self.path = scratch / f"xmount-{image.stem}"
        self.path.mkdir()
        run("xmount", "--in", "raw", image, "--out", "vhd", self.path)
        self.file = next(path for path in self.path.iterdir() if path.suffix == ".vhd")
        self.pids = [int(pid) for pid in run("pgrep", "-f", f"xmount .*{self.path}$").split()]

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=False)


class Nbdfuse:
    """nbdkit's split plugin over body and footer, shown as a file by nbdfuse."""

    def __init__(self, scratch, image):
        self.path = scratch / f"nbd-{image.stem}"
        self.path.mkdir()
        footer = scratch / f"{image.stem}.footer"
        oracle = REPO / "tests" / "oracle" / "fixed_vhd.py"
        footer.write_bytes(subprocess.run([oracle, "footer", image], capture_output=True, check=True).stdout)
        self.file = self.path / "disk.vhd"
        command = ["nbdfuse", self.file, "--command", "nbdkit", "-s", "-r", "split", image, footer]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.file.exists():
            time.sleep(0.05)
        children = run("pgrep", "-P", self.process.pid).split()
        self.pids = [self.process.pid, *map(int, children)]

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=False)
        self.process.wait()


@contextlib.contextmanager
def scratch_folder():
    """A folder beside the build, on a real disk; gone with everything mounted below it."""
    scratch = REPO / "target" / "bench"
    # What a benchmark left behind that was killed.
    for line in reversed(pathlib.Path("/proc/self/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{scratch}/"):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with contextlib.ExitStack() as places:
        try:
            yield scratch, places
        finally:
            places.close()
            shutil.rmtree(scratch, ignore_errors=True)


def kept(places, place):
    """Closes `place` when the benchmark ends."""
    places.callback(place.close)
    return place
