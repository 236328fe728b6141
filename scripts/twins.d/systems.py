"""The real systems that twins are copies of, each built once and kept.

A: Debian with initramfs-tools, ifupdown and the Azure Linux Agent; GRUB for both generations.
B: Debian with dracut, netplan and cloud-init; shim and GRUB.
C: laid out as Fedora and its relatives do, from Debian's packages: /boot of its own, entries after the
   Boot Loader Specification, dracut's names, NetworkManager, firewalld, `sshd.service`, cloud-init.
   Debian's GRUB has no `blscfg`, so this one boots with systemd-boot only (`systemd_boot`).
"""
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent.parent
WORK = Path(os.environ.get("TWINS", HERE / "target/twins"))
STORE = WORK / "store"
UUID = "8a0b4c7e-1111-4222-8333-9abcdef01234"
BOOT_UUID = "8a0b4c7e-2222-4222-8333-9abcdef01234"
PARTUUID = "11111111-2222-4333-8444-555555555555"
MACHINE = "0123456789abcdef0123456789abcdef"
MIB = 1 << 20
ESP, ROOT, SIZE = 2 * MIB, 36 * MIB, 1400 * MIB
# Of family C: /boot, and the root behind it.
C_ESP_END, C_ROOT = 66 * MIB, 258 * MIB
COMMON = "linux-image-cloud-amd64,openssh-server,systemd-sysv,udev,zstd,netbase,iproute2,kmod,dbus,sudo,grub2-common,"
FAMILIES = {
    "A": COMMON + "grub-pc-bin,grub-efi-amd64-bin,initramfs-tools,waagent,ifupdown,isc-dhcp-client,libpam-systemd",
    "B": COMMON + "grub-efi-amd64-signed,shim-signed,dracut,cloud-init,netplan.io,systemd-resolved",
    "C": COMMON + "grub-efi-amd64-signed,shim-signed,dracut,cloud-init,network-manager,firewalld,systemd-boot-efi,libpam-systemd,nftables",
}
CMDLINE = "rootdelay=300 console=tty1 console=ttyS0 earlyprintk=ttyS0 net.ifnames=0"
ARGS = f"root=UUID={UUID} ro {CMDLINE}"


def run(*command, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, **options)
    if result.returncode:
        error = result.stderr if isinstance(result.stderr, str) else result.stderr.decode(errors="replace")
        raise RuntimeError(f"{' '.join(map(str, command))}: {error.strip()[-2000:]}")
    return result.stdout


def mirror():
    text = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)",
               "Created-By: Packages", text=True)
    return next(line.split()[0] for line in text.splitlines() if line.endswith(" Debian Debian"))


def store():
    """A file system that can clone files, so that a twin costs only what differs."""
    image = WORK / "store.xfs"
    STORE.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        with open(image, "wb") as f:
            f.truncate(24 << 30)
        run("mkfs.xfs", "-q", image)
    if not os.path.ismount(STORE):
        run("mount", "-o", "loop", image, STORE)


def build(family):
    """The folder of a system, and its disk."""
    root = WORK / family
    if not root.exists():
        partial = WORK / f"{family}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        run("mmdebstrap", "--variant=minbase", "--include=" + FAMILIES[family], "bookworm", partial, mirror())
        prepare(family, partial)
        partial.rename(root)
    disk = STORE / f"{family}.raw"
    if not disk.exists():
        partial = STORE / f"{family}.partial"
        assemble(family, root, partial)
        partial.rename(disk)
    return root, disk


