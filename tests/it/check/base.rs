//! A minimal Debian, prepared as the guide asks, as a disk image for both generations.
//!
//! It is built once for all tests, and kept beside the build for later runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::tools::{self, MIB, run, run_with_input};

/// The release that is installed.
const RELEASE: &str = "bookworm";
/// What the image needs beyond a minimal system.
const PACKAGES: &str = "grub-common,grub-efi-amd64-bin,grub-pc-bin,ifupdown,initramfs-tools,\
                        iproute2,isc-dhcp-client,kmod,linux-image-cloud-amd64,netbase,\
                        openssh-server,systemd-sysv,udev,waagent,zstd";
/// What no rule looks at and the image is smaller without.
const LEFT_OUT: &[&str] = &[
    "usr/lib/grub",
    "usr/lib/udev/hwdb.bin",
    "usr/lib/udev/hwdb.d",
    "usr/lib/locale",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/share",
    "var/cache/apt",
    "var/lib/apt/lists",
];
/// Parts of Python's library that are looked at.
const PYTHON_KEPT: &[&str] = &[
    "encodings",
    "os.py",
    "re",
    "json",
    "socket.py",
    "subprocess.py",
    "threading.py",
    "xml",
];
/// Modules of the kernel that are looked at; the lists of modules name them all.
const MODULES_KEPT: &[&str] = &[
    "hv_",
    "udf",
    "fat",
    "vfat",
    "crc-itu-t",
    "cdrom",
    "sr_mod",
    "scsi_",
    "ata_piix",
    "libata",
];
/// Folders of modules that Debian puts into every initial RAM disk, and that no rule looks at there.
const INITRD_LEFT_OUT: &[&str] = &[
    "drivers/block/drbd",
    "drivers/infiniband",
    "drivers/net/ethernet",
    "drivers/nvme/target",
    "drivers/scsi/mpi3mr",
    "fs/nfs",
    "net/ceph",
    "net/sunrpc",
];
/// Modules of GRUB without which it does not start a kernel, and its list of commands.
const GRUB_MODULES: &[&str] = &["normal.mod", "linux.mod", "command.lst"];
/// The kernel's command line as the guide wants it.
pub(crate) const CMDLINE: &str =
    "root=/dev/sda3 ro rootdelay=300 console=ttyS0 earlyprintk=ttyS0 net.ifnames=0";

/// Identifier of the root file system.
pub(crate) const ROOT_UUID: &str = "8a0b4c7e-1111-4222-8333-9abcdef01234";
pub(crate) const BIOS_START: u64 = MIB;
pub(crate) const ESP_START: u64 = 2 * MIB;
pub(crate) const ESP_SIZE: u64 = 34 * MIB;
pub(crate) const ROOT_START: u64 = ESP_START + ESP_SIZE;
pub(crate) const ROOT_SIZE: u64 = 448 * MIB;
/// Room for one more partition, and the backup GPT.
pub(crate) const SPARE_START: u64 = ROOT_START + ROOT_SIZE;
pub(crate) const SPARE_SIZE: u64 = 40 * MIB;
pub(crate) const DISK_SIZE: u64 = SPARE_START + SPARE_SIZE + MIB;

/// The image, and what the tests want to know of it.
pub(crate) struct Base {
    pub(crate) image: PathBuf,
    /// Release of its kernel.
    pub(crate) kernel: String,
    /// Its root folder, unpacked.
    pub(crate) root: PathBuf,
}

/// The image, built at the first call.
pub(crate) fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check-base");
        let root = folder.join("root");
        let image = folder.join("disk.raw");
        // The name of the built image tells from which script it was built.
        let mark = folder.join("built-from");
        let script = include_str!("base.rs");
        if fs::read_to_string(&mark).ok().as_deref() != Some(script) {
            drop(fs::remove_dir_all(&folder));
            fs::create_dir_all(&folder).expect("a folder for the image");
            install(&root);
            prepare(&root);
            thin_out_initrd(&folder, &root);
            assemble(&folder, &root, &image);
            fs::write(&mark, script).expect("the mark is written");
        }
        let kernel = kernel_of(&root);
        Base {
            image,
            kernel,
            root,
        }
    })
}

/// Address of the Debian archive that this machine's apt uses.
fn mirror() -> String {
    let format = "$(REPO_URI) $(ORIGIN) $(LABEL)";
    let list = run(
        "apt-get",
        &[
            &"indextargets",
            &"--format",
            &format,
            &"Created-By: Packages",
        ],
    );
    let of_debian = list
        .lines()
        .find_map(|line| line.strip_suffix(" Debian Debian"));
    let mirror = of_debian.expect("apt knows a Debian archive; run `apt-get update` first");
    mirror.to_owned()
}

fn install(root: &Path) {
    let include = format!("--include={PACKAGES}");
    run(
        "mmdebstrap",
        &[&"--variant=minbase", &include, &RELEASE, &root, &mirror()],
    );
}

fn kernel_of(root: &Path) -> String {
    let mut names = fs::read_dir(root.join("lib/modules")).expect("modules");
    let entry = names.next().expect("a kernel").expect("a name");
    entry.file_name().into_string().expect("UTF-8")
}

