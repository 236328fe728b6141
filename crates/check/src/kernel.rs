//! The kernel that is started: whether it is there, whole, and for the machine.
//!
//! Source: "The Linux/x86 Boot Protocol" and "Booting AArch64 Linux" of the kernel's documentation.

use std::io::Read;

use byteorder::{ByteOrder, LittleEndian};

use crate::context::Context;
use crate::decoders;
use crate::files::Tree;
use crate::firmware::Program;
use crate::firmware::secure_boot::{self, Starter};
use crate::grub::World;
use crate::loader::Boot;
use crate::report::Stage;
use crate::rules::kernel as rules;
use crate::unread::{Unread, contained};
use crate::volumes::Volumes;

/// Largest kernel that is read, in bytes; a unified one holds its initial RAM disk as well.
const MAX_KERNEL: u64 = 512 << 20;
/// Most bytes that a kernel unpacks to.
const MAX_UNPACKED: u64 = 512 << 20;
/// First kernel with NUMA on Hyper-V, and the first build of Red Hat's 2.6.32 that has it too.
const NUMA: Version = Version([2, 6, 37]);
const RED_HAT_BASE: Version = Version([2, 6, 32]);
const RED_HAT_NUMA_BUILD: u64 = 504;
/// Build of Red Hat Enterprise Linux 6.4, the first with the drivers for Hyper-V.
const RED_HAT_DRIVERS_BUILD: u64 = 358;
/// "If a custom kernel is required, we recommend a recent kernel version (such as 3.8+)."
const RECOMMENDED: Version = Version([3, 8, 0]);

/// What is known of the kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// Its release, as in `/lib/modules`.
    pub(crate) release: Option<String>,
    /// Command line built into a unified image.
    pub(crate) cmdline: Option<String>,
    /// Initial RAM disk built into a unified image.
    pub(crate) initrd: Option<Vec<u8>>,
}

/// Judges the file of the kernel; `None` where it cannot be started.
pub(crate) fn follow(boot: &Boot, volumes: &Volumes, context: &Context<'_>) -> Option<Kernel> {
    context.step("kernel");
    let shown = volumes.shown(&boot.kernel);
    let result = contained(|| {
        let Some(tree) = volumes.tree_at(&boot.kernel)? else {
            return Ok(None);
        };
        let found = tree.resolve(&boot.kernel.path)?;
        let bytes = tree.bytes(&boot.kernel.path, MAX_KERNEL)?;
        Ok(bytes.zip(found.map(|(path, _)| path)))
    });
    match result {
        Ok(Some((bytes, path))) => judge(boot, &bytes, &path, &shown, context),
        Ok(None) => {
            let message = format!("the boot loader starts `{shown}`, and there is no such file");
            context.find_at(&rules::KERNEL_MISSING, &boot.file, boot.line, message);
            None
        }
        Err(reason) => {
            let message = format!("the kernel `{shown}` could not be read: {reason}");
            context.find_at(&rules::KERNEL_UNKNOWN, &boot.file, boot.line, message);
            None
        }
    }
}

