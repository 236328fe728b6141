"""A copy of a system's disk, and the ways to change it."""
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

from systems import *
from systems import put


class Copy:
    """A copy of a disk, with the changes to its file systems collected and made at once."""

    def __init__(self, family, root, disk, folder):
        self.family, self.root, self.folder, self.disk = family, root, Path(folder), Path(folder) / "disk.raw"
        self.scripts, self.count = {}, 0
        self.kernel = kernel(root)
        self.made = set()
        run("cp", "--sparse=always", "--reflink=auto", disk, self.disk)

    def place(self, path):
        """Where the file system of a path begins, the path within, and the commands for it."""
        at, within = ROOT, path
        if self.family == "C":
            at = C_ROOT
            if path.startswith("/boot/"):
                at, within = C_ESP_END, path[5:]
        return within, self.scripts.setdefault(at, [])

    def text(self, path):
        return (self.root / path.lstrip("/")).read_text(errors="replace")

    def bytes(self, path):
        return (self.root / path.lstrip("/")).read_bytes()

    def exists(self, path):
        file = self.root / path.lstrip("/")
        return path not in self.made and (file.exists() or file.is_symlink())

    def folders(self, path):
        parts = path.strip("/").split("/")[:-1]
        for n in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:n])
            if not (self.root / folder[1:]).exists() and folder not in self.made:
                self.made.add(folder)
                within, script = self.place(folder)
                script.append(f"mkdir {within}")

    def clear(self, path):
        """Makes room for a file; what is there already goes."""
        within, script = self.place(path)
        file = self.root / path.lstrip("/")
        if (file.exists() or file.is_symlink() or path in self.made) and f"rm {within}" not in script:
            script.append(f"rm {within}")
        elif path in self.made:
            script.append(f"rm {within}")
        self.made.add(path)
        return within, script

    def write(self, path, data, mode=None):
        self.count += 1
        file = self.folder / f"file{self.count}"
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        old = self.root / path.lstrip("/")
        file.chmod(mode if mode is not None else (old.stat().st_mode & 0o7777 if old.is_file() else 0o644))
        self.folders(path)
        within, script = self.clear(path)
        script.append(f"write {file} {within}")
        return self

    def sub(self, path, old, new):
        text = self.text(path)
        assert re.search(old, text, re.M), (path, old)
        return self.write(path, re.sub(old, new, text, flags=re.M))

    def append(self, path, text):
        return self.write(path, self.text(path) + text)

    def rm(self, *paths):
        for path in paths:
            within, script = self.place(path)
            script.append(f"rm {within}")
        return self

    def rm_if(self, *paths):
        return self.rm(*(path for path in paths if self.exists(path)))

    def unlink(self, path):
        """Takes a folder away, with all that is in it."""
        within, script = self.place(path)
        script.append(f"unlink {within}")
        return self

    def rename(self, old, new):
        (from_, script), (to, _) = self.place(old), self.place(new)
        script += [f"ln {from_} {to}", f"unlink {from_}"]
        return self

    def link(self, path, target):
        self.folders(path)
        within, script = self.clear(path)
        script.append(f"symlink {within} {target}")
        return self

    def cut(self, path, part=0.5):
        data = self.bytes(path)
        return self.write(path, data[: int(len(data) * part)])

    def mode(self, path, mode):
        within, script = self.place(path)
        script.append(f"sif {within} mode 0{0o100000 | mode:o}")
        return self

    def folder_mode(self, path, mode):
        within, script = self.place(path)
        script.append(f"sif {within} mode 0{0o040000 | mode:o}")
        return self

    def owner(self, path, uid):
        within, script = self.place(path)
        script.append(f"sif {within} uid {uid}")
        return self

    def raw(self, at, data):
        with open(self.disk, "r+b") as f:
            f.seek(at)
            f.write(data)
        return self

    def raw_bytes(self, at, size):
        with open(self.disk, "rb") as f:
            f.seek(at)
            return f.read(size)

    def args(self, args):
        """Another command line for the kernel."""
        if self.family == "C":
            return self.sub(self.entry, "^options .*", f"options {args}")
        return self.write("/boot/grub/grub.cfg", grub_cfg(self.root, args))

    cmdline = args

    @property
    def entry(self):
        """The file of the entry of family C."""
        return f"/boot/loader/entries/{MACHINE}-{self.kernel}.conf"

    @property
    def initrd(self):
        return f"/boot/initramfs-{self.kernel}.img" if self.family == "C" else f"/boot/initrd.img-{self.kernel}"

    @property
    def vmlinuz(self):
        return f"/boot/vmlinuz-{self.kernel}"

    def esp(self, *command, data=None):
        image = f"{self.disk}@@{ESP}"
        if data is not None:
            self.count += 1
            file = self.folder / f"file{self.count}"
            file.write_bytes(data)
            run("mcopy", "-o", "-i", image, file, "::" + command[0])
        else:
            run(command[0], "-i", image, *command[1:])
        return self

    def esp_bytes(self, path):
        return run("mtype", "-i", f"{self.disk}@@{ESP}", "::" + path)

    def done(self):
        for at, script in self.scripts.items():
            file = self.folder / "script"
            file.write_text("\n".join(script) + "\n")
            result = subprocess.run(["debugfs", "-w", "-f", file, f"{self.disk}?offset={at}"],
                                    capture_output=True, text=True)
            # It ends with 0 whatever goes wrong; a change that failed would make another twin.
            errors = [line for line in result.stderr.splitlines() if line and not line.startswith("debugfs ")]
            errors += [line for line in result.stdout.splitlines() if re.search(r"not found|No free space|Could not", line)]
            assert not result.returncode and not errors, errors