/// The grub.cfg, in the shape that grub-mkconfig gives it.
pub(crate) fn grub_cfg(kernel: &str, cmdline: &str) -> String {
    let entry = |title: &str, id: &str, cmdline: &str| {
        format!(
            "menuentry '{title}' --class debian --class gnu-linux $menuentry_id_option '{id}' {{\n\
             \tload_video\n\tinsmod gzio\n\tif [ x$grub_platform = xxen ]; then insmod xzio; fi\n\
             \tinsmod part_gpt\n\tinsmod ext2\n\tset root='hd0,gpt3'\n\
             \tif [ x$feature_platform_search_hint = xy ]; then\n\
             \t  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt3 {ROOT_UUID}\n\
             \telse\n\t  search --no-floppy --fs-uuid --set=root {ROOT_UUID}\n\tfi\n\
             \techo\t'Loading Linux {kernel} ...'\n\
             \tlinux\t/boot/vmlinuz-{kernel} {cmdline}\n\
             \tinitrd\t/boot/initrd.img-{kernel}\n}}\n"
        )
    };
    format!(
        "if [ -s $prefix/grubenv ]; then\n  set have_grubenv=true\n  load_env\nfi\n\
         if [ \"${{next_entry}}\" ] ; then\n   set default=\"${{next_entry}}\"\n\
         \x20  set next_entry=\n   save_env next_entry\n   set boot_once=true\n\
         else\n   set default=\"0\"\nfi\n\
         if [ x\"${{feature_menuentry_id}}\" = xy ]; then\n  menuentry_id_option=\"--id\"\n\
         else\n  menuentry_id_option=\"\"\nfi\nexport menuentry_id_option\n\
         function load_video {{\n  insmod all_video\n}}\n\
         set timeout_style=menu\nset timeout=5\n{}\
         submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {{\n{}}}\n",
        entry("Debian GNU/Linux", "gnulinux-simple", cmdline),
        entry("Older options", "gnulinux-older", "root=/dev/sda3 ro"),
    )
}

/// Does what the guide asks of the system.
fn prepare(root: &Path) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(path, text).expect("the file is written");
    };
    write("boot/grub/grub.cfg", &grub_cfg(&kernel_of(root), CMDLINE));
    write(
        "etc/fstab",
        "/dev/sda3 / ext4 defaults 0 1\n/dev/sda2 /boot/efi vfat umask=0077 0 1\n",
    );
    write(
        "etc/network/interfaces",
        "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n",
    );
    let conf = fs::read_to_string(root.join("etc/waagent.conf")).expect("the agent's file");
    write(
        "etc/waagent.conf",
        &conf.replace("Provisioning.Agent=cloud-init", "Provisioning.Agent=auto"),
    );
    // What `waagent -deprovision+user` removes.
    for entry in fs::read_dir(root.join("etc/ssh")).expect("/etc/ssh") {
        let path = entry.expect("an entry").path();
        if path.display().to_string().contains("ssh_host_") {
            fs::remove_file(path).expect("a key is removed");
        }
    }
    fs::remove_file(root.join("etc/machine-id")).expect("the machine id is removed");
    write("etc/machine-id", "");
}

/// Makes the disk: BIOS boot partition, EFI system partition, root, and room for one more.
fn assemble(folder: &Path, root: &Path, image: &Path) {
    let esp = make_esp(folder, root);
    let (boot_code, core) = make_core(root);
    for platform in ["i386-pc", "x86_64-efi"] {
        let to = root.join("boot/grub").join(platform);
        fs::create_dir_all(&to).expect("a folder for GRUB's modules");
        for module in GRUB_MODULES {
            let from = root.join("usr/lib/grub").join(platform).join(module);
            fs::copy(from, to.join(module)).expect("GRUB's module");
        }
    }
    for path in LEFT_OUT {
        drop(fs::remove_dir_all(root.join(path)));
        drop(fs::remove_file(root.join(path)));
    }
    thin_out(root);
    let root_part = folder.join("root.ext4");
    let size = format!("{}k", ROOT_SIZE / 1024);
    run(
        "mkfs.ext4",
        &[&"-q", &"-U", &ROOT_UUID, &"-d", &root, &root_part, &size],
    );
    let file = fs::File::create(image).expect("the image is made");
    file.set_len(DISK_SIZE).expect("the image has a size");
    let line = |start: u64, size: u64, kind: &str| {
        format!("start={}, size={}, type={kind}\n", start / 512, size / 512)
    };
    let script = [
        "label: gpt\n".to_owned(),
        line(BIOS_START, MIB, "21686148-6449-6E6F-744E-656564454649"),
        line(ESP_START, ESP_SIZE, "U"),
        line(ROOT_START, ROOT_SIZE, "L"),
    ];
    run_with_input("sfdisk", &[&"--quiet", &image], script.concat().as_bytes());
    tools::write_at(image, 0, &boot_code);
    tools::write_at(image, BIOS_START, &core);
    tools::embed(image, ESP_START, &esp);
    tools::embed(image, ROOT_START, &root_part);
    for part in [esp, root_part] {
        fs::remove_file(part).expect("the part is removed");
    }
}

