//! A Debian that was prepared right, and the same broken in each way that the guide names.

use std::path::{Path, PathBuf};

use check::{Generation, Options};

use super::base::{CMDLINE, ROOT_UUID, base, grub_cfg};
use super::broken::{Broken, RIGHT};
use super::tools::{Folder, check, ids, run};

const FIRST_GENERATION: Options = Options {
    generation: Some(Generation::One),
    data_disk: false,
    secure_boot: false,
};

fn kernel() -> &'static str {
    &base().kernel
}

#[test]
fn the_image_that_was_prepared_right() {
    let report = check(&base().image, Options::default());
    assert_eq!(ids(&report), RIGHT, "{report}");
    assert!(report.ready);
    assert_eq!(report.generation, Generation::Two);
    let report = check(&base().image, FIRST_GENERATION);
    assert_eq!(ids(&report), RIGHT, "{report}");
    Broken::new().expect(&[]);
}

#[test]
fn a_root_folder_that_only_root_may_enter() {
    Broken::new()
        .command("sif / mode 040700")
        .expect(&["system-file"]);
}

#[test]
fn kernel_command_lines() {
    for (from, to, finding) in [
        ("console=ttyS0 ", "", "cmdline-console"),
        ("console=ttyS0 ", "console=tty0 ", "cmdline-console"),
        (
            "console=ttyS0 ",
            "console=ttyS0 console=tty0 ",
            "cmdline-console-order",
        ),
        ("earlyprintk=ttyS0 ", "", "cmdline-earlyprintk"),
        ("net.ifnames=0", "", "cmdline-ifnames"),
        ("ro ", "ro rhgb ", "cmdline-rhgb"),
        ("ro ", "ro quiet ", "cmdline-quiet"),
        ("ro ", "ro crashkernel=auto ", "cmdline-crashkernel"),
    ] {
        let cmdline = CMDLINE.replacen(from, to, 1);
        assert_ne!(cmdline, CMDLINE);
        Broken::new().cmdline(&cmdline).expect(&[finding]);
    }
    Broken::new()
        .cmdline(&format!("{CMDLINE} crashkernel=128M"))
        .expect(&[]);
    // initramfs-tools sleeps for all of it.
    for to in ["", "rootdelay=3 "] {
        Broken::new()
            .cmdline(&CMDLINE.replacen("rootdelay=300 ", to, 1))
            .expect_change(&[], &["cmdline-rootdelay-long"]);
    }
}

#[test]
fn boot_menus() {
    Broken::new()
        .remove("/boot/grub/grub.cfg")
        .expect_before_initrd(&["grub-config"]);
    let kernel = kernel();
    let entry = |cmdline: &str| {
        format!(
            "title Linux ({kernel})\nversion {kernel}\nlinux /boot/vmlinuz-{kernel}\ninitrd /boot/initrd.img-{kernel}\noptions {cmdline}\n"
        )
    };
    let bls = || {
        Broken::new()
            .write(
                "/boot/grub/grub.cfg",
                "set timeout=5\ninsmod blscfg\nblscfg\n",
            )
            .folder("/boot/loader")
            .folder("/boot/loader/entries")
    };
    let path = format!("/boot/loader/entries/a-{kernel}.conf");
    bls().write(&path, entry(CMDLINE)).expect(&[]);
    bls()
        .write(&path, entry(&format!("{CMDLINE} quiet")))
        .expect(&["cmdline-quiet"]);
    bls().expect_before_initrd(&["loader-stops"]);
    // The entry that a saved choice selects counts.
    let saved = grub_cfg(kernel, CMDLINE).replace("default=\"0\"", "default=\"${saved_entry}\"");
    let choice = "# GRUB Environment Block\nsaved_entry=gnulinux-advanced>gnulinux-older\n";
    Broken::new()
        .write("/boot/grub/grub.cfg", saved)
        .write("/boot/grub/grubenv", choice)
        .expect_change(
            &["cmdline-console", "cmdline-earlyprintk", "cmdline-ifnames"],
            &["cmdline-rootdelay-long"],
        );
}