fn judge(
    boot: &Boot,
    bytes: &[u8],
    path: &str,
    shown: &str,
    context: &Context<'_>,
) -> Option<Kernel> {
    let broken = |why: &str| {
        context.find_in(
            &rules::KERNEL_BROKEN,
            shown,
            format!("the kernel `{shown}` {why}"),
        );
        None
    };
    if bytes.iter().all(|&byte| byte == 0) {
        return broken(if bytes.is_empty() {
            "is empty"
        } else {
            "holds only zeros"
        });
    }
    let mut kernel = Kernel::default();
    let mut image = bytes;
    if boot.is_unified {
        let program = match Program::read(bytes) {
            Ok(program) => program,
            Err(why) => return broken(&format!("cannot be started: {why}")),
        };
        let text = |name: &str| {
            let text = program.section(bytes, name)?;
            let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
            Some(String::from_utf8_lossy(text).trim().to_owned())
        };
        kernel.cmdline = text(".cmdline");
        kernel.release = text(".uname");
        kernel.initrd = program.section(bytes, ".initrd").map(<[u8]>::to_vec);
        match program.section(bytes, ".linux") {
            Some(inner) => image = inner,
            None => return broken("has no kernel in it"),
        }
    }
    judge_signature(boot, bytes, shown, context);
    match whole(image) {
        Ok(()) => {}
        Err(Fault::Broken(why)) => return broken(&why),
        Err(Fault::Unknown(why)) => {
            let message = format!("the kernel `{shown}` could not be judged: {why}");
            context.find_in(&rules::KERNEL_UNKNOWN, shown, message);
        }
    }
    kernel.release = kernel
        .release
        .or_else(|| release_in(image))
        .or_else(|| named(path));
    match &kernel.release {
        Some(release) => {
            context.evidence(Stage::Kernel, format!("{shown}, release {release}"));
        }
        None => context.find_in(
            &rules::KERNEL_UNKNOWN,
            shown,
            format!("the version of the kernel `{shown}` could not be found"),
        ),
    }
    Some(kernel)
}

/// A kernel that a boot loader starts; unified ones that the firmware starts are judged there.
fn judge_signature(boot: &Boot, bytes: &[u8], shown: &str, context: &Context<'_>) {
    if !context.options.secure_boot || boot.file.is_empty() {
        return;
    }
    let unsigned = &rules::SECURE_BOOT_KERNEL;
    match Program::read(bytes) {
        Ok(program) => {
            secure_boot::judge(shown, bytes, &program, Starter::Shim, unsigned, context);
        }
        Err(_) => context.find_in(
            unsigned,
            shown,
            format!("the kernel `{shown}` is no program for UEFI, and not signed"),
        ),
    }
}

/// Why a kernel cannot be started, or cannot be judged.
enum Fault {
    Broken(String),
    Unknown(String),
}

/// Whether a kernel is there to its end.
fn whole(image: &[u8]) -> Result<(), Fault> {
    if image.get(0x202..0x206) == Some(b"HdrS") {
        return whole_x86(image);
    }
    if image.get(0x38..0x3c) == Some(b"ARM\x64") {
        let size = LittleEndian::read_u64(&image[0x10..]);
        // The size in the header counts memory that is cleared, which the file does not hold.
        return match image.len() as u64 > size.saturating_add(16 << 20) {
            true => Err(Fault::Unknown(
                "it is larger than its header says".to_owned(),
            )),
            false => Ok(()),
        };
    }
    match image {
        [0x1f, 0x8b, ..] => Err(Fault::Unknown("it is packed with gzip".to_owned())),
        [b'M', b'Z', ..] => Err(Fault::Unknown("its form is not known here".to_owned())),
        _ => Err(Fault::Broken("is no kernel of Linux".to_owned())),
    }
}

fn whole_x86(image: &[u8]) -> Result<(), Fault> {
    let cut = |expected: u64| {
        Fault::Broken(format!(
            "is cut off: it has {} bytes of {expected}",
            image.len()
        ))
    };
    if image.len() < 0x260 {
        return Err(cut(0x260));
    }
    let setup = u64::from(if image[0x1f1] == 0 { 4 } else { image[0x1f1] });
    let setup_size = (setup + 1) * 512;
    let size = setup_size + u64::from(LittleEndian::read_u32(&image[0x1f4..])) * 16;
    // The last unit of 16 bytes may be short.
    if (image.len() as u64) + 16 <= size {
        return Err(cut(size));
    }
    let protocol = LittleEndian::read_u16(&image[0x206..]);
    if protocol >= 0x20c && LittleEndian::read_u16(&image[0x236..]) & 1 == 0 {
        return Err(Fault::Unknown("it is a kernel of 32 bits".to_owned()));
    }
    if protocol < 0x208 {
        return Ok(());
    }
    let at = setup_size + u64::from(LittleEndian::read_u32(&image[0x248..]));
    let length = u64::from(LittleEndian::read_u32(&image[0x24c..]));
    let payload = usize::try_from(at)
        .ok()
        .zip(usize::try_from(at.saturating_add(length)).ok())
        .and_then(|(start, end)| image.get(start..end));
    match payload {
        Some(payload) => unpacks(payload),
        None => Err(cut(at.saturating_add(length))),
    }
}

