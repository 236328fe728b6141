"""Remedies tried: what `check` says is to be done is done in the image, and it is content then.

A remedy is text with commands in backticks. For each twin here those that are named are run, each as
it stands in the remedy: `systemctl --root=DIR …` from outside, all else in a chroot. Names that the
remedy leaves to the reader (which unit, which line) are given here.
"""
import subprocess
import tempfile
from pathlib import Path

import systems
from systems import BOOT_UUID, C_ESP_END, C_ROOT, FAMILIES, MIB, ROOT, SIZE, STORE, UUID, run
from twin import Copy

# Family and title of a twin, the finding whose remedy it is, what its text must have, and what is
# run: a text of the remedy, or, behind "+", what the reader adds to it.
TRIED = [
    ("A reachable: ssh is masked", "ssh-unit", ["systemctl --root=DIR unmask+ ssh.service"]),
    ("A reachable: ssh is not enabled", "ssh-disabled", ["systemctl --root=DIR enable+ ssh"]),
    ("C reachable: sshd is masked", "ssh-unit", ["systemctl --root=DIR unmask+ sshd.service"]),
    ("A provisioning: the agent is masked", "agent-disabled", ["systemctl --root=DIR unmask+ walinuxagent.service", "systemctl --root=DIR enable+ walinuxagent"]),
    ("A provisioning: the agent is not enabled", "agent-disabled", ["systemctl --root=DIR enable+ walinuxagent"]),
    ("B provisioning: cloud-init is masked", "cloud-init-units", ["systemctl --root=DIR unmask+ cloud-init.service", "systemctl --root=DIR enable cloud-init-local cloud-init cloud-config cloud-final"]),
    ("A system: the default target is rescue", "default-target", ["systemctl --root=DIR set-default multi-user.target"]),
    ("A system: udevd is masked", "core-unit", ["systemctl --root=DIR unmask+ systemd-udevd.service"]),
    ("A provisioning: provisioned already", "agent-provisioned", ["rm -r +/var/lib/waagent/provisioned"]),
    ("A reachable: /etc/nologin", "nologin", ["rm +/etc/nologin"]),
    ("A initrd: no initrd", "initrd-missing", ["update-initramfs -c -k all"]),
    ("A initrd: an empty initrd", "initrd-damaged", ["update-initramfs -c -k all"]),
    ("A initrd: without hv_storvsc", "hv-storvsc", ["update-initramfs -c -k all"]),
    ("B initrd: cut off", "initrd-damaged", ["dracut -f --regenerate-all"]),
    ("B initrd: without hv_storvsc", "hv-storvsc", ["dracut -f --regenerate-all"]),
]


def mounted(family, disk, work):
    """Runs `work` on the mounted system of a disk, with all that a chroot needs."""
    starts = {UUID: C_ROOT if family == "C" else ROOT}
    if family == "C":
        starts[BOOT_UUID] = C_ESP_END
    ends = {ROOT: SIZE - 4 * MIB, C_ROOT: SIZE - 4 * MIB, C_ESP_END: C_ROOT}
    loops = {name: run("losetup", "--find", "--show", "--offset", at, "--sizelimit", ends[at] - at, disk, text=True).strip()
             for name, at in starts.items()}
    root = Path(tempfile.mkdtemp(dir=STORE))
    try:
        for name, loop in loops.items():
            run("mount", loop, root / "boot" if name == BOOT_UUID else root)
        dev = root / "dev"
        run("mount", "-t", "tmpfs", "tmpfs", dev)
        for name in ["null", "zero", "urandom", "random", "tty", "full", *(Path(loop).name for loop in loops.values())]:
            (dev / name).touch()
            run("mount", "--bind", f"/dev/{name}", dev / name)
        # The names by which a running udev shows them; without them GRUB would take `/dev/loop`.
        (dev / "disk/by-uuid").mkdir(parents=True)
        for name, loop in loops.items():
            (dev / "disk/by-uuid" / name).symlink_to(f"../../{Path(loop).name}")
        (dev / "fd").symlink_to("/proc/self/fd")
        for folder in ["proc", "sys"]:
            run("mount", "--rbind", f"/{folder}", root / folder)
        return work(root)
    finally:
        subprocess.run(["umount", "--recursive", root], capture_output=True)
        root.rmdir()
        for loop in loops.values():
            subprocess.run(["losetup", "--detach", loop], capture_output=True)


def apply(root, remedy, command):
    """Runs a command of a remedy, once it is sure that the remedy has it."""
    said, _, added = command.partition("+")
    if not said.startswith("rm "):
        assert f"`{said}`" in remedy, f"the remedy has no `{said}`: {remedy}"
    words = (said + added).split()
    if words[0] == "systemctl":
        return run(*[word.replace("DIR", str(root)) for word in words])
    return run("chroot", root, *words, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})


def tried(check, built, twin, rule, commands):
    family, _, _, _, change, *options = twin
    with tempfile.TemporaryDirectory(dir=STORE) as folder:
        copy = Copy(family, *built[family], folder)
        change(copy)
        copy.done()
        report = check(copy.disk, *options)
        finding = next((f for f in report["findings"] if f["id"] == rule), None)
        assert finding, f"no finding {rule}"
        for command in commands:
            mounted(family, copy.disk, lambda root: apply(root, finding["remedy"], command))
        after = check(copy.disk, *options)
        left = [f"{f['id']}: {f['message']}" for f in after["findings"] if f["level"] in ("error", "unknown")]
        assert after["verdict"] == "ready", left


def main(check, twins, arguments):
    titled = {f"{t[0]} {t[1]}: {t[2]}": t for t in twins}
    wanted = arguments[0] if arguments else ""
    chosen = [entry for entry in TRIED if wanted in entry[0]]
    built = {family: systems.build(family) for family in FAMILIES if any(title[0] == family for title, *_ in chosen)}
    failed = 0
    for title, rule, commands in chosen:
        try:
            tried(check, built, titled[title], rule, commands)
            print(f"    {title}: {rule}: {'; '.join(c.replace('+', '') for c in commands)}", flush=True)
        except (AssertionError, RuntimeError) as error:
            failed += 1
            print(f"!!! {title}: {rule}: {error}", flush=True)
    print(f"\nremedies {len(chosen)}, failed {failed}")
    return int(failed > 0)