def put(root, path, text, mode=0o644):
    path = root / path.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def prepare(family, root):
    put(root, "etc/fstab", f"UUID={UUID} / ext4 errors=remount-ro 0 1\nUUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    put(root, "etc/machine-id", "")
    put(root, "etc/hostname", "azure\n")
    (root / "boot/efi").mkdir(exist_ok=True)
    if family == "A":
        put(root, "etc/network/interfaces",
            "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n")
        conf = root / "etc/waagent.conf"
        conf.write_text(conf.read_text().replace("Provisioning.Agent=cloud-init", "Provisioning.Agent=auto"))
    else:
        put(root, "etc/cloud/cloud.cfg.d/91-azure.cfg", "datasource_list: [ Azure ]\n")
    if family == "B":
        put(root, "etc/netplan/50-eth0.yaml", "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n", 0o600)
        run("chroot", root, "systemctl", "enable", "systemd-networkd")
    if family == "C":
        prepare_c(root)
    else:
        put(root, "boot/grub/grub.cfg", grub_cfg(root))


OS_RELEASE = """NAME="Example Linux"
VERSION="9.4"
ID="examplelinux"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.4"
PRETTY_NAME="Example Linux 9.4"
"""


def prepare_c(root):
    k = kernel(root)
    (root / "etc/os-release").unlink()
    put(root, "etc/os-release", OS_RELEASE)
    put(root, "etc/fstab", f"UUID={UUID} / ext4 defaults 0 1\nUUID={BOOT_UUID} /boot ext4 defaults 0 2\n"
        "UUID=1234-ABCD /boot/efi vfat umask=0077,shortname=winnt 0 2\n")
    put(root, "etc/dracut.conf.d/azure.conf", 'hostonly="no"\nadd_drivers+=" hv_vmbus hv_netvsc hv_storvsc "\n')
    (root / f"boot/initrd.img-{k}").unlink(missing_ok=True)
    run("chroot", root, "dracut", "-q", "-f", f"/boot/initramfs-{k}.img", k)
    put(root, f"boot/loader/entries/{MACHINE}-{k}.conf",
        f"title Example Linux ({k}) 9.4\nversion {k}\nlinux /vmlinuz-{k}\ninitrd /initramfs-{k}.img\noptions {ARGS}\n"
        "grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class example\n")
    put(root, "boot/grub2/grub.cfg", GRUB2_CFG)
    put(root, "boot/grub2/grubenv", f"# GRUB Environment Block\nsaved_entry={MACHINE}-{k}\nboot_success=1\n".ljust(1024, "#"))
    put(root, "etc/default/grub", f'GRUB_TIMEOUT=5\nGRUB_DEFAULT=saved\nGRUB_CMDLINE_LINUX="{CMDLINE}"\nGRUB_ENABLE_BLSCFG=true\n')
    put(root, "etc/NetworkManager/system-connections/eth0.nmconnection",
        "[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=auto\n", 0o600)
    shutil.rmtree(root / "etc/network", ignore_errors=True)
    # No scripts of a time before systemd, for which it would make units.
    for folder in [root / "etc/init.d", *(root / "etc").glob("rc?.d")]:
        shutil.rmtree(folder, ignore_errors=True)
    # The unit has another name there, and one of its own makes the keys.
    units = root / "usr/lib/systemd/system"
    (units / "sshd.service").unlink(missing_ok=True)
    text = (units / "ssh.service").read_text().replace("Alias=sshd.service\n", "").replace("EnvironmentFile=-/etc/default/ssh", "EnvironmentFile=-/etc/sysconfig/sshd")
    (units / "ssh.service").unlink()
    put(units, "sshd.service", text.replace("After=network.target auditd.service", "After=network.target sshd-keygen.target\nWants=sshd-keygen.target"))
    put(units, "sshd-keygen.target", "[Unit]\nWants=sshd-keygen@ed25519.service\nPartOf=sshd.service\n")
    put(units, "sshd-keygen@.service", "[Unit]\nDescription=OpenSSH %i Server Key Generation\n"
        "ConditionFileNotEmpty=|!/etc/ssh/ssh_host_%i_key\n[Service]\nType=oneshot\n"
        "ExecStart=/usr/bin/ssh-keygen -q -t %i -f /etc/ssh/ssh_host_%i_key -N ''\n")
    for link in ["multi-user.target.wants/ssh.service", "sshd.service", "sockets.target.wants/ssh.socket"]:
        (root / "etc/systemd/system" / link).unlink(missing_ok=True)
    run("chroot", root, "systemctl", "enable", "sshd", "NetworkManager", "firewalld")
    # The same program under its name there.
    (root / "usr/sbin/grub2-mkconfig").symlink_to("grub-mkconfig")


GRUB2_CFG = f"""set pager=1
if [ -f ${{config_directory}}/grubenv ]; then
  load_env -f ${{config_directory}}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${{saved_entry}}"
fi
if [ x"${{feature_menuentry_id}}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
terminal_output console
if [ x$feature_timeout_style = xy ] ; then
  set timeout_style=menu
  set timeout=5
else
  set timeout=5
fi
insmod part_gpt
insmod ext2
search --no-floppy --fs-uuid --set=root {BOOT_UUID}
set boot=${{root}}
if [ -z "${{kernelopts}}" ]; then
  set kernelopts="root=UUID={UUID} ro "
fi
insmod blscfg
blscfg
if [ -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""


def kernel(root):
    return next(p.name[8:] for p in sorted((root / "boot").glob("vmlinuz-*")))


def grub_cfg(root, args=ARGS):
    k = kernel(root)
    entry = f"""\tload_video
\tinsmod gzio
\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
\tinsmod part_gpt
\tinsmod ext2
\tset root='hd0,gpt3'
\tif [ x$feature_platform_search_hint = xy ]; then
\t  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt3 --hint-efi=hd0,gpt3 --hint-baremetal=ahci0,gpt3  {UUID}
\telse
\t  search --no-floppy --fs-uuid --set=root {UUID}
\tfi
\techo\t'Loading Linux {k} ...'
\tlinux\t/boot/vmlinuz-{k} {args}
\techo\t'Loading initial ramdisk ...'
\tinitrd\t/boot/initrd.img-{k}
}}
"""
    return f"""if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="0"
