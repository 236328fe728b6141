//! What a boot loader starts without anybody's choice.

mod grub;
mod systemd_boot;

use crate::context::Context;
use crate::firmware::Start;
use crate::grub::{Place, World};
use crate::report::Stage;
use crate::rules::loader as rules;
use crate::unread::{Unread, contained};
use crate::volumes::Volumes;

/// A kernel that is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    /// The kernel, or the program that holds it.
    pub(crate) kernel: Place,
    /// Its command line.
    pub(crate) cmdline: String,
    /// Its initial RAM disks.
    pub(crate) initrds: Vec<Place>,
    /// File that says so.
    pub(crate) file: String,
    /// Line in the file, from 1.
    pub(crate) line: u32,
    /// Whether kernel, command line and initial RAM disk are in one program.
    pub(crate) is_unified: bool,
}

/// Follows the boot loader. Without a known start, a configuration of GRUB is looked for, so that
/// what it says can be judged; the stage then stays unknown.
pub(crate) fn follow(
    start: Option<Start>,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Option<Boot> {
    context.step("boot menu");
    let is_known = start.is_some();
    let boots = contained(|| match start {
        Some(Start::Grub(start)) => grub::follow(&start, volumes, context),
        Some(Start::SystemdBoot { device }) => systemd_boot::follow(&device, volumes, context),
        Some(Start::UnifiedKernel(place)) => Ok(vec![unified(place, volumes)]),
        None => grub::look_for(volumes, context),
    });
    let boots = match boots {
        Ok(boots) => boots,
        Err(reason) => {
            context.find(
                &rules::LOADER_UNREADABLE,
                format!("the boot loader's configuration could not be followed: {reason}"),
            );
            return None;
        }
    };
    let boot = first_with_kernel(boots, volumes)?;
    if is_known && !context.has(Stage::Loader, crate::Level::Error) {
        context.followed(Stage::Loader);
    }
    context.evidence(
        Stage::Loader,
        format!("{}, {}", boot.file, volumes.shown(&boot.kernel)),
    );
    Some(boot)
}

/// Of several that are tried one after another, the first whose kernel is there.
fn first_with_kernel(boots: Vec<Boot>, volumes: &Volumes) -> Option<Boot> {
    let has_kernel = |boot: &&Boot| {
        let found = contained(|| volumes.stat(&boot.kernel));
        found.is_ok_and(|stat| stat.is_some_and(|stat| !stat.is_folder && stat.size > 0))
    };
    boots.iter().find(has_kernel).or(boots.first()).cloned()
}

fn unified(place: Place, volumes: &Volumes) -> Boot {
    Boot {
        file: volumes.shown(&place),
        kernel: place,
        is_unified: true,
        ..Boot::default()
    }
}

/// Why there is nothing to go on with.
fn nothing() -> Result<Vec<Boot>, Unread> {
    Ok(Vec::new())
}