/// Whether what is packed in a kernel unpacks to its end.
///
/// The size that it unpacks to stands behind it, so the last bytes are not part of the stream.
fn unpacks(payload: &[u8]) -> Result<(), Fault> {
    let Some((stream, size)) = payload.split_last_chunk::<4>() else {
        return Err(Fault::Broken("has nothing in it".to_owned()));
    };
    let size = u64::from(u32::from_le_bytes(*size));
    let mut input = stream;
    let mut decoder = match decoders::decoder(&mut input) {
        Ok(decoder) => decoder,
        Err(decoders::NoDecoder::Packing(name)) => {
            return Err(Fault::Unknown(format!("it is packed with {name}")));
        }
        Err(_) if payload.starts_with(b"\x7fELF") => return Ok(()),
        Err(_) if stream.iter().take(4096).all(|&byte| byte == 0) => {
            return Err(Fault::Broken("holds only zeros".to_owned()));
        }
        Err(error) => return Err(Fault::Unknown(format!("its packing is not known: {error}"))),
    };
    let mut start = [0; 4];
    let head = decoder.read_exact(&mut start);
    let rest = std::io::copy(
        &mut decoder.by_ref().take(MAX_UNPACKED),
        &mut std::io::sink(),
    );
    match (head, rest) {
        (Ok(()), Ok(rest)) if start == *b"\x7fELF" && (rest + 4 == size || size == 0) => Ok(()),
        (Ok(()), Ok(rest)) => Err(Fault::Unknown(format!(
            "it unpacks to {} bytes, and {size} are expected",
            rest + 4
        ))),
        (Err(error), _) | (_, Err(error)) => Err(Fault::Broken(format!(
            "is damaged: it does not unpack ({error})"
        ))),
    }
}

/// The release in the header of an x86 kernel (`kernel_version`).
fn release_in(image: &[u8]) -> Option<String> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = usize::from(LittleEndian::read_u16(image.get(0x20e..0x210)?)) + 0x200;
    let text = image
        .get(at..)?
        .split(|&byte| byte == 0 || byte == b' ')
        .next()?;
    let release = std::str::from_utf8(text).ok()?;
    Version::parse(release).map(|_| release.to_owned())
}

/// The release in the name of a kernel.
fn named(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (_, release) = name.split_once('-')?;
    Version::parse(release).map(|_| release.to_owned())
}

/// The first three numbers of a kernel's version.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Version([u64; 3]);

impl Version {
    fn parse(release: &str) -> Option<Self> {
        let base = release.split(['-', '+', '_', '~']).next()?;
        let mut numbers = base.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Self([major, minor, numbers.next().flatten().unwrap_or(0)]))
    }
}

/// Build number of a kernel of Red Hat Enterprise Linux 6: 504 in `2.6.32-504.el6`.
fn red_hat_build(release: &str) -> Option<u64> {
    let (_, rest) = release.split_once('-')?;
    let is_red_hat = rest.contains(".el") && Version::parse(release) == Some(RED_HAT_BASE);
    let build = rest.split('.').next()?.parse().ok();
    build.filter(|_| is_red_hat)
}

/// Judges the version against the guide.
pub(crate) fn judge_version(release: &str, cmdline: &str, context: &Context<'_>) {
    let Some(version) = Version::parse(release) else {
        return;
    };
    let build = red_hat_build(release).unwrap_or(0);
    let has_numa = version >= NUMA || build >= RED_HAT_NUMA_BUILD;
    if !has_numa && !crate::cmdline::has(cmdline, "numa", "off") {
        context.find(
            &rules::KERNEL_NUMA,
            format!("the kernel {release} is older than 2.6.37 and not started with `numa=off`"),
        );
    }
    if version < RECOMMENDED && build < RED_HAT_DRIVERS_BUILD {
        context.find(
            &rules::KERNEL_VERSION,
            format!("the kernel is {release}, and 3.8 or newer is recommended"),
        );
    }
}