#[test]
fn kernels() {
    let path = format!("/boot/vmlinuz-{}", kernel());
    Broken::new()
        .remove(&path)
        .expect_before_initrd(&["kernel-missing"]);
    Broken::new()
        .write(&path, "")
        .expect_before_initrd(&["kernel-broken"]);
    Broken::new()
        .write(&path, "kernel")
        .expect_before_initrd(&["kernel-broken"]);
    let whole = std::fs::read(base().root.join(path.trim_start_matches('/'))).unwrap();
    let cut = &whole[..whole.len() / 2];
    Broken::new()
        .write(&path, cut)
        .expect_before_initrd(&["kernel-broken"]);
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0);
    Broken::new()
        .write(&path, damaged)
        .expect_before_initrd(&["kernel-broken"]);
}

fn packed(tool: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let folder = Folder::new();
    let (input, output) = (folder.file("in", bytes), folder.path("out"));
    let command = format!(
        "{tool} {} < '{}' > '{}'",
        args.join(" "),
        input.display(),
        output.display()
    );
    run(tool, &[&"--version"]);
    run("sh", &[&"-c", &command]);
    std::fs::read(output).unwrap()
}

/// The files of the right initrd with only those modules that are needed, and without others that
/// are named.
struct Unpacked(Folder);

impl Unpacked {
    fn new() -> Self {
        let folder = Folder::new();
        let initrd = base().root.join(format!("boot/initrd.img-{}", kernel()));
        let command = format!(
            "cd '{}' && zstd -q -d -c '{}' | cpio --quiet -i -d -m",
            folder.path("").display(),
            initrd.display()
        );
        run("sh", &[&"-c", &command]);
        let unpacked = Self(folder);
        let list = unpacked.modules().join("modules.dep");
        let needs = std::fs::read_to_string(list).unwrap();
        let mut kept: Vec<&str> = Vec::new();
        for module in ["hv_vmbus", "hv_storvsc", "sd_mod"] {
            let ending = format!("/{module}.ko:");
            let line = needs
                .lines()
                .find(|line| format!("{line} ").contains(&ending));
            kept.extend(line.into_iter().flat_map(|line| line.split([':', ' '])));
        }
        unpacked.keep(&unpacked.modules().join("kernel"), &kept);
        unpacked
    }

    fn modules(&self) -> PathBuf {
        self.0.path("usr/lib/modules").join(kernel())
    }

