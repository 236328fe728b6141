"""Twins of what the stages go by: scripts, rules of udev, buses, shells, algorithms; the form is that of `first`."""
from twin import *
from more import NM, cloud, interfaces, plus

USERADD = "/etc/default/useradd"
PYTHON = "/usr/lib/python3.11"
PACKAGES = "/usr/lib/python3/dist-packages"


def no_bus(c):
    return mask(mask(c, "dbus.service"), "dbus.socket")


def folder_mode(path, mode):
    return lambda c: c.folder_mode(path, mode)


def away(path):
    """A file or a link that is not there; a folder keeps its place, and its files go."""
    return lambda c: c.rm(*([path] if not (c.root / path.lstrip("/")).is_dir() else [f"{path}/{f.name}" for f in (c.root / path.lstrip("/")).iterdir() if f.is_file()]))


TWINS = [
    ("A", "loader", "grub.cfg is cut off", "fatal", lambda c: c.cut(GRUB)),
    ("A", "loader", "grub.cfg is another system's", "fatal", lambda c: c.sub(GRUB, UUID, "99999999-1111-4222-8333-9abcdef01234")),
    ("A", "cmdline", "little memory", "fatal", plus("mem=32M")),
    ("A", "cmdline", "no modules", "fatal", plus("nomodule")),
    ("A", "cmdline", "another init of the initrd", "fatal", plus("rdinit=/nothing")),
    ("B", "cmdline", "hv_storvsc is blocked in the initrd", "fatal", plus("rd.driver.blacklist=hv_storvsc")),
    ("A", "cmdline", "noinitrd, which is about another kind", "right", plus("noinitrd")),
    ("A", "cmdline", "without IPv6", "right", plus("ipv6.disable=1")),
    ("A", "cmdline", "a short rootdelay", "right", lambda c: c.args(R.replace("rootdelay=300", "rootdelay=1"))),
    ("B", "cmdline", "init= of nothing", "fatal", plus("init=/sbin/nothing")),
    ("A", "initrd", "without scripts/local", "fatal", without("scripts/local")),
    ("A", "initrd", "without its configuration", "fatal", without("initramfs.conf")),
    ("A", "initrd", "without modprobe, and ext4 is built in", "right", without("modprobe")),
    ("B", "initrd", "without rules of udev", "fatal", without("rules.d")),
    ("B", "initrd", "without the unit that leaves it", "fatal", without("initrd-switch-root.service")),
    ("B", "initrd", "without mount", "fatal", without("bin/mount")),
    ("A", "system", "fstab: the root with an option of nothing", "fatal", lambda c: c.sub("/etc/fstab", "errors=remount-ro", "errors=remount-ro,nonsense")),
    ("A", "system", "fstab: the root with an option of XFS", "fatal", lambda c: c.sub("/etc/fstab", "errors=remount-ro", "logbsize=32k")),
    ("A", "system", "users are looked for in LDAP only", "fatal", lambda c: c.write("/etc/nsswitch.conf", "passwd: ldap\ngroup: ldap\nshadow: ldap\n")),
    ("A", "system", "no rules of udev", "fatal", away("/usr/lib/udev/rules.d")),
    ("A", "system", "no udevadm", "fatal", lambda c: c.rm("/usr/bin/udevadm")),
    ("A", "system", "nobody but root may enter /home", "fatal", folder_mode("/home", 0o700)),
    ("A", "system", "no journald", "right", lambda c: c.rm("/usr/lib/systemd/systemd-journald")),
    ("A", "system", "no D-Bus", "right", no_bus),
    ("A", "system", "no /var", "right", lambda c: c.unlink("/var")),
    ("A", "system", "no /etc/shadow", "right", lambda c: c.rm("/etc/shadow")),
    ("A", "provisioning", "Python has no json", "fatal", away(f"{PYTHON}/json")),
    ("A", "provisioning", "the agent has no entry point", "fatal", lambda c: c.rm(*(f"/{p.relative_to(c.root)}" for p in c.root.glob(f"{PACKAGES[1:]}/WALinuxAgent*/entry_points.txt")))),
    ("A", "provisioning", "the agent runs as another user", "fatal", lambda c: c.write("/etc/systemd/system/walinuxagent.service.d/own.conf", "[Service]\nUser=nobody\n")),
    ("A", "provisioning", "the user's shell is not there", "fatal", lambda c: c.write(USERADD, "SHELL=/bin/zsh\n")),
    ("B", "provisioning", "the user's shell is not there", "fatal", lambda c: c.rm("/usr/bin/bash")),
    ("B", "provisioning", "no jinja2", "fatal", away(f"{PACKAGES}/jinja2")),
    ("A", "provisioning", "no bash, and the user's shell is another", "right", lambda c: c.rm("/usr/bin/bash")),
    ("C", "network", "no D-Bus", "fatal", no_bus),
    ("A", "network", "no ip", "fatal", lambda c: c.rm("/usr/bin/ip")),
    ("A", "network", "no dhclient-script", "fatal", lambda c: c.rm("/usr/sbin/dhclient-script")),
    ("A", "network", "a line that belongs to nothing", "fatal", lambda c: c.write(IFACES, "auto eth0\nnonsense here\niface eth0 inet dhcp\n")),
    ("A", "network", "a method of nothing", "fatal", lambda c: c.write(IFACES, "auto eth0\niface eth0 inet dchp\n")),
    ("A", "network", "a command before it that is not there", "fatal", interfaces("auto eth0\niface eth0 inet dhcp\n    pre-up /etc/firewall.sh\n")),
    ("B", "network", "networkd: a file before netplan's without DHCP", "fatal", lambda c: networkd(c, "[Match]\nName=eth0\n[Network]\nLinkLocalAddressing=yes\n")),
    ("C", "network", "NetworkManager: everybody may read it, so one of its own", "right", lambda c: c.mode(NM, 0o644)),
    ("A", "network", "a command before it that may fail", "right", interfaces("auto eth0\niface eth0 inet dhcp\n    pre-up /bin/false || true\n")),
    ("A", "reachable", "an algorithm of nothing", "fatal", lambda c: c.append(SSHD, "\nKexAlgorithms nonsense\n")),
    ("A", "reachable", "keys are looked for elsewhere", "fatal", lambda c: c.append(SSHD, "\nAuthorizedKeysFile /etc/ssh/keys/%u\nPasswordAuthentication no\n")),
    ("A", "reachable", "a command in place of the shell", "fatal", lambda c: c.append(SSHD, "\nForceCommand /bin/false\n")),
    ("A", "reachable", "it has no homes", "fatal", lambda c: c.write("/etc/systemd/system/ssh.service.d/own.conf", "[Service]\nProtectHome=yes\n")),
    ("A", "reachable", "it has no network", "fatal", lambda c: c.write("/etc/systemd/system/ssh.service.d/own.conf", "[Service]\nPrivateNetwork=yes\n")),
    ("A", "reachable", "a service of PAM is not there", "fatal", lambda c: c.rm("/etc/pam.d/common-account")),
    ("A", "reachable", "algorithms that it has", "right", lambda c: c.append(SSHD, "\nCiphers aes256-ctr,aes128-gcm@openssh.com\nKexAlgorithms +curve25519-sha256\n")),
    ("A", "reachable", "root may not come", "right", lambda c: c.append(SSHD, "\nPermitRootLogin no\n")),
    ("A", "system", "fstab: no program on the root may be started", "fatal", lambda c: c.sub("/etc/fstab", "errors=remount-ro", "errors=remount-ro,noexec")),
    ("A", "system", "fstab: memory over /etc", "fatal", fstab("tmpfs /etc tmpfs defaults 0 0")),
    ("A", "system", "fstab: memory over /usr", "fatal", fstab("tmpfs /usr tmpfs defaults 0 0")),
    ("A", "system", "fstab: memory over /tmp", "right", fstab("tmpfs /tmp tmpfs noexec,nosuid 0 0")),
    ("A", "system", "modules are shut off", "fatal", lambda c: c.write("/etc/sysctl.d/own.conf", "kernel.modules_disabled=1\n")),
    ("A", "system", "hardened settings of the kernel", "right", lambda c: c.write("/etc/sysctl.d/own.conf", "kernel.kptr_restrict=2\nnet.ipv4.conf.all.rp_filter=1\n")),
    ("A", "system", "devices are not announced", "fatal", lambda c: mask(c, "systemd-udev-trigger.service")),
    ("A", "system", "only root may read the C library", "fatal", lambda c: c.mode("/usr/lib/x86_64-linux-gnu/libc.so.6", 0o600)),
    ("A", "system", "the dynamic linker may not be executed", "fatal", lambda c: c.mode("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", 0o644)),
    ("A", "reachable", "nothing makes its folder", "fatal", lambda c: c.write("/etc/systemd/system/ssh.service", c.text("/lib/systemd/system/ssh.service").replace("RuntimeDirectory=sshd\n", ""))),
    ("A", "reachable", "PAM takes what others get", "right", lambda c: c.rm("/etc/pam.d/sshd")),
    ("A", "reachable", "PAM has nothing for it", "fatal", lambda c: c.rm("/etc/pam.d/sshd", "/etc/pam.d/other")),
    ("B", "cmdline", "the SSH server is masked, which others start by its other name", "fatal", plus("systemd.mask=ssh.service")),
    ("A", "cmdline", "fstab is left out", "fatal", plus("fstab=no")),
    ("A", "cmdline", "the system without its state", "fatal", plus("systemd.volatile=yes")),
    ("A", "cmdline", "the bus of Hyper-V is not called", "fatal", plus("initcall_blacklist=hv_acpi_init")),
    ("A", "cmdline", "-b", "fatal", plus("-b")),
    ("A", "cmdline", "boot=live", "fatal", plus("boot=live")),
    ("A", "cmdline", "boot=nfs", "fatal", plus("boot=nfs")),
    ("A", "cmdline", "settings for safety and speed", "right", plus("mitigations=off audit=1 transparent_hugepage=never panic=30 selinux=0 vsyscall=none iommu=pt")),
    ("A", "initrd", "without run-init", "fatal", without("run-init")),
    ("A", "initrd", "without blkid", "fatal", without("blkid")),
    ("B", "initrd", "without udev", "fatal", without("systemd-udevd")),
    ("B", "initrd", "without a shell", "fatal", without("bin/sh")),
    ("B", "provisioning", "no kinds of host keys", "fatal", cloud("ssh_genkeytypes: []\n")),
    ("B", "provisioning", "a distribution that it does not have", "fatal", cloud("system_info:\n  distro: nothing\n")),
    ("B", "provisioning", "cloud-final is masked", "right", lambda c: mask(c, "cloud-final.service")),
    ("B", "provisioning", "without jsonschema", "right", lambda c: c.unlink(f"{PACKAGES}/jsonschema")),
    ("B", "network", "networkd: a file that only root may read", "fatal", lambda c: networkd(no_cloud_network(c), "[Match]\nName=eth0\n[Network]\nDHCP=yes\n").mode("/etc/systemd/network/10-eth0.network", 0o600)),
    ("B", "network", "resolved is masked", "right", lambda c: mask(c, "systemd-resolved.service")),
]