/// Judges whether the modules of the kernel are on the root file system.
pub(crate) fn judge_modules(
    release: &str,
    drivers: &crate::drivers::Drivers,
    root: &Tree,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let folder = format!("/lib/modules/{release}");
    if drivers.are_unknown() {
        context.find(
            &rules::KERNEL_UNKNOWN,
            format!("neither modules nor configuration of the kernel {release} were found"),
        );
    } else if !drivers.has_modules() && !root.exists(&folder)? {
        context.find_in(
            &rules::KERNEL_MODULES,
            &folder,
            format!("the kernel is {release}, and there is no `{folder}`"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions() {
        let parse = |release| Version::parse(release).map(|version| version.0);
        assert_eq!(parse("6.1.0-50-cloud-amd64"), Some([6, 1, 0]));
        assert_eq!(parse("2.6.32-504.el6.x86_64"), Some([2, 6, 32]));
        assert_eq!(parse("6.12+deb13-amd64"), Some([6, 12, 0]));
        assert_eq!(parse("rescue-0123"), None);
        assert_eq!(red_hat_build("2.6.32-504.el6.x86_64"), Some(504));
        assert_eq!(red_hat_build("2.6.32-5-amd64"), None);
        assert_eq!(red_hat_build("3.10.0-514.el7"), None);
    }

    #[test]
    fn the_header_of_a_kernel_tells_its_release() {
        let mut head = vec![0; 0x1000];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        head[0x500..0x50f].copy_from_slice(b"6.1.0-1 (a@b) #");
        assert_eq!(release_in(&head).as_deref(), Some("6.1.0-1"));
        assert_eq!(release_in(&head[..0x480]), None);
        assert_eq!(named("/boot/vmlinuz-6.1.0-1").as_deref(), Some("6.1.0-1"));
        assert_eq!(named("/boot/vmlinuz"), None);
    }

    fn versions_found(release: &str, cmdline: &str) -> Vec<&'static str> {
        let disk = std::rc::Rc::new(crate::metered::Metered::new(
            std::rc::Rc::new(vec![0_u8; 512]),
            512,
            512,
            std::rc::Rc::new(crate::NoDeadline),
        ));
        let options = crate::Options::default();
        let mut progress = |_| {};
        let context = Context::new(disk, &options, &mut progress);
        judge_version(release, cmdline, &context);
        context
            .into_found()
            .findings
            .iter()
            .map(|finding| finding.id)
            .collect()
    }

    #[test]
    fn old_kernels() {
        for (release, cmdline, findings) in [
            ("2.6.36-1-amd64", "", &["kernel-numa", "kernel-version"][..]),
            ("2.6.36-1-amd64", "numa=off", &["kernel-version"]),
            ("2.6.32-431.el6.x86_64", "numa=off", &[]),
            ("2.6.32-431.el6.x86_64", "", &["kernel-numa"]),
            ("2.6.32-279.el6.x86_64", "numa=off", &["kernel-version"]),
            ("2.6.32-504.el6.x86_64", "", &[]),
            ("3.7.9", "", &["kernel-version"]),
            ("3.8.0", "", &[]),
        ] {
            assert_eq!(versions_found(release, cmdline), findings, "{release}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_kernel_or_none(text: String, mut bytes: Vec<u8>) {
            let _ = (Version::parse(&text), red_hat_build(&text), release_in(&bytes), whole(&bytes).is_ok());
            bytes.resize(bytes.len().max(0x300), 7);
            bytes[0x202..0x206].copy_from_slice(b"HdrS");
            let _ = (release_in(&bytes), whole(&bytes).is_ok());
        }
    }
}
