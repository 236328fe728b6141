//! A Debian that was prepared right, and the same broken in each way that the guide names.

use check::{Generation, Options};

use super::base::{CMDLINE, base, grub_cfg};
use super::broken::{Broken, RIGHT};
use super::tools::{Folder, check, ids, run};

const FIRST_GENERATION: Options = Options {
    generation: Some(Generation::One),
    data_disk: false,
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
fn kernel_command_lines() {
    for (from, to, finding) in [
        ("console=ttyS0 ", "", "cmdline-console"),
        ("console=ttyS0 ", "console=tty0 ", "cmdline-console"),
        ("earlyprintk=ttyS0 ", "", "cmdline-earlyprintk"),
        ("rootdelay=300 ", "", "cmdline-rootdelay"),
        ("rootdelay=300 ", "rootdelay=3 ", "cmdline-rootdelay"),
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
}

#[test]
fn boot_menus() {
    Broken::new()
        .remove("/boot/grub/grub.cfg")
        .expect(&["boot-config"]);
    let kernel = kernel();
    let entry = |cmdline: &str| {
        format!(
            "title Linux ({kernel})\nversion {kernel}\nlinux /boot/vmlinuz-{kernel}\ninitrd /boot/initrd.img-{kernel}\noptions {cmdline}\n"
        )
    };
    let bls = || {
        Broken::new()
            .write("/boot/grub/grub.cfg", "insmod blscfg\nblscfg\n")
            .folder("/boot/loader")
            .folder("/boot/loader/entries")
    };
    let path = format!("/boot/loader/entries/a-{kernel}.conf");
    bls().write(&path, entry(CMDLINE)).expect(&[]);
    bls()
        .write(&path, entry(&format!("{CMDLINE} quiet")))
        .expect(&["cmdline-quiet"]);
    bls().expect(&["boot-config"]);
    // The entry that a saved choice selects counts.
    let saved = grub_cfg(kernel, CMDLINE).replace("default=\"0\"", "default=\"${saved_entry}\"");
    let choice = "# GRUB Environment Block\nsaved_entry=gnulinux-advanced>gnulinux-recovery\n";
    Broken::new()
        .write("/boot/grub/grub.cfg", saved)
        .write("/boot/grub/grubenv", choice)
        .expect(&[
            "cmdline-console",
            "cmdline-earlyprintk",
            "cmdline-ifnames",
            "cmdline-rootdelay",
        ]);
}

#[test]
fn kernels() {
    let kernel = kernel();
    Broken::new()
        .remove(&format!("/boot/vmlinuz-{kernel}"))
        .expect(&["kernel-unknown"]);
    for (release, more, findings) in [
        ("2.6.36-1-amd64", "", &["kernel-numa", "kernel-version"][..]),
        ("2.6.36-1-amd64", " numa=off", &["kernel-version"]),
        ("2.6.32-431.el6.x86_64", " numa=off", &[]),
        ("2.6.32-431.el6.x86_64", "", &["kernel-numa"]),
        ("2.6.32-279.el6.x86_64", " numa=off", &["kernel-version"]),
        ("2.6.32-504.el6.x86_64", "", &[]),
        ("3.7.9", "", &["kernel-version"]),
        ("3.8.0", "", &[]),
    ] {
        let menu = grub_cfg(release, &format!("{CMDLINE}{more}")).replace(
            &format!("initrd.img-{release}"),
            &format!("initrd.img-{kernel}"),
        );
        Broken::new()
            .write("/boot/grub/grub.cfg", menu)
            .write(&format!("/boot/vmlinuz-{release}"), "kernel")
            .link(&format!("/usr/lib/modules/{release}"), kernel)
            .expect(findings);
    }
}

/// A cpio archive in the kernel's format with these files.
fn cpio(files: &[&str]) -> Vec<u8> {
    let folder = Folder::new();
    for file in files {
        let path = folder.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "module").unwrap();
    }
    let archive = Folder::new();
    let command = format!(
        "cd '{}' && find . | cpio --quiet -o -H newc > '{}'",
        folder.path("").display(),
        archive.path("cpio").display()
    );
    run("cpio", &[&"--version"]);
    run("sh", &[&"-c", &command]);
    std::fs::read(archive.path("cpio")).unwrap()
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

#[test]
fn initial_ram_disks() {
    let path = format!("/boot/initrd.img-{}", kernel());
    let (vmbus, storvsc) = (
        "lib/modules/6/kernel/drivers/hv/hv_vmbus.ko.xz",
        "lib/modules/6/kernel/drivers/scsi/hv_storvsc.ko",
    );
    let both = cpio(&[vmbus, storvsc, "init"]);
    let microcode = cpio(&["kernel/x86/microcode/AuthenticAMD.bin"]);
    let with = |bytes: &[u8]| Broken::new().write(&path, bytes);
    for (tool, args) in [
        ("gzip", &["-c"][..]),
        ("xz", &["-c", "--check=crc32"]),
        ("xz", &["-c", "--format=lzma"]),
        ("zstd", &["-q", "-c", "-19"]),
        ("lz4", &["-q", "-c", "-l"]),
    ] {
        let body = packed(tool, args, &both);
        with(&body).expect(&[]);
        with(&[&microcode[..], &body].concat()).expect(&[]);
        let lacking = packed(tool, args, &cpio(&["init", vmbus]));
        with(&[&microcode[..], &lacking].concat()).expect(&["hv-storvsc"]);
    }
    with(&both).expect(&[]);
    with(&cpio(&[storvsc])).expect(&["hv-vmbus"]);
    with(&cpio(&["init"])).expect(&["hv-storvsc", "hv-vmbus"]);
    with(&packed("bzip2", &["-c"], &both)).expect(&["initrd-unreadable"]);
    with(b"#!/bin/sh\n").expect(&["initrd-unreadable"]);
    let cut = packed("gzip", &["-c"], &cpio(&["init", "a", "b"]));
    with(&cut[..cut.len() / 2]).expect(&["initrd-unreadable"]);
    Broken::new().remove(&path).expect(&["initrd-unreadable"]);
    // Built into the kernel, they need not be in the initrd.
    let built_in = format!("/usr/lib/modules/{}/modules.builtin", kernel());
    let broken = with(&cpio(&["init"]));
    let list = broken.text(&built_in)
        + "kernel/drivers/hv/hv_vmbus.ko\nkernel/drivers/scsi/hv_storvsc.ko\n";
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

fn with_cloud_init(broken: Broken) -> Broken {
    broken
        .write("/usr/bin/cloud-init", "#!/usr/bin/python3\n")
        .folder("/etc/cloud")
        .folder("/etc/cloud/cloud.cfg.d")
        .write("/etc/cloud/cloud.cfg", "users: [default]\n")
        .folder("/usr/lib/python3/dist-packages/cloudinit")
        .write(
            "/usr/lib/python3/dist-packages/cloudinit/version.py",
            "__VERSION__ = \"22.4.2\"\n",
        )
}

const SOURCES: &str = "/etc/cloud/cloud.cfg.d/91-azure_datasource.cfg";

#[test]
fn agents() {
    let gone = || Broken::new().remove("/usr/sbin/waagent");
    gone().expect_change(&["agent-missing"], &["agent-version"]);
    with_cloud_init(gone()).expect_change(&["agent-extensions"], &["agent-version"]);
    with_cloud_init(gone())
        .write(SOURCES, "datasource_list: [ Azure ]\n")
        .expect_change(&["agent-extensions"], &["agent-version"]);
    with_cloud_init(gone())
        .write(SOURCES, "datasource_list: [ NoCloud, None ]\n")
        .expect_change(&["cloud-init-datasource"], &["agent-version"]);
    with_cloud_init(gone())
        .write("/etc/cloud/cloud-init.disabled", "")
        .expect_change(&["agent-missing"], &["agent-version"]);
    Broken::new()
        .remove("/etc/systemd/system/multi-user.target.wants/walinuxagent.service")
        .expect(&["agent-disabled"]);
    Broken::new()
        .link("/etc/systemd/system/walinuxagent.service", "/dev/null")
        .expect(&["agent-disabled"]);
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
        .expect(&["agent-provisioning"]);
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