fi
if [ x"${{feature_menuentry_id}}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function load_video {{
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
  fi
}}
if [ "${{recordfail}}" = 1 ] ; then
  set timeout=30
else
  if [ x$feature_timeout_style = xy ] ; then
    set timeout_style=menu
    set timeout=5
  else
    set timeout=5
  fi
fi
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-{UUID}' {{
{entry}submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-{UUID}' {{
menuentry 'Debian GNU/Linux, with Linux {k}' --class debian $menuentry_id_option 'gnulinux-{k}-advanced-{UUID}' {{
{entry}menuentry 'Debian GNU/Linux, with Linux {k} (recovery mode)' $menuentry_id_option 'gnulinux-{k}-recovery-{UUID}' {{
{entry.replace(args, f"root=UUID={UUID} ro single")}}}
"""


def assemble(family, root, disk):
    with tempfile.TemporaryDirectory(dir=STORE) as folder:
        folder = Path(folder)
        esp_end = C_ESP_END if family == "C" else ROOT
        make_esp(family, root, folder, esp_end)
        if family != "C":
            for target in ["i386-pc", "x86_64-efi"]:
                to = root / "boot/grub" / target
                to.mkdir(parents=True, exist_ok=True)
                for pattern in ["*.mod", "*.lst"]:
                    for module in Path("/usr/lib/grub", target).glob(pattern):
                        shutil.copy(module, to)
        with open(disk, "wb") as f:
            f.truncate(SIZE)
        (write_table_c if family == "C" else write_table)(root, folder, disk)


def make_esp(family, root, folder, end):
    (folder / "load.cfg").write_text(f"search.fs_uuid {UUID} root hd0,gpt3 \nset prefix=($root)'/boot/grub'\n")
    run("grub-mkimage", "-O", "x86_64-efi", "-c", folder / "load.cfg", "-p", "/boot/grub", "-o", folder / "bootx64.efi",
        "part_gpt", "ext2", "search_fs_uuid")
    run("mkfs.vfat", "-F", "32", "-i", "1234ABCD", "-C", folder / "esp", (end - ESP) // 1024)
    run("mmd", "-i", folder / "esp", "::EFI", "::EFI/BOOT")
    if family == "A":
        run("mcopy", "-i", folder / "esp", folder / "bootx64.efi", "::EFI/BOOT/BOOTX64.EFI")
        return
    stub = f"search.fs_uuid {UUID} root hd0,gpt3 \nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    if family == "C":
        stub = f"search --no-floppy --root-dev-only --fs-uuid --set=dev {BOOT_UUID}\nset prefix=($dev)/grub2\nexport $prefix\nconfigfile $prefix/grub.cfg\n"
    (folder / "grub.cfg").write_text(stub)
    # The vendor's folder is built into the signed GRUB.
    run("mmd", "-i", folder / "esp", "::EFI/debian")
    run("mcopy", "-i", folder / "esp", root / "usr/lib/shim/shimx64.efi.signed", "::EFI/BOOT/BOOTX64.EFI")
    run("mcopy", "-i", folder / "esp", root / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "::EFI/BOOT/grubx64.efi")
    run("mcopy", "-i", folder / "esp", folder / "grub.cfg", "::EFI/debian/grub.cfg")


def write_table(root, folder, disk):
    grub = Path("/usr/lib/grub")
    kib = (SIZE - ROOT - 4 * MIB) // 1024
    run("mkfs.ext4", "-q", "-U", UUID, "-L", "rootfs", "-d", root, folder / "root", f"{kib}k")
    layout = (f"label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n"
              f"start=4096, size={(ROOT - ESP) // 512}, type=U\n"
              f"start={ROOT // 512}, size={kib * 2}, type=L, name=root, uuid={PARTUUID}\n")
    run("sfdisk", "--quiet", disk, input=layout.encode())
    run("grub-mkimage", "-O", "i386-pc", "-p", "(,gpt3)/boot/grub", "-o", folder / "core", "biosdisk", "part_gpt", "ext2")
    core = (folder / "core").read_bytes()
    count = -(-len(core) // 512)
    core = bytearray(core.ljust(count * 512, b"\0"))
    core[500:512] = struct.pack("<QHH", 2049, count - 1, 0x820)
    boot = bytearray((grub / "i386-pc/boot.img").read_bytes())
    struct.pack_into("<Q", boot, 0x5C, 2048)
    with open(disk, "r+b") as f:
        f.write(boot[:440])
        f.seek(MIB)
        f.write(core)
    for name, at in [("esp", ESP), ("root", ROOT)]:
        place(folder / name, disk, at)


def write_table_c(root, folder, disk):
    kib = (SIZE - C_ROOT - 4 * MIB) // 1024
    with tempfile.TemporaryDirectory(dir=WORK) as empty:
        # The root with an empty /boot in place of its own.
        boot = Path(empty) / "boot"
        (root / "boot").rename(boot)
        try:
            (root / "boot/efi").mkdir(parents=True)
            run("mkfs.ext4", "-q", "-U", UUID, "-L", "rootfs", "-d", root, folder / "root", f"{kib}k")
        finally:
            shutil.rmtree(root / "boot")
            boot.rename(root / "boot")
    run("mkfs.ext4", "-q", "-U", BOOT_UUID, "-L", "boot", "-d", root / "boot", folder / "boot", f"{(C_ROOT - C_ESP_END) // 1024}k")
    layout = (f"label: gpt\nstart=4096, size={(C_ESP_END - ESP) // 512}, type=U\n"
              f"start={C_ESP_END // 512}, size={(C_ROOT - C_ESP_END) // 512}, type=BC13C2FF-59E6-4262-A352-B275FD6F7172\n"
              f"start={C_ROOT // 512}, size={kib * 2}, type=L, name=root, uuid={PARTUUID}\n")
    run("sfdisk", "--quiet", disk, input=layout.encode())
    for name, at in [("esp", ESP), ("boot", C_ESP_END), ("root", C_ROOT)]:
        place(folder / name, disk, at)


def place(image, disk, at):
    run("dd", f"if={image}", f"of={disk}", "bs=1M", f"seek={at}", "oflag=seek_bytes", "conv=notrunc,sparse")