    fn keep(&self, folder: &Path, kept: &[&str]) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = path
                .strip_prefix(self.modules())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_dir() {
                self.keep(&path, kept);
            } else if !kept.contains(&name.as_str()) {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// An archive of the files without those of these names.
    fn without(&self, names: &[&str]) -> Vec<u8> {
        let archive = Folder::new();
        let filter: String = names
            .iter()
            .map(|name| format!("| grep -v '/{name}$' "))
            .collect();
        let command = format!(
            "cd '{}' && find . {filter}| cpio --quiet -o -H newc > '{}'",
            self.0.path("").display(),
            archive.path("cpio").display()
        );
        run("cpio", &[&"--version"]);
        run("sh", &[&"-c", &command]);
        std::fs::read(archive.path("cpio")).unwrap()
    }
}

#[test]
fn initial_ram_disks() {
    let path = format!("/boot/initrd.img-{}", kernel());
    let unpacked = Unpacked::new();
    let whole = unpacked.without(&[]);
    let lacking = unpacked.without(&["hv_storvsc.ko"]);
    // An archive with microcode in front, which is not packed.
    let microcode = unpacked.without(&["*", ".*", "[^/]*"]);
    let with = |bytes: &[u8]| Broken::new().write(&path, bytes);
    for (tool, args) in [
        ("gzip", &["-1", "-c"][..]),
        ("xz", &["-0", "-c", "--check=crc32"]),
        ("xz", &["-0", "-c", "--format=lzma"]),
        ("zstd", &["-q", "-c", "-1"]),
        ("lz4", &["-q", "-c", "-l"]),
    ] {
        let body = packed(tool, args, &whole);
        with(&[&microcode[..], &body].concat()).expect(&[]);
        with(&packed(tool, args, &lacking)).expect(&["hv-storvsc"]);
    }
    with(&whole).expect(&[]);
    with(&unpacked.without(&["hv_vmbus.ko"])).expect(&["hv-vmbus"]);
    with(&unpacked.without(&["scsi_transport_fc.ko"])).expect(&["initrd-modules"]);
    with(&unpacked.without(&["sd_mod.ko"])).expect(&["initrd-modules"]);
    with(&unpacked.without(&["init"])).expect(&["initrd-init"]);
    with(&packed("bzip2", &["-1", "-c"], &whole)).expect_before_initrd(&["initrd-unreadable"]);
    with(b"#!/bin/sh\n").expect_before_initrd(&["initrd-damaged"]);
    with(b"").expect_before_initrd(&["initrd-damaged"]);
    let cut = packed("gzip", &["-1", "-c"], &whole);
    with(&cut[..cut.len() / 2]).expect_before_initrd(&["initrd-damaged"]);
    Broken::new()
        .remove(&path)
        .expect_before_initrd(&["initrd-missing"]);
    // Another maker's, which does not sleep for `rootdelay=`, and for which the guide asks for it.
    let other = unpacked.without(&["scripts/functions"]);
    with(&other).expect_change(&["initrd-parts"], &["cmdline-rootdelay-long"]);
    with(&other)
        .cmdline(&CMDLINE.replacen("rootdelay=300 ", "", 1))
        .expect_change(
            &["cmdline-rootdelay", "initrd-parts"],
            &["cmdline-rootdelay-long"],
        );
    with(&other)
        .cmdline(&format!("{CMDLINE} init=/sbin/nothing"))
        .expect_change(&["init", "initrd-parts"], &["cmdline-rootdelay-long"]);
    // Built into the kernel, they need not be in the initrd.
    let built_in = format!("/usr/lib/modules/{}/modules.builtin", kernel());
    let broken = with(&lacking);
    let list = broken.text(&built_in) + "kernel/drivers/scsi/hv_storvsc.ko\n";
    broken.write(&built_in, list).expect(&[]);
}

/// The list of modules without one.
fn without_module(name: &str) -> Broken {
    let broken = Broken::new();
    let path = format!("/usr/lib/modules/{}/modules.dep", kernel());
    let list = broken.text(&path);
    let wanted = |line: &&str| {
        !line
            .split(':')
            .next()
            .is_some_and(|p| p.ends_with(&format!("/{name}.ko")))
    };
    let rest: Vec<_> = list.lines().filter(wanted).collect();
    assert!(rest.len() < list.lines().count());
    broken.write(&path, rest.join("\n"))
}

#[test]
fn drivers() {
    without_module("hv_netvsc").expect(&["hv-netvsc"]);
    without_module("udf").expect(&["udf"]);
    without_module("vfat").expect(&["vfat"]);
    without_module("sr_mod").expect(&["dvd-drive"]);
    without_module("mana").expect(&["sizes-mana"]);
    without_module("pci-hyperv").expect(&["sizes-pci"]);
    without_module("hv_utils").expect(&["ptp-clock"]);
    let block = |line: &str| Broken::new().write("/etc/modprobe.d/cis.conf", line);
    block("install udf /bin/true\n").expect(&["udf-blocked"]);
    block("blacklist vfat\n").expect(&["vfat-blocked"]);
    block("# blacklist vfat\n").expect(&[]);
    let modules = format!("/usr/lib/modules/{}", kernel());
    let no_drivers = Broken::new()
        .remove(&format!("{modules}/modules.dep"))
        .remove(&format!("{modules}/modules.builtin"))
        .remove(&format!("/boot/config-{}", kernel()));
    no_drivers.expect(&["kernel-unknown"]);
}

const PACKAGES: &str = "/usr/lib/python3/dist-packages";

/// cloud-init with its units and the files that are looked at.
fn with_cloud_init(broken: Broken) -> Broken {
    let units = "/usr/lib/systemd/system";
    let wants = "/etc/systemd/system/cloud-init.target.wants";
    let generator = "/usr/lib/systemd/system-generators/cloud-init-generator";
    let mut broken = broken
        .program("/usr/bin/cloud-init", "#!/usr/bin/python3\n")
        .program(generator, "#!/bin/sh\n")
        .write(
            &format!("{units}/cloud-init.target"),
            "[Unit]\nAfter=multi-user.target\n",
        )
        .folder(wants);
    for stage in [
        "cloud-init-local",
        "cloud-init",
        "cloud-config",
        "cloud-final",
    ] {
        let unit = format!("{units}/{stage}.service");
        let text = "[Service]\nType=oneshot\nExecStart=/usr/bin/cloud-init\n";
        broken = broken
            .write(&unit, text)
            .link(&format!("{wants}/{stage}.service"), &unit);
    }
    for module in ["yaml", "jinja2", "requests"] {
        let folder = format!("{PACKAGES}/{module}");
        broken = broken
            .folder(&folder)
            .write(&format!("{folder}/__init__.py"), "#\n");
    }
    for folder in ["", "/sources", "/sources/helpers", "/cmd"] {
        broken = broken.folder(&format!("{PACKAGES}/cloudinit{folder}"));
    }
    for file in [
        "sources/DataSourceAzure.py",
        "sources/__init__.py",
        "sources/helpers/azure.py",
        "settings.py",
        "util.py",
        "cmd/main.py",
    ] {
        broken = broken.write(&format!("{PACKAGES}/cloudinit/{file}"), "#\n");
    }
    broken
        .write(&format!("{PACKAGES}/configobj.py"), "#\n")
        .folder("/etc/cloud")
        .folder("/etc/cloud/cloud.cfg.d")
        .write(
            "/etc/cloud/cloud.cfg",
            "users: [default]\ncloud_init_modules:\n - users-groups\n - ssh\n",
        )
        .write(
            &format!("{PACKAGES}/cloudinit/version.py"),
            "__VERSION__ = \"22.4.2\"\n",
        )
}

const SOURCES: &str = "/etc/cloud/cloud.cfg.d/91-azure_datasource.cfg";

/// Without an agent that runs, nothing makes host keys either.
#[test]
fn agents() {
    let gone = || Broken::new().remove("/usr/sbin/waagent");
    let less = &["agent-version"][..];
    gone().expect_change(&["agent-missing", "sshd-host-keys"], less);
    with_cloud_init(gone()).expect_change(&["agent-extensions"], less);
    with_cloud_init(gone())
        .write(SOURCES, "datasource_list: [ Azure ]\n")
        .expect_change(&["agent-extensions"], less);
    with_cloud_init(gone())
        .write(SOURCES, "datasource_list: [ NoCloud, None ]\n")
        .expect_change(&["cloud-init-datasource", "sshd-host-keys"], less);
    with_cloud_init(gone())
        .link("/etc/systemd/system/cloud-final.service", "/dev/null")
        .expect_change(&["agent-extensions", "cloud-init-final"], less);
    with_cloud_init(gone())
        .write("/etc/cloud/cloud.cfg.d/99-own.cfg", "ssh_genkeytypes: []\n")
        .expect_change(&["agent-extensions", "sshd-host-keys"], less);
    with_cloud_init(gone())
        .folder(&format!("{PACKAGES}/cloudinit/distros"))
        .write(
            "/etc/cloud/cloud.cfg.d/99-own.cfg",
            "system_info: {distro: nothing}\n",
        )
        .expect_change(&["cloud-init-conf", "sshd-host-keys"], less);
    // It removes the host keys of the usual names, and leaves others.
    let conf = "/etc/ssh/sshd_config";
    let text = Broken::new().text(conf);
    with_cloud_init(gone())
        .write("/etc/ssh/own_key", "a key")
        .command("sif /etc/ssh/own_key mode 0100600")
        .write(conf, format!("HostKey /etc/ssh/own_key\n{text}"))
        .expect_change(&["agent-extensions"], less);
    with_cloud_init(gone())
        .write("/etc/cloud/cloud-init.disabled", "")
        .expect_change(&["cloud-init-disabled", "sshd-host-keys"], less);
    with_cloud_init(gone())
        .link("/etc/systemd/system/cloud-config.service", "/dev/null")
        .expect_change(&["cloud-init-units", "sshd-host-keys"], less);
    with_cloud_init(gone())
        .remove(&format!("{PACKAGES}/cloudinit/sources/DataSourceAzure.py"))
        .expect_change(&["cloud-init-program", "sshd-host-keys"], less);
    Broken::new()
        .remove("/etc/systemd/system/multi-user.target.wants/walinuxagent.service")
        .expect(&["agent-disabled", "sshd-host-keys"]);
    Broken::new()
        .link("/etc/systemd/system/walinuxagent.service", "/dev/null")
        .expect(&["agent-disabled", "sshd-host-keys"]);
    Broken::new()
        .remove(&format!("{PACKAGES}/azurelinuxagent/agent.py"))
        .expect(&["agent-program"]);
    Broken::new()
        .write("/var/lib/waagent/provisioned", "x")
        .expect(&["agent-provisioned"]);
    let status = std::fs::read_to_string(base().root.join("var/lib/dpkg/status")).unwrap();
    let (before, rest) = status
        .split_once("Package: waagent\n")
        .expect("its package");
    let (of_it, after) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let of_it = of_it
        .lines()
        .map(|line| match line.starts_with("Version: ") {
            true => "Version: 2.2.45-4",
            false => line,
        });
    let of_it = of_it.collect::<Vec<_>>().join("\n");
    Broken::new()
        .write(
            "/var/lib/dpkg/status",
            format!("{before}Package: waagent\n{of_it}\n\n{after}"),
        )
        .expect(&["agent-old"]);
}

#[test]
fn configuration_of_the_agent() {
    let conf = "/etc/waagent.conf";
    let shipped = std::fs::read_to_string(base().root.join("etc/waagent.conf")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(shipped.contains(from));
        shipped.replace(from, to)
    };
    Broken::new().remove(conf).expect(&["waagent-conf"]);
    Broken::new()
        .replace(
            conf,
            "Provisioning.Agent=auto",
            "Provisioning.Agent=cloud-init",
        )
        .expect(&["agent-provisioning", "sshd-host-keys"]);
    let swap = with("ResourceDisk.EnableSwap=n", "ResourceDisk.EnableSwap=y");
    Broken::new().write(conf, &swap).expect(&[]);
    let unformatted = swap.replace("ResourceDisk.Format=y", "ResourceDisk.Format=n");
    Broken::new()
        .write(conf, &unformatted)
        .expect(&["waagent-swap"]);
    with_cloud_init(Broken::new()).expect(&["waagent-cloud-init"]);
    let left = with("ResourceDisk.Format=y", "ResourceDisk.Format=n");
    with_cloud_init(Broken::new()).write(conf, left).expect(&[]);
}

#[test]
fn udf_is_needed_less_with_a_newer_cloud_init() {
    with_cloud_init(without_module("udf").remove("/usr/sbin/waagent"))
        .expect_change(&["agent-extensions", "udf-custom-data"], &["agent-version"]);
    with_cloud_init(without_module("udf").remove("/usr/sbin/waagent"))
        .write(
            "/usr/lib/python3/dist-packages/cloudinit/version.py",
            "__VERSION__ = \"20.4\"\n",
        )
        .expect_change(&["agent-extensions", "udf"], &["agent-version"]);
}

#[test]
fn services_and_settings() {
    let fstab = "/dev/sda3 / ext4 defaults 0 1\n";
    Broken::new()
        .write("/etc/fstab", format!("{fstab}/swapfile none swap sw 0 0\n"))
        .expect(&["fstab-swap"]);
    Broken::new()
        .write(
            "/etc/fstab",
            format!("{fstab}/mnt/resource/swapfile none swap sw 0 0\n"),
        )
        .expect(&[]);
    Broken::new()
        .remove("/usr/sbin/sshd")
        .expect(&["ssh-missing"]);
    let ssh = "/etc/systemd/system/multi-user.target.wants/ssh.service";
    Broken::new().remove(ssh).expect(&["ssh-disabled"]);
    Broken::new()
        .remove(ssh)
        .folder("/etc/systemd/system/sockets.target.wants")
        .link(
            "/etc/systemd/system/sockets.target.wants/ssh.socket",
            "/lib/systemd/system/ssh.socket",
        )
        .expect(&[]);
    let rule = "SUBSYSTEM==\"net\", ACTION==\"add\", ATTR{address}==\"00:0c:29:00:00:01\", NAME=\"eth0\"\n";
    Broken::new()
        .write("/etc/udev/rules.d/70-persistent-net.rules", rule)
        .expect(&["network-rules"]);
    Broken::new()
        .write(
            "/etc/udev/rules.d/70-persistent-net.rules",
            format!("# {rule}"),
        )
        .expect(&[]);
    let link = "[Match]\nMACAddress=00:0c:29:00:00:01\n[Link]\nName=eth0\n";
    Broken::new()
        .write("/etc/systemd/network/10-eth0.link", link)
        .expect(&["network-mac"]);
    Broken::new()
        .folder("/etc/sysconfig")
        .folder("/etc/sysconfig/network-scripts")
        .write(
            "/etc/sysconfig/network-scripts/ifcfg-eth0",
            "DEVICE=eth0\nHWADDR=00:0c:29:00:00:01\n",
        )
        .expect(&["network-mac"]);
}

fn with_drop_in(unit: &str, text: &str) -> Broken {
    let folder = format!("/etc/systemd/system/{unit}.d");
    Broken::new()
        .folder(&folder)
        .write(&format!("{folder}/own.conf"), text)
}

#[test]
fn services_that_are_started_and_cannot_do_their_work() {
    for setting in [
        "User=nobody",
        "PrivateNetwork=yes",
        "ProtectHome=yes",
        "RestrictAddressFamilies=none",
    ] {
        with_drop_in("ssh.service", &format!("[Service]\n{setting}\n")).expect(&["ssh-unit"]);
    }
    for setting in ["IPAddressDeny=any", "CapabilityBoundingSet=CAP_CHOWN"] {
        with_drop_in("ssh.service", &format!("[Service]\n{setting}\n")).expect(&["ssh-unknown"]);
    }
    for setting in [
        "User=root",
        "ProtectHome=no",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    ] {
        with_drop_in("ssh.service", &format!("[Service]\n{setting}\n")).expect(&[]);
    }
    with_drop_in("walinuxagent.service", "[Service]\nUser=nobody\n")
        .expect(&["agent-disabled", "sshd-host-keys"]);
    // The root that the kernel mounts read-only stays so.
    Broken::new()
        .link(
            "/etc/systemd/system/systemd-remount-fs.service",
            "/dev/null",
        )
        .expect(&["core-unit"]);
    Broken::new()
        .link(
            "/etc/systemd/system/systemd-remount-fs.service",
            "/dev/null",
        )
        .cmdline(&CMDLINE.replacen(" ro ", " rw ", 1))
        .expect(&[]);
    Broken::new()
        .write(&format!("{PACKAGES}/azurelinuxagent/agent.py"), "")
        .expect(&["agent-program"]);
}

#[test]
fn modules_that_are_listed_and_not_there() {
    let folder = format!("/usr/lib/modules/{}/kernel", kernel());
    for (file, finding) in [
        ("drivers/scsi/sr_mod.ko", "dvd-drive"),
        ("fs/udf/udf.ko", "udf"),
        ("drivers/net/hyperv/hv_netvsc.ko", "hv-netvsc"),
    ] {
        Broken::new()
            .remove(&format!("{folder}/{file}"))
            .expect(&[finding]);
    }
    // Both need it.
    Broken::new()
        .remove(&format!("{folder}/drivers/cdrom/cdrom.ko"))
        .expect(&["dvd-drive", "udf"]);
}

#[test]
fn what_comes_before_the_network() {
    let interfaces = |text: &str| {
        let text = format!("auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n{text}");
        Broken::new().write("/etc/network/interfaces", text)
    };
    interfaces("").expect(&[]);
    interfaces("    pre-up /bin/false || true\n").expect(&[]);
    interfaces("    pre-up sleep 2\n    post-up /bin/false\n").expect(&[]);
    interfaces("    pre-up /bin/false\n").expect(&["network-none"]);
    interfaces("    pre-up /etc/firewall.sh\n").expect(&["network-none"]);
    interfaces("    pre-up ip link set eth0 mtu 1400\n").expect(&["network-unknown"]);
    let rule = |rule: &str| {
        Broken::new().write(
            "/etc/udev/rules.d/70-own.rules",
            format!("SUBSYSTEM==\"net\", {rule}\n"),
        )
    };
    rule("KERNEL==\"eth*\", NAME=\"lan0\"").expect(&["network-none"]);
    rule("KERNEL==\"wlan*\", NAME=\"lan0\"").expect(&[]);
    rule("DRIVERS==\"mlx5_core\", NAME=\"vf0\"").expect(&[]);
    rule("PROGRAM==\"/bin/name\", NAME=\"%c\"").expect(&["network-unknown"]);
}

#[test]
fn what_the_initial_ram_disk_goes_by() {
    let path = format!("/boot/initrd.img-{}", kernel());
    let unpacked = Unpacked::new();
    for gone in ["scripts/local", "conf/arch.conf", "80-drivers.rules"] {
        Broken::new()
            .write(&path, unpacked.without(&[gone]))
            .expect(&["initrd-parts"]);
    }
    for program in ["usr/bin/run-init", "blkid"] {
        Broken::new()
            .write(&path, unpacked.without(&[program]))
            .expect(&["initrd-parts"]);
    }
    Broken::new()
        .write(&path, unpacked.without(&["systemd-udevd"]))
        .expect(&["initrd-init"]);
}

#[test]
fn what_the_system_goes_by() {
    let fstab = |options: &str| {
        Broken::new().write("/etc/fstab", format!("/dev/sda3 / ext4 {options} 0 1\n"))
    };
    fstab("noatime,x-systemd.growfs,errors=remount-ro").expect(&[]);
    fstab("errors=remount-ro,nonsense").expect(&["fstab-unknown"]);
    fstab("compress=zstd").expect(&["fstab-root"]);
    fstab("noatime,noexec").expect(&["fstab-hides"]);
    fstab("defaults 0 1\ntmpfs /etc tmpfs defaults").expect(&["fstab-hides"]);
    fstab("defaults 0 1\n/srv /usr none bind").expect(&["fstab-unknown"]);
    fstab("defaults 0 1\ntmpfs /tmp tmpfs noexec").expect(&[]);
    // Masked under its own name, it is under the other as well.
    let target = "/usr/lib/systemd/system/multi-user.target";
    let text = Broken::new().text(target) + "Wants=sshd.service\n";
    Broken::new()
        .cmdline(&format!("{CMDLINE} systemd.mask=ssh.service"))
        .write(target, text)
        .expect(&["ssh-unit"]);
    let sysctl = |text: &str| Broken::new().write("/etc/sysctl.d/own.conf", text);
    sysctl("kernel/modules_disabled = 1\n").expect(&["modules-disabled"]);
    sysctl("# kernel.modules_disabled = 1\nkernel.kptr_restrict=2\n").expect(&[]);
    Broken::new()
        .link(
            "/etc/systemd/system/systemd-udev-trigger.service",
            "/dev/null",
        )
        .expect(&["core-unit"]);
    Broken::new()
        .command("sif /usr/lib/x86_64-linux-gnu/libc.so.6 mode 0100600")
        .expect(&["login-shell"]);
    let users = |text: &str| Broken::new().write("/etc/nsswitch.conf", text);
    users("passwd: ldap [NOTFOUND=return] files\n").expect(&[]);
    users("# passwd: files\npasswd: ldap\n").expect(&["nsswitch"]);
    let rules = "/usr/lib/udev/rules.d/80-drivers.rules";
    Broken::new().remove(rules).expect(&["system-file"]);
    Broken::new()
        .link("/etc/udev/rules.d/80-drivers.rules", "/dev/null")
        .expect(&["system-file"]);
    Broken::new()
        .command("sif /home mode 040700")
        .expect(&["system-file"]);
    for (words, finding) in [
        ("init=/sbin/nothing", "init-named"),
        ("init=/etc/fstab", "init-named"),
        ("nomodule", "cmdline-blacklist"),
        ("mem=64M", "cmdline-memory"),
        ("rootflags=nonsense", "root-flags-unknown"),
        ("-b", "cmdline-rescue"),
        ("rd.emergency", "cmdline-rescue"),
        ("fstab=no", "fstab-root"),
        ("systemd.volatile=yes", "cmdline-volatile"),
        ("initcall_blacklist=hv_acpi_init", "cmdline-hyperv"),
        ("initcall_blacklist=something", "cmdline-calls"),
        ("boot=live", "initrd-parts"),
        ("boot=nfs", "initrd-parts"),
    ] {
        Broken::new()
            .cmdline(&format!("{CMDLINE} {words}"))
            .expect(&[finding]);
    }
    Broken::new()
        .cmdline(&format!(
            "{CMDLINE} mem=4G rootflags=data=ordered boot=local 6"
        ))
        .expect(&[]);
}

#[test]
fn an_identifier_in_other_letters_is_told_as_it_is_spelled() {
    let name = format!("UUID={}", ROOT_UUID.to_uppercase());
    let root = CMDLINE.replace("/dev/sda3", &name);
    let fstab = format!("/dev/sda3 / ext4 defaults 0 1\n{name} /srv ext4 defaults 0 0\n");
    let report = Broken::new()
        .cmdline(&root)
        .write("/etc/fstab", fstab)
        .report();
    for id in ["root-missing", "fstab-device"] {
        let finding = report.findings.iter().find(|finding| finding.id == id);
        let message = &finding.expect(id).message;
        assert!(
            message.ends_with(&format!("; there is `{ROOT_UUID}`, in other letters")),
            "{message}"
        );
    }
}

/// Each of two links has the other's name at its end.
#[test]
fn names_of_units_that_lead_in_a_circle() {
    let folder = "/etc/systemd/system";
    Broken::new()
        .link(
            &format!("{folder}/ssh.service"),
            &format!("{folder}/other.service"),
        )
        .link(
            &format!("{folder}/other.service"),
            "/usr/lib/systemd/system/ssh.service",
        )
        .expect(&[]);
}

#[test]
fn what_agent_network_and_server_go_by() {
    Broken::new()
        .remove("/usr/lib/python3.11/socket.py")
        .expect(&["agent-program"]);
    Broken::new()
        .write("/etc/default/useradd", "SHELL=/bin/zsh\n")
        .expect(&["login-shell"]);
    Broken::new()
        .remove("/usr/bin/ip")
        .expect(&["network-none"]);
    Broken::new()
        .remove("/usr/sbin/dhclient-script")
        .expect(&["network-none"]);
    Broken::new()
        .write(
            "/etc/network/interfaces",
            "auto lo eth0\nnonsense here\niface lo inet loopback\niface eth0 inet dhcp\n",
        )
        .expect(&["network-none"]);
    let sshd = |line: &str| {
        let conf = "/etc/ssh/sshd_config";
        let text = Broken::new().text(conf);
        Broken::new().write(conf, format!("{line}\n{text}"))
    };
    sshd("Ciphers aes256-ctr,aes128-gcm@openssh.com").expect(&[]);
    sshd("KexAlgorithms -nonsense").expect(&[]);
    sshd("KexAlgorithms nonsense").expect(&["sshd-config"]);
    let elsewhere = "AuthorizedKeysFile /etc/ssh/keys/%u\nPasswordAuthentication no\n\
                     KbdInteractiveAuthentication no";
    sshd(elsewhere).expect(&["sshd-authentication"]);
    sshd("AuthorizedKeysFile %h/.ssh/authorized_keys").expect(&[]);
    // PAM takes `other` where a program has no file.
    Broken::new().remove("/etc/pam.d/sshd").expect(&[]);
    Broken::new()
        .remove("/etc/pam.d/sshd")
        .remove("/etc/pam.d/other")
        .expect(&["pam"]);
    let unit = "/usr/lib/systemd/system/ssh.service";
    let text = Broken::new().text(unit);
    let without = text.replace("RuntimeDirectory=sshd\n", "");
    assert_ne!(text, without);
    Broken::new().write(unit, &without).expect(&["ssh-unit"]);
    Broken::new()
        .write(unit, &without)
        .write("/etc/tmpfiles.d/ssh.conf", "d /run/sshd 0755\n")
        .expect(&[]);
}

#[test]
fn remains_of_a_machine() {
    Broken::new()
        .write("/etc/ssh/ssh_host_rsa_key", "key")
        .expect(&["remains-host-keys"]);
    Broken::new()
        .write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .expect(&["remains-machine-id"]);
    Broken::new()
        .write("/etc/machine-id", "uninitialized\n")
        .expect(&[]);
    Broken::new()
        .write("/root/.bash_history", "ls\n")
        .expect(&["remains-history"]);
    Broken::new()
        .folder("/home/user")
        .folder("/home/user/.ssh")
        .write("/home/user/.ssh/authorized_keys", "ssh-ed25519 AAAA\n")
        .expect(&["remains-authorized-keys"]);
    Broken::new()
        .write("/var/log/waagent.log", "started\n")
        .expect(&["remains-log"]);
}

/// Damage is the finding of the topic that meets it, and of no other.
#[test]
fn damaged_files() {
    Broken::new()
        .command("clri /etc/fstab")
        .expect(&["root-unreadable"]);
}