def unpacked(data):
    """Where the packed archive of an initrd begins, and what is in it."""
    # dracut puts an archive with microcode, which is not packed, before the other.
    start = max(data.find(b"\x28\xb5\x2f\xfd"), 0)
    tool = ["zstd", "-q", "-d", "-c"]
    if data[start:start + 4] != b"\x28\xb5\x2f\xfd":
        start, tool = max(data.find(b"\x1f\x8b\x08"), 0), ["gzip", "-d", "-c"]
    return start, subprocess.run(tool, input=data[start:], capture_output=True).stdout


def initrd(c, change, pack=("gzip", "-1", "-c")):
    """The initrd unpacked, changed in a folder, and packed again."""
    folder = c.folder / "initrd"
    folder.mkdir()
    data = c.bytes(c.initrd)
    start, plain = unpacked(data)
    run("cpio", "--quiet", "-idm", cwd=folder, input=plain)
    change(folder)
    names = run("find", ".", cwd=folder)
    packed = run("cpio", "--quiet", "-o", "-H", "newc", cwd=folder, input=names)
    packed = run(*pack, input=packed)
    shutil.rmtree(folder)
    return c.write(c.initrd, data[:start] + packed)


def without(*patterns):
    def change(folder):
        for pattern in patterns:
            found = list(folder.rglob(pattern))
            assert found, pattern
            for path in found:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    return lambda c: initrd(c, change)


def systemd_boot(c, entry=True):
    """Family C with systemd-boot on the EFI system partition, in place of shim and GRUB."""
    loader = c.bytes("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
    c.esp("mdeltree", "::EFI").esp("mmd", "::EFI", "::EFI/BOOT", "::loader", "::loader/entries")
    c.esp("EFI/BOOT/BOOTX64.EFI", data=loader).esp("loader/loader.conf", data=b"timeout 2\n")
    c.esp("linux", data=c.bytes(c.vmlinuz)).esp("initrd", data=c.bytes(c.initrd))
    if entry:
        c.esp("loader/entries/a.conf", data=f"title A\nlinux /linux\ninitrd /initrd\noptions {ARGS}\n".encode())
    return c


WANTS = "/etc/systemd/system/multi-user.target.wants"
SSHD = "/etc/ssh/sshd_config"
GRUB = "/boot/grub/grub.cfg"
IFACES = "/etc/network/interfaces"
CFG = "/etc/cloud/cloud.cfg"
R = ARGS
G1, G2 = "--generation=1", "--generation=2"


def mask(c, unit):
    return c.link(f"/etc/systemd/system/{unit}", "/dev/null")


def k(c):
    return c.kernel


def sshd(text):
    return lambda c: c.write(SSHD, text + "\n" + c.text(SSHD))


def netplan(text):
    return lambda c: c.write("/etc/netplan/50-eth0.yaml", text)


def fstab(line):
    return lambda c: c.append("/etc/fstab", line + "\n")


def networkd(c, text, name="10-eth0.network"):
    return c.rm("/etc/netplan/50-eth0.yaml").write(f"/etc/systemd/network/{name}", text)


def no_cloud_network(c):
    return c.write("/etc/cloud/cloud.cfg.d/99-net.cfg", "network: {config: disabled}\n")


def modules(c, name):
    return f"/usr/lib/modules/{c.kernel}/{name}"


NET = "systemd-networkd"