/// Removes what no rule looks at from folders of which a part stays.
fn thin_out(root: &Path) {
    let remove_but = |folder: &Path, kept: &[&str]| {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let name = entry.file_name().into_string().expect("UTF-8");
            if !kept.contains(&name.as_str()) {
                drop(fs::remove_dir_all(entry.path()));
                drop(fs::remove_file(entry.path()));
            }
        }
    };
    remove_but(&root.join("usr/lib/python3.11"), PYTHON_KEPT);
    let modules = root.join("lib/modules").join(kernel_of(root));
    remove_modules(&modules.join("kernel"));
}

/// Packs the initial RAM disk anew with less in it, because each check unpacks it.
fn thin_out_initrd(folder: &Path, root: &Path) {
    let kernel = kernel_of(root);
    let initrd = root.join(format!("boot/initrd.img-{kernel}"));
    let unpacked = folder.join("initrd");
    fs::create_dir_all(&unpacked).expect("a folder for the initial RAM disk");
    let shell = |command: &str| run("sh", &[&"-ec", &command, &initrd, &unpacked]);
    shell("cd \"$1\"; zstd -q -d -c \"$0\" | cpio --quiet -i -d -m");
    for path in INITRD_LEFT_OUT {
        let modules = unpacked.join("usr/lib/modules").join(&kernel);
        fs::remove_dir_all(modules.join("kernel").join(path)).expect("modules are removed");
    }
    shell(
        "cd \"$1\"; find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | zstd -q -f -o \"$0\"",
    );
    fs::remove_dir_all(unpacked).expect("the folder is removed");
}

fn remove_modules(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder of modules").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        if entry.path().is_dir() {
            remove_modules(&entry.path());
        } else if !MODULES_KEPT.iter().any(|kept| name.starts_with(kept)) {
            fs::remove_file(entry.path()).expect("a module is removed");
        }
    }
}

/// GRUB's core for a format, made by the image's own tool.
fn mkimage(root: &Path, format: &str, more: &[&str], modules: &[&str]) -> Vec<u8> {
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&root, &"grub-mkimage", &"-O", &format];
    args.extend(
        more.iter()
            .chain(modules)
            .map(|arg| arg as &dyn AsRef<std::ffi::OsStr>),
    );
    args.extend([&"-o" as &dyn AsRef<std::ffi::OsStr>, &"/core"]);
    run("chroot", &args);
    let core = fs::read(root.join("core")).expect("GRUB's core");
    fs::remove_file(root.join("core")).expect("the core is removed");
    core
}

/// Boot code and core as grub-install writes them: the code knows the core's first sector, and
/// that one where the others are.
fn make_core(root: &Path) -> (Vec<u8>, Vec<u8>) {
    let prefix = ["-p", "(,gpt3)/boot/grub"];
    let mut core = mkimage(root, "i386-pc", &prefix, &["biosdisk", "part_gpt", "ext2"]);
    let mut code = fs::read(root.join("usr/lib/grub/i386-pc/boot.img")).expect("GRUB's boot.img");
    code.truncate(440);
    core.resize(core.len().next_multiple_of(512), 0);
    let first = BIOS_START / 512;
    code[0x5c..0x64].copy_from_slice(&first.to_le_bytes());
    let sectors = u16::try_from(core.len() / 512 - 1).expect("a small core");
    core[500..508].copy_from_slice(&(first + 1).to_le_bytes());
    core[508..510].copy_from_slice(&sectors.to_le_bytes());
    core[510..512].copy_from_slice(&0x820_u16.to_le_bytes());
    (code, core)
}

/// An EFI system partition with GRUB where new machines look for it.
fn make_esp(folder: &Path, root: &Path) -> PathBuf {
    let script =
        format!("search.fs_uuid {ROOT_UUID} root hd0,gpt3 \nset prefix=($root)'/boot/grub'\n");
    fs::write(root.join("load.cfg"), script).expect("GRUB's script");
    let options = ["-c", "/load.cfg", "-p", "/boot/grub"];
    let modules = ["part_gpt", "ext2", "search_fs_uuid"];
    let program = mkimage(root, "x86_64-efi", &options, &modules);
    fs::remove_file(root.join("load.cfg")).expect("the script is removed");
    let loader = folder.join("bootx64.efi");
    fs::write(&loader, program).expect("the loader");
    let esp = folder.join("esp.fat");
    run("mkfs.vfat", &[&"-C", &esp, &(ESP_SIZE / 1024).to_string()]);
    run(
        "mmd",
        &[&"-i", &esp, &"::EFI", &"::EFI/BOOT", &"::EFI/debian"],
    );
    run("mcopy", &[&"-i", &esp, &loader, &"::EFI/BOOT/BOOTX64.EFI"]);
    run(
        "mcopy",
        &[&"-i", &esp, &loader, &"::EFI/debian/grubx64.efi"],
    );
    esp
}
