"""More twins, also of the third system; the form is that of `first`."""
import uuid
import zlib

from twin import *

SYSTEM = "/etc/systemd/system"
OTHER = "11111111-2222-3333-4444-555555555555"
NM = "/etc/NetworkManager/system-connections/eth0.nmconnection"


def drop_in(unit, text):
    return lambda c: c.write(f"{SYSTEM}/{unit}.d/50-own.conf", text)


def cloud(text, name="99-own.cfg"):
    return lambda c: c.write(f"/etc/cloud/cloud.cfg.d/{name}", text)


def plus(words):
    return lambda c: c.args(f"{R} {words}")


def elf_of(machine, path):
    """A program with another machine in its header."""
    def change(c):
        data = bytearray(c.bytes(path))
        struct.pack_into("<H", data, 18, machine)
        c.write(path, bytes(data))
    return change


def table_with_wrong_sum(c):
    """An entry of the primary GPT changed without its checksum."""
    at = 2 * 512 + 56
    return c.raw(at, bytes(b ^ 1 for b in c.raw_bytes(at, 2)))


def without_backup(c):
    return c.raw(SIZE - 33 * 512, bytes(33 * 512))


def other_disk(c):
    """A new identifier of the disk, in both copies of the table."""
    return run("sgdisk", "-U", "R", c.disk)


def interfaces(text):
    return lambda c: c.write(IFACES, "auto lo\niface lo inet loopback\n" + text)


def uki(c, cmdline=ARGS, at="EFI/Linux/own.efi", **changes):
    """A unified kernel image beside systemd-boot, without other entries."""
    systemd_boot(c, entry=False)
    stub = c.root / "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
    out = c.folder / "uki"
    sections = {"osrel": c.bytes("/etc/os-release"), "cmdline": cmdline.encode(), "linux": c.bytes(c.vmlinuz), "initrd": c.bytes(c.initrd)}
    sections.update(changes)
    command, address = ["objcopy"], 0x30000
    for name, data in sections.items():
        if data is None:
            continue
        file = c.folder / f"section-{name}"
        file.write_bytes(data)
        address = {"linux": 0x2000000, "initrd": 0x4000000}.get(name, address)
        command += ["--add-section", f".{name}={file}", "--change-section-vma", f".{name}={address:#x}"]
        address += 0x10000
    run(*command, stub, out)
    c.esp("mdel", "::linux", "::initrd")
    if at.startswith("EFI/Linux"):
        c.esp("mmd", "::EFI/Linux")
    return c.esp(at, data=out.read_bytes())


def as_fedora(c, csv="shimx64.efi,Example,,This is the boot entry for Example\n"):
    """shim's fallback program at the removable path, and the loaders in the vendor's folder."""
    for name, path in [("shimx64.efi", "usr/lib/shim/shimx64.efi.signed"), ("grubx64.efi", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")]:
        c.esp(f"EFI/debian/{name}", data=c.bytes(path))
    c.esp("mdel", "::EFI/BOOT/grubx64.efi")
    c.esp("EFI/BOOT/fbx64.efi", data=c.bytes("usr/lib/shim/fbx64.efi.signed"))
    if csv is not None:
        c.esp("EFI/debian/BOOTX64.CSV", data=csv.encode("utf-16"))
    return c


def menu(body, head="set timeout=1\n"):
    return lambda c: c.write(GRUB, f"{head}search --set=root --fs-uuid {UUID}\nmenuentry x {{\n" + body.replace("KERNEL", f"/boot/vmlinuz-{k(c)}").replace("INITRD", f"/boot/initrd.img-{k(c)}") + "\n}\n")


def nm(text):
    return lambda c: c.write(NM, text)


def zone(text):
    return lambda c: c.write("/etc/firewalld/zones/public.xml", f'<?xml version="1.0" encoding="utf-8"?>\n<zone>\n  <short>Public</short>\n{text}</zone>\n')


def repack(pack):
    return lambda c: c.write(c.initrd, run(*pack, input=unpacked(c.bytes(c.initrd))[1]))


GRUBENV = "# GRUB Environment Block\n"
LINUX = f" linux KERNEL {ARGS}\n initrd INITRD"

TWINS = [
    ("C", "all", "as it is", "right", lambda c: c),
    ("C", "all", "with systemd-boot", "right", systemd_boot),
    ("C", "all", "with a unified kernel image", "right", uki),
    # container
    ("C", "container", "the header of the GPT is zeros", "fatal", lambda c: c.raw(512, bytes(512))),
    ("A", "container", "an entry of the GPT does not fit its sum", "fatal", table_with_wrong_sum, G1),
    ("C", "container", "the root begins elsewhere", "fatal", lambda c: run("sgdisk", "-d", "3", "-n", f"3:{C_ROOT // 512 + 2048}:0", c.disk)),
    ("C", "container", "the disk ends within the root", "fatal", lambda c: os.truncate(c.disk, 900 * MIB)),
    ("B", "container", "zeros", "fatal", lambda c: (os.truncate(c.disk, 0), os.truncate(c.disk, SIZE))),
    ("A", "container", "the backup of the GPT is gone", "right", without_backup),
    ("A", "container", "half a MiB follows the disk", "right", lambda c: os.truncate(c.disk, SIZE + MIB // 2)),
    ("B", "container", "another identifier of the disk", "right", other_disk),
    ("C", "container", "a partition for data that is empty", "right", lambda c: (os.truncate(c.disk, SIZE + 64 * MIB), run("sgdisk", "-e", c.disk), run("sgdisk", "-n", "0:0:0", c.disk))),
    # firmware
    ("C", "firmware", "no loader at all", "fatal", lambda c: c.esp("mdeltree", "::EFI")),
    ("C", "firmware", "the loader in the vendor's folder only", "fatal", lambda c: as_fedora(c).esp("mdeltree", "::EFI/BOOT")),
    ("C", "firmware", "shim's fallback without what it reads", "fatal", lambda c: as_fedora(c, None)),
    ("C", "firmware", "shim's fallback names a loader that is not there", "fatal", lambda c: as_fedora(c, "nothing.efi,Example,,x\n")),
    ("C", "firmware", "shim is cut off", "fatal", lambda c: c.esp("EFI/BOOT/BOOTX64.EFI", data=c.esp_bytes("EFI/BOOT/BOOTX64.EFI")[:400000])),
    ("C", "firmware", "GRUB is for another machine", "fatal", lambda c: c.esp("EFI/BOOT/grubx64.efi", data=(lambda d: d[:struct.unpack_from("<I", d, 60)[0] + 4] + b"\x64\xaa" + d[struct.unpack_from("<I", d, 60)[0] + 6:])(c.esp_bytes("EFI/BOOT/grubx64.efi")))),
    ("C", "firmware", "shim and its fallback, as Fedora installs it", "right", as_fedora),
    ("A", "firmware", "names in small letters", "right", lambda c: c.esp("mren", "::EFI/BOOT/BOOTX64.EFI", "::EFI/BOOT/x").esp("mren", "::EFI/BOOT/x", "::EFI/BOOT/bootx64.efi")),
    ("A", "firmware", "the name of the type in the boot record of FAT is wrong", "right", lambda c: c.raw(ESP + 82, b"FAT16   ")),
    ("C", "firmware", "a unified kernel image at the fallback path", "right", lambda c: uki(c, at="EFI/BOOT/BOOTX64.EFI")),
    ("A", "firmware", "the partition of the BIOS is called active", "right", lambda c: c.raw(446, b"\x80"), G1),
    # loader
    ("A", "loader", "no timeout is set", "fatal", lambda c: c.sub(GRUB, "set timeout=5", "true")),
    ("A", "loader", "a timeout that is no number", "fatal", lambda c: c.sub(GRUB, "set timeout=5", "set timeout=five")),
    ("A", "loader", "the next entry is the rescue entry", "fatal", lambda c: c.write("/boot/grub/grubenv", (GRUBENV + f"next_entry=gnulinux-advanced-{UUID}>gnulinux-{k(c)}-recovery-{UUID}\n").ljust(1024, "#"))),
    ("A", "loader", "files of another disk", "fatal", menu(LINUX.replace("KERNEL", "(hd1,gpt3)KERNEL").replace("INITRD", "(hd1,gpt3)INITRD"))),
    ("A", "loader", "another partition, and a search that finds nothing", "fatal", menu(f" set root=hd0,gpt9\n search --set=root --fs-uuid {OTHER}\n{LINUX}")),
    ("A", "loader", "no list of its commands", "fatal", lambda c: c.rm("/boot/grub/x86_64-efi/command.lst")),
    ("A", "loader", "no list of its commands, generation 1", "fatal", lambda c: c.rm("/boot/grub/i386-pc/command.lst"), G1),
    ("A", "loader", "it waits for a line", "fatal", menu(LINUX, "set timeout=1\nread name\n")),
    ("A", "loader", "it starts the firmware's next loader", "fatal", menu(" exit")),
    ("A", "loader", "it restarts", "fatal", menu(" reboot")),
    ("C", "loader", "no entries", "fatal", lambda c: c.rm(c.entry)),
    ("C", "loader", "an entry without a kernel", "fatal", lambda c: c.sub(c.entry, "^linux .*\n", "")),
    ("C", "loader", "no grub.cfg", "fatal", lambda c: c.rm("/boot/grub2/grub.cfg")),
    ("C", "loader", "the stub leads to another folder", "fatal", lambda c: c.esp("EFI/debian/grub.cfg", data=f"search --fs-uuid --set=dev {BOOT_UUID}\nset prefix=($dev)/boot/grub2\nconfigfile $prefix/grub.cfg\n".encode())),
    ("C", "loader", "systemd-boot without entries", "fatal", lambda c: systemd_boot(c, entry=False)),
    ("C", "loader", "systemd-boot, and its menu waits", "fatal", lambda c: systemd_boot(c).esp("loader/loader.conf", data=b"timeout menu-force\n")),
    ("C", "loader", "systemd-boot with an entry for another machine", "fatal", lambda c: systemd_boot(c, entry=False).esp("loader/entries/a.conf", data=f"title A\narchitecture aa64\nlinux /linux\ninitrd /initrd\noptions {ARGS}\n".encode())),
    ("A", "loader", "a search that finds nothing, after the right root", "right", menu(f" set root=hd0,gpt3\n search --set=root --fs-uuid {OTHER}\n{LINUX}")),
    ("A", "loader", "the saved entry is a kernel that was removed", "right", lambda c: c.sub(GRUB, 'set default="0"', 'set default="${saved_entry}"').write("/boot/grub/grubenv", (GRUBENV + "saved_entry=gnulinux-5.10.0-1\n").ljust(1024, "#"))),
    ("A", "loader", "the default is an entry that there is not", "right", lambda c: c.sub(GRUB, 'set default="0"', 'set default="7"')),
    ("A", "loader", "a file that is not there is sourced", "right", lambda c: c.write(GRUB, "source $prefix/nothing.cfg\n" + c.text(GRUB))),
    ("A", "loader", "a hidden menu", "right", lambda c: c.sub(GRUB, "set timeout_style=menu", "set timeout_style=hidden")),
    ("A", "loader", "by the label of the file system", "right", menu(f" search --set=root --label rootfs\n{LINUX}")),
    ("A", "loader", "by a file", "right", menu(f" search --set=root --file KERNEL\n{LINUX}")),
    ("C", "loader", "kernelopts from the environment", "right", lambda c: c.sub(c.entry, "^options .*", "options $kernelopts").write("/boot/grub2/grubenv", (GRUBENV + f"kernelopts={ARGS}\n").ljust(1024, "#"))),
    ("C", "loader", "two entries, and the newer one has no name in the environment", "right", lambda c: c.write("/boot/grub2/grubenv", GRUBENV.ljust(1024, "#")).write(f"/boot/loader/entries/{MACHINE}-0-rescue.conf", f"title Rescue\nversion 0-rescue\nlinux /vmlinuz-0-rescue\ninitrd /initramfs-0-rescue.img\noptions {ARGS}\n")),
    ("C", "loader", "systemd-boot with a default that there is not", "right", lambda c: systemd_boot(c).esp("loader/loader.conf", data=b"timeout 1\ndefault nothing*\n")),
    ("C", "loader", "systemd-boot that counts its tries", "right", lambda c: systemd_boot(c).esp("mren", "::loader/entries/a.conf", "::loader/entries/a+3.conf")),
    # kernel
    ("C", "kernel", "the entry names another", "fatal", lambda c: c.sub(c.entry, "vmlinuz-", "vmlinuz-9")),
    ("C", "kernel", "a kernel that is cut off", "fatal", lambda c: c.cut(c.vmlinuz, 0.7)),
    ("C", "kernel", "systemd-boot, and no kernel", "fatal", lambda c: systemd_boot(c).esp("mdel", "::linux")),
    ("C", "kernel", "a unified kernel image without a kernel", "fatal", lambda c: uki(c, linux=None)),
    ("A", "kernel", "no index of its modules", "fatal", lambda c: c.rm(modules(c, "modules.dep"), modules(c, "modules.dep.bin"), modules(c, "modules.alias"), modules(c, "modules.alias.bin"))),
    ("A", "kernel", "the packed payload is damaged", "fatal", lambda c: c.write(c.vmlinuz, (lambda d: d[:4000000] + bytes(b ^ 0x5a for b in d[4000000:4000256]) + d[4000256:])(c.bytes(c.vmlinuz)))),
    ("A", "kernel", "a second kernel, not started", "right", lambda c: c.write("/boot/vmlinuz-9.9.9", "").write("/boot/initrd.img-9.9.9", "")),
    ("A", "kernel", "zeros behind its end", "right", lambda c: c.write(c.vmlinuz, c.bytes(c.vmlinuz) + bytes(8192))),
    ("C", "kernel", "a link to it", "right", lambda c: c.link("/boot/vmlinuz", f"vmlinuz-{k(c)}").sub(c.entry, "^linux .*", "linux /vmlinuz")),
    # cmdline
    ("A", "cmdline", "an identifier in capitals, which the initrd compares by letter", "fatal", lambda c: c.args(f"root=UUID={UUID.upper()} ro {CMDLINE}")),
    ("B", "cmdline", "an identifier in capitals", "fatal", lambda c: c.args(f"root=UUID={UUID.upper()} ro {CMDLINE}")),
    ("A", "cmdline", "ACPI is off, by which Hyper-V's bus is found", "fatal", plus("acpi=off")),
    ("A", "cmdline", "hv_vmbus is blacklisted", "fatal", plus("module_blacklist=hv_vmbus")),
    ("A", "cmdline", "options of another file system", "fatal", plus("rootflags=subvol=@")),
    ("A", "cmdline", "1", "fatal", plus("1")),
    ("A", "cmdline", "emergency", "fatal", plus("emergency")),
    ("A", "cmdline", "a command that ends the machine", "fatal", plus("systemd.run=/bin/true")),
    ("A", "cmdline", "systemd.mask= of the target", "fatal", plus("systemd.mask=multi-user.target")),
    ("C", "cmdline", "root= by an identifier of nothing", "fatal", lambda c: c.args(f"root=UUID={OTHER} ro {CMDLINE}")),
    ("C", "cmdline", "root= is /boot", "fatal", lambda c: c.args(f"root=UUID={BOOT_UUID} ro {CMDLINE}")),
    ("C", "cmdline", "rd.systemd.unit=emergency.target", "fatal", plus("rd.systemd.unit=emergency.target")),
    ("C", "cmdline", "rd.break", "fatal", plus("rd.break=pre-mount")),
    ("C", "cmdline", "no options", "fatal", lambda c: c.sub(c.entry, "^options .*", "options ro")),
    ("A", "cmdline", "options of its file system", "right", plus("rootflags=noatime,data=ordered rootwait fsck.mode=skip")),
    ("A", "cmdline", "3", "right", plus("3")),
    ("C", "cmdline", "root=/dev/sda3", "right", lambda c: c.args(f"root=/dev/sda3 ro {CMDLINE}")),
    ("C", "cmdline", "root= by PARTUUID", "right", lambda c: c.args(f"root=PARTUUID={PARTUUID} ro {CMDLINE}")),
    ("B", "cmdline", "root= by label", "right", lambda c: c.args(f"root=LABEL=rootfs ro {CMDLINE}")),
    ("B", "cmdline", "rd.shell=0 rd.timeout=60 panic=10", "right", plus("rd.shell=0 rd.timeout=60 panic=10")),
    # initrd
    ("A", "initrd", "without what scsi_mod needs", "fatal", without("scsi_common.ko")),
    ("A", "initrd", "without an index of its modules", "fatal", without("modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin")),
    ("A", "initrd", "/init may not be executed", "fatal", lambda c: initrd(c, lambda f: (f / "init").chmod(0o644))),
    ("A", "initrd", "its libc is gone", "fatal", without("libc.so.6")),
    ("C", "initrd", "the entry names another", "fatal", lambda c: c.sub(c.entry, "initramfs-", "initramfs-9")),
    ("C", "initrd", "no line initrd", "fatal", lambda c: c.sub(c.entry, "^initrd .*\n", "")),
    ("C", "initrd", "cut off", "fatal", lambda c: c.cut(c.initrd, 0.6)),
    ("C", "initrd", "without hv_storvsc", "fatal", without("hv_storvsc.ko")),
    ("C", "initrd", "without sd_mod", "fatal", without("sd_mod.ko")),
    ("C", "initrd", "without systemd", "fatal", without("systemd")),
    ("C", "initrd", "a unified kernel image without an initrd", "fatal", lambda c: uki(c, initrd=None)),
    ("C", "initrd", "the root of the build is within, and none on the command line", "fatal", lambda c: initrd(c.args(f"ro {CMDLINE}"), lambda f: put(f, "etc/cmdline.d/95root-dev.conf", "root=/dev/mapper/loop0p1\n"))),
    ("C", "initrd", "an archive of microcode before it", "right", lambda c: c.write(c.initrd, run("cpio", "--quiet", "-o", "-H", "newc", cwd=c.root / "usr/lib/modules", input=b".\n") + c.bytes(c.initrd))),
    ("A", "initrd", "a second archive behind it", "right", lambda c: c.write(c.initrd, c.bytes(c.initrd) + run("gzip", "-c", input=run("cpio", "--quiet", "-o", "-H", "newc", cwd=c.root / "etc", input=b"hostname\n")))),
    ("A", "initrd", "packed with lz4", "right", repack(["lz4", "-l", "-c"])),
    ("B", "initrd", "packed with lzma", "right", repack(["xz", "--format=lzma", "-0", "-c"])),
    ("B", "initrd", "zeros behind it", "right", lambda c: c.write(c.initrd, c.bytes(c.initrd) + bytes(4096))),
    # system
    ("A", "system", "fstab: the identifier in capitals", "fatal", lambda c: c.write("/etc/fstab", c.text("/etc/fstab") + f"UUID={UUID.upper()} /srv ext4 defaults 0 0\n")),
    ("A", "system", "fstab: the identifier of FAT in small letters", "fatal", lambda c: c.sub("/etc/fstab", "1234-ABCD", "1234-abcd")),
    ("A", "system", "fstab: an option of another file system", "fatal", lambda c: c.sub("/etc/fstab", "umask=0077", "subvol=@")),
    ("A", "system", "fstab: nofail in the wrong column", "fatal", fstab(f"UUID={OTHER} /data nofail defaults 0 2")),
    ("A", "system", "no folder /proc", "fatal", lambda c: c.unlink("/proc")),
    ("A", "system", "no folder /dev", "fatal", lambda c: c.unlink("/dev")),
    ("A", "system", "no folder /sys", "fatal", lambda c: c.unlink("/sys")),
    ("A", "system", "no folder /run", "fatal", lambda c: c.unlink("/run")),
    ("A", "system", "no link /lib64", "fatal", lambda c: c.rm("/lib64")),
    ("A", "system", "no link /sbin", "fatal", lambda c: c.rm("/sbin")),
    ("A", "system", "no link /bin", "fatal", lambda c: c.rm("/bin")),
    ("A", "system", "systemd is for another machine", "fatal", elf_of(183, "/usr/lib/systemd/systemd")),
    ("A", "system", "libc is for another machine", "fatal", elf_of(183, "/usr/lib/x86_64-linux-gnu/libc.so.6")),
    ("A", "system", "systemd's own library is gone", "fatal", lambda c: c.rm("/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so")),
    ("A", "system", "the root is not made writable", "fatal", lambda c: mask(c, "systemd-remount-fs.service")),
    ("A", "system", "sysinit.target is masked", "fatal", lambda c: mask(c, "sysinit.target")),
    ("A", "system", "multi-user.target is an empty file", "fatal", lambda c: c.write(f"{SYSTEM}/multi-user.target", "")),
    ("A", "system", "nobody but root may enter the root folder", "fatal", lambda c: c.scripts.setdefault(ROOT, []).append("sif / mode 040700")),
    ("C", "system", "SELinux without its policy", "fatal", lambda c: c.args(f"{R} security=selinux selinux=1 enforcing=1").write("/etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")),
    ("C", "system", "fstab: another /boot", "fatal", lambda c: c.sub("/etc/fstab", BOOT_UUID, OTHER)),
    ("C", "system", "fstab: a logical volume", "fatal", fstab("/dev/mapper/rhel-home /home xfs defaults 0 0")),
    ("C", "system", "fstab: swap of an installer", "fatal", fstab("UUID=5a5a5a5a-2222-3333-4444-555555555555 none swap defaults 0 0")),
    ("C", "system", "the default target is emergency", "fatal", lambda c: c.link(f"{SYSTEM}/default.target", "/usr/lib/systemd/system/emergency.target")),
    ("A", "system", "fstab: the root with another type", "right", lambda c: c.sub("/etc/fstab", "/ ext4", "/ xfs")),
    ("A", "system", "fstab: the root with noauto", "right", lambda c: c.sub("/etc/fstab", "errors=remount-ro", "noauto,errors=remount-ro")),
    ("A", "system", "fstab: tabs, comments and short lines", "right", lambda c: c.write("/etc/fstab", f"# a comment\n\n\tUUID={UUID}\t/\text4\n   UUID=1234-ABCD /boot/efi vfat\n")),
    ("A", "system", "fstab: on demand", "right", fstab(f"UUID={OTHER} /data ext4 noauto,x-systemd.automount 0 2")),
    ("A", "system", "machine-id is not initialised", "right", lambda c: c.write("/etc/machine-id", "uninitialized\n")),
    ("A", "system", "no machine-id, and the root is mounted writable", "right", lambda c: c.rm("/etc/machine-id").args(R.replace(" ro ", " rw "))),
    ("A", "system", "a preloaded library that is not there", "right", lambda c: c.write("/etc/ld.so.preload", "/usr/lib/nothing.so\n")),
    ("C", "system", "SELinux is permissive, and has no policy", "right", lambda c: c.write("/etc/selinux/config", "SELINUX=permissive\nSELINUXTYPE=targeted\n")),
    ("C", "system", "fstab: /tmp in memory, and a network drive", "right", fstab("tmpfs /tmp tmpfs size=1g 0 0\n//server/share /mnt/share cifs guest,_netdev 0 0")),
    # provisioning
    ("A", "provisioning", "the agent's unit has a condition that fails", "fatal", drop_in("walinuxagent.service", "[Unit]\nConditionVirtualization=!microsoft\n")),
    ("A", "provisioning", "the agent's unit needs one that is not there", "fatal", drop_in("walinuxagent.service", "[Unit]\nRequires=nothing.service\n")),
    ("A", "provisioning", "the agent's first file is empty", "fatal", lambda c: c.write("/usr/lib/python3/dist-packages/azurelinuxagent/agent.py", "")),
    ("A", "provisioning", "no driver of the DVD", "fatal", lambda c: without("sr_mod.ko")(c.rm(modules(c, "kernel/drivers/scsi/sr_mod.ko")))),
    ("A", "provisioning", "the agent's unit has another program", "fatal", drop_in("walinuxagent.service", "[Service]\nExecStart=\nExecStart=/opt/waagent\n")),
    ("B", "provisioning", "another data source on the command line", "fatal", plus("ci.ds=NoCloud")),
    ("B", "provisioning", "another data source in a later file", "fatal", cloud("datasource_list: [ NoCloud, ConfigDrive ]\n")),
    ("B", "provisioning", "a policy of ds-identify", "fatal", lambda c: c.write("/etc/cloud/ds-identify.cfg", "policy: disabled\n")),
    ("B", "provisioning", "no users", "fatal", cloud("users: []\n")),
    ("C", "provisioning", "cloud-init-local is masked", "fatal", lambda c: mask(c, "cloud-init-local.service")),
    ("C", "provisioning", "another data source", "fatal", lambda c: c.write("/etc/cloud/cloud.cfg.d/91-azure.cfg", "datasource_list: [ OpenStack ]\n")),
    ("C", "provisioning", "cloud-init is disabled", "fatal", lambda c: c.write("/etc/cloud/cloud-init.disabled", "")),
    ("C", "provisioning", "no module for users", "fatal", cloud("cloud_init_modules: [bootcmd, write-files, ssh]\n")),
    ("A", "provisioning", "the agent's first line names an interpreter that is not there", "fatal", lambda c: c.write("/usr/sbin/waagent", c.text("/usr/sbin/waagent").replace("python3", "python2", 1))),
    ("A", "provisioning", "the agent's unit has a condition that holds", "right", drop_in("walinuxagent.service", "[Unit]\nConditionVirtualization=vm\nConditionPathExists=/etc/waagent.conf\nConditionPathExists=!/etc/nothing\nAfter=nothing.service\nWants=nothing.service\n")),
    ("B", "provisioning", "two data sources", "right", lambda c: c.write("/etc/cloud/cloud.cfg.d/91-azure.cfg", "datasource_list:\n  - Azure\n  - None\n")),
    ("B", "provisioning", "a user of its own", "right", cloud("system_info:\n  default_user:\n    name: azureuser\n    lock_passwd: true\n    groups: [sudo]\n    shell: /bin/bash\n")),
    ("C", "provisioning", "a data source's options", "right", cloud("datasource:\n  Azure:\n    apply_network_config: true\n    disk_aliases:\n      ephemeral0: /dev/disk/cloud/azure_resource\n")),
    # network
    ("A", "network", "a rule of udev names it anew", "fatal", lambda c: c.write("/etc/udev/rules.d/70-own.rules", 'SUBSYSTEM=="net", ACTION=="add", KERNEL=="eth*", NAME="lan0"\n')),
    ("A", "network", "a link file names it anew", "fatal", lambda c: c.write("/etc/systemd/network/10-own.link", "[Match]\nDriver=hv_netvsc\n[Link]\nName=lan0\n")),
    ("A", "network", "hv_netvsc is blacklisted on the command line", "fatal", plus("modprobe.blacklist=hv_netvsc")),
    ("A", "network", "a command before it fails", "fatal", interfaces("auto eth0\niface eth0 inet dhcp\n    pre-up /bin/false\n")),
    ("A", "network", "in a file whose name is left out", "fatal", lambda c: c.write(IFACES, "source-directory /etc/network/interfaces.d\nauto lo\niface lo inet loopback\n").write("/etc/network/interfaces.d/eth0.cfg", "auto eth0\niface eth0 inet dhcp\n")),
    ("A", "network", "IPv6 only", "fatal", interfaces("auto eth0\niface eth0 inet6 auto\n")),
    ("B", "network", "netplan: in a file whose name is left out", "fatal", lambda c: no_cloud_network(c).rm("/etc/netplan/50-eth0.yaml").write("/etc/netplan/50-eth0.yml", c.text("/etc/netplan/50-eth0.yaml"))),
    ("B", "network", "netplan: not brought up", "fatal", lambda c: netplan("network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n      activation-mode: manual\n")(no_cloud_network(c))),
    ("B", "network", "netplan: left to a program that is not there", "fatal", lambda c: netplan("network:\n  version: 2\n  renderer: NetworkManager\n  ethernets:\n    eth0:\n      dhcp4: true\n")(no_cloud_network(c))),
    ("B", "network", "networkd: it has no [Match]", "fatal", lambda c: networkd(no_cloud_network(c), "[Network]\nDHCP=yes\n")),
    ("B", "network", "networkd: unmanaged", "fatal", lambda c: networkd(no_cloud_network(c), "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\n[Network]\nDHCP=yes\n")),
    ("B", "network", "networkd: a file before it takes the card", "fatal", lambda c: networkd(no_cloud_network(c), "[Match]\nName=eth0\n[Network]\nDHCP=yes\n").write("/etc/systemd/network/05-all.network", "[Match]\nName=*\n[Network]\nLinkLocalAddressing=no\n")),
    ("B", "network", "systemd.mask= of networkd", "fatal", lambda c: no_cloud_network(c).args(f"{R} systemd.mask=systemd-networkd.service")),
    ("C", "network", "NetworkManager: not by itself", "fatal", lambda c: nm("[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\nautoconnect=false\n[ipv4]\nmethod=auto\n")(no_cloud_network(c))),
    ("C", "network", "NetworkManager: a fixed address", "fatal", lambda c: nm("[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=manual\naddress1=192.168.1.5/24,192.168.1.1\n")(no_cloud_network(c))),
    ("C", "network", "NetworkManager: no IPv4", "fatal", lambda c: nm("[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=disabled\n")(no_cloud_network(c))),
    ("C", "network", "NetworkManager is not enabled", "fatal", lambda c: no_cloud_network(c).rm(f"{WANTS}/NetworkManager.service", f"{SYSTEM}/network-online.target.wants/NetworkManager-wait-online.service", f"{SYSTEM}/dbus-org.freedesktop.nm-dispatcher.service")),
    ("C", "network", "NetworkManager: nothing is managed", "fatal", lambda c: no_cloud_network(c).write("/etc/NetworkManager/conf.d/own.conf", "[keyfile]\nunmanaged-devices=*\n")),
    ("C", "network", "NetworkManager: another card, and none by itself", "fatal", lambda c: nm("[connection]\nid=ens3\ntype=ethernet\ninterface-name=ens3\n[ipv4]\nmethod=auto\n")(no_cloud_network(c)).write("/etc/NetworkManager/conf.d/own.conf", "[main]\nno-auto-default=*\n")),
    ("C", "network", "NetworkManager: any card", "right", lambda c: nm("[connection]\nid=any\ntype=ethernet\n[ipv4]\nmethod=auto\n")(no_cloud_network(c))),
    ("C", "network", "NetworkManager: no connection, so one of its own", "right", lambda c: no_cloud_network(c).rm(NM)),
    ("C", "network", "NetworkManager: another card, so one of its own", "right", lambda c: nm("[connection]\nid=ens3\ntype=ethernet\ninterface-name=ens3\n[ipv4]\nmethod=auto\n")(no_cloud_network(c))),
    ("A", "network", "a rule of udev names another card", "right", lambda c: c.write("/etc/udev/rules.d/70-own.rules", 'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="virtio_net", NAME="lan0"\n')),
    ("A", "network", "commands after it", "right", interfaces("auto eth0\niface eth0 inet dhcp\n    mtu 1500\n    post-up /bin/true || true\n    up ip route show || true\n")),
    ("B", "network", "netplan: optional, with an order of names", "right", lambda c: netplan("network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    nics:\n      match:\n        name: \"e*\"\n      dhcp4: true\n      optional: true\n")(no_cloud_network(c))),
    ("B", "network", "networkd: as systemd has it for all", "right", lambda c: networkd(no_cloud_network(c), "[Match]\nKind=!*\nType=ether\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n", "80-ethernet.network")),
    # reachable
    ("A", "reachable", "a condition of the unit fails", "fatal", drop_in("ssh.service", "[Unit]\nConditionPathExists=/etc/nothing\n")),
    ("A", "reachable", "a condition of the unit is for another host", "fatal", drop_in("ssh.service", "[Unit]\nConditionVirtualization=kvm\n")),
    ("A", "reachable", "the unit needs one that is not there", "fatal", drop_in("ssh.service", "[Unit]\nRequires=nothing.service\n")),
    ("A", "reachable", "the unit is in a folder that is not there", "fatal", drop_in("ssh.service", "[Service]\nRootDirectory=/srv/nothing\n")),
    ("A", "reachable", "it runs as another user", "fatal", drop_in("ssh.service", "[Service]\nUser=nobody\n")),
    ("A", "reachable", "a drop-in for all services", "fatal", lambda c: c.write(f"{SYSTEM}/service.d/own.conf", "[Unit]\nConditionPathExists=/etc/nothing\n")),
    ("A", "reachable", "systemd.mask=", "fatal", plus("systemd.mask=ssh.service")),
    ("A", "reachable", "options in /etc/default/ssh", "fatal", lambda c: c.write("/etc/default/ssh", "SSHD_OPTS='-o ListenAddress=127.0.0.1'\n")),
    ("A", "reachable", "another configuration in /etc/default/ssh", "fatal", lambda c: c.write("/etc/default/ssh", "SSHD_OPTS=-f /etc/ssh/nothing\n")),
    ("A", "reachable", "no sshd_config", "fatal", lambda c: c.rm(SSHD)),
    ("A", "reachable", "no file of keys, and no passwords", "fatal", sshd("AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no")),
    ("A", "reachable", "a block for all", "fatal", lambda c: c.append(SSHD, "\nMatch User *\n  PubkeyAuthentication no\n  PasswordAuthentication no\n  KbdInteractiveAuthentication no\n")),
    ("A", "reachable", "no sessions", "fatal", sshd("MaxSessions 0\nForceCommand /bin/false")),
    ("A", "reachable", "methods that are not allowed", "fatal", sshd("PasswordAuthentication no\nAuthenticationMethods password")),
    ("A", "reachable", "a folder for all that is not there", "fatal", sshd("ChrootDirectory /srv/nothing")),
    ("A", "reachable", "hosts.deny", "fatal", lambda c: c.write("/etc/hosts.deny", "ALL: ALL\n")),
    ("A", "reachable", "pam_deny for all", "fatal", lambda c: c.write("/etc/pam.d/sshd", "account required pam_deny.so\n" + c.text("/etc/pam.d/sshd"))),
    ("A", "reachable", "access.conf", "fatal", lambda c: c.sub("/etc/pam.d/sshd", "^# *account +required +pam_access.so", "account required pam_access.so").write("/etc/security/access.conf", "-:ALL:ALL\n")),
    ("A", "reachable", "nobody takes /run/nologin away", "fatal", lambda c: mask(c, "systemd-user-sessions.service")),
    ("C", "reachable", "sshd is masked", "fatal", lambda c: mask(c, "sshd.service")),
    ("C", "reachable", "sshd is started by cloud-init only", "right", lambda c: c.rm(f"{WANTS}/sshd.service")),
    ("C", "reachable", "firewalld: the zone has no SSH", "fatal", zone('  <service name="dhcpv6-client"/>\n')),
    ("C", "reachable", "firewalld: the default zone drops", "fatal", lambda c: c.sub("/etc/firewalld/firewalld.conf", "^DefaultZone=.*", "DefaultZone=drop")),
    ("C", "reachable", "firewalld, and another port", "fatal", sshd("Port 2222")),
    ("C", "reachable", "nftables drops", "fatal", lambda c: mask(c, "firewalld.service").write("/etc/nftables.conf", "flush ruleset\ntable inet f {\n chain input {\n type filter hook input priority 0; policy drop;\n iif lo accept\n ct state established accept\n }\n}\n").link(f"{WANTS}/nftables.service", "/usr/lib/systemd/system/nftables.service")),
    ("C", "reachable", "keys for nobody", "fatal", sshd("PubkeyAuthentication no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nGSSAPIAuthentication no")),
    ("A", "reachable", "includes of nothing, and blocks", "right", lambda c: c.append(SSHD, "\nInclude /etc/ssh/nothing.conf\nMatch User backup\n  Include /etc/ssh/nothing.d/*.conf\n  ForceCommand /bin/false\n")),
    ("A", "reachable", "conditions of the unit that hold", "right", drop_in("ssh.service", "[Unit]\nConditionPathExists=/etc/ssh\nConditionVirtualization=microsoft\nConditionArchitecture=x86-64\nAfter=nothing.service\n")),
    ("A", "reachable", "hosts.allow and hosts.deny", "right", lambda c: c.write("/etc/hosts.allow", "sshd: ALL\n").write("/etc/hosts.deny", "ALL: ALL\n")),
    ("A", "reachable", "a unit of its own", "right", lambda c: c.write(f"{SYSTEM}/ssh.service", c.text("/usr/lib/systemd/system/ssh.service"))),
    ("A", "reachable", "a banner and a subsystem that are not there", "right", sshd("Banner /etc/nothing\nLoginGraceTime 0\nMaxAuthTries 10")),
    ("C", "reachable", "firewalld: another zone that has SSH", "right", lambda c: c.sub("/etc/firewalld/firewalld.conf", "^DefaultZone=.*", "DefaultZone=work")),
    ("C", "reachable", "firewalld: a port", "right", lambda c: zone('  <port port="22" protocol="tcp"/>\n')(c)),
    ("C", "reachable", "firewalld is masked", "right", lambda c: mask(c, "firewalld.service")),
    ("C", "reachable", "sshd by a socket", "right", lambda c: c.rm(f"{WANTS}/sshd.service").write(f"{SYSTEM}/sshd.socket", "[Socket]\nListenStream=22\nAccept=yes\n[Install]\nWantedBy=sockets.target\n").write(f"{SYSTEM}/sshd@.service", "[Unit]\nWants=sshd-keygen.target\nAfter=sshd-keygen.target\n[Service]\nExecStart=-/usr/sbin/sshd -i\nStandardInput=socket\n").link(f"{SYSTEM}/sockets.target.wants/sshd.socket", f"{SYSTEM}/sshd.socket")),
]
