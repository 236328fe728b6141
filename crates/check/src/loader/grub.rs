//! GRUB: from its core to a kernel.

use super::{Boot, nothing};
use crate::context::Context;
use crate::firmware::GrubStart;
use crate::grub::{Loaded, Machine, Outcome, Place, World, outcome};
use crate::rules::loader as rules;
use crate::unread::Unread;
use crate::volumes::Volumes;

/// Modules without which a menu is not shown, or a kernel of Linux not started.
const MODULES: [&str; 2] = ["normal", "linux"];
/// Configurations that are looked for where the way to them is not known.
const CONFIGURATIONS: [&str; 4] = [
    "/boot/grub2/grub.cfg",
    "/boot/grub/grub.cfg",
    "/grub2/grub.cfg",
    "/grub/grub.cfg",
];

/// Follows GRUB from what is built into it.
pub(super) fn follow(
    start: &GrubStart,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<Vec<Boot>, Unread> {
    let mut machine = Machine::new(volumes, start.platform);
    machine.memdisk_script.clone_from(&start.memdisk_script);
    machine.set("cmdpath", &start.folder);
    let (device, folder) = split(&start.prefix, &start.device);
    let Some(device) = volumes.device(&device) else {
        if device.starts_with("hd0") || device.starts_with(',') {
            context.find(
                &rules::GRUB_PREFIX,
                format!("GRUB looks for its folder on the device `{device}`, which is not there"),
            );
            return nothing();
        }
        return Err(Unread::Script(format!(
            "GRUB's folder is on the device `{device}`"
        )));
    };
    machine.set("root", &device);
    machine.set("prefix", &format!("({device}){folder}"));
    if let Some(script) = &start.script {
        machine.run_text(script, "the script in GRUB's core")?;
    }
    if !machine.wants_menu && machine.loaded.is_none() && machine.entries.is_empty() {
        if !has_modules(start, &machine, volumes, context)? {
            return nothing();
        }
        machine.run_text("normal", "GRUB's core")?;
        if !machine.wants_menu {
            let prefix = machine.get("prefix").to_owned();
            context.find(
                &rules::GRUB_CONFIG,
                format!("GRUB finds no `grub.cfg` in `{prefix}`, and waits at its prompt"),
            );
            return nothing();
        }
    }
    judge(&mut machine, volumes, context)
}

/// Whether the modules are there that GRUB cannot go on without.
fn has_modules(
    start: &GrubStart,
    machine: &Machine<'_>,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<bool, Unread> {
    let platform = if start.platform == "pc" {
        "i386-pc"
    } else {
        "x86_64-efi"
    };
    for module in MODULES {
        if start.modules.iter().any(|found| found == module) {
            continue;
        }
        let path = format!("{}/{platform}/{module}.mod", machine.get("prefix"));
        let place = machine.place(&path);
        let found = volumes.stat(&place)?;
        if !found.is_some_and(|found| !found.is_folder && found.size > 0) {
            context.find_in(
                &rules::GRUB_MODULES,
                &place.path,
                format!(
                    "GRUB needs its module `{module}`, and there is no `{}`",
                    volumes.shown(&place)
                ),
            );
            return Ok(false);
        }
    }
    if start.modules.iter().any(|found| found == "linux") {
        return Ok(true);
    }
    // By this list it finds the module of a command; without it, `linux` is no command.
    let path = format!("{}/{platform}/command.lst", machine.get("prefix"));
    let place = machine.place(&path);
    let found = volumes.stat(&place)?;
    let is_there = found.is_some_and(|found| !found.is_folder && found.size > 0);
    if !is_there {
        let shown = volumes.shown(&place);
        let message =
            format!("GRUB finds the modules of its commands by `{shown}`, which is not there");
        context.find_in(&rules::GRUB_MODULES, &place.path, message);
    }
    Ok(is_there)
}

/// Device and folder of a prefix; without a device in it, on the one that GRUB was read from.
fn split(prefix: &str, device: &str) -> (String, String) {
    match prefix
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
    {
        Some((found, folder)) => (found.to_owned(), folder.to_owned()),
        None => (device.to_owned(), prefix.to_owned()),
    }
}

/// Looks for a configuration where the way to it is not known.
pub(super) fn look_for(volumes: &Volumes, context: &Context<'_>) -> Result<Vec<Boot>, Unread> {
    for volume in volumes.iter().filter(|volume| volume.files.is_some()) {
        for path in CONFIGURATIONS {
            let place = Place {
                device: volume.grub.clone(),
                path: path.to_owned(),
                ..Place::default()
            };
            if volumes.stat(&place)?.is_none() {
                continue;
            }
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut machine = Machine::new(volumes, "pc");
            machine.set("root", &volume.grub);
            machine.set("prefix", &format!("({}){folder}", volume.grub));
            machine.run_text(
                &format!("configfile ({}){path}", volume.grub),
                "GRUB's core",
            )?;
            return judge(&mut machine, volumes, context);
        }
    }
    context.find(
        &rules::BOOT_CONFIG,
        format!(
            "no boot menu was found in `{}`",
            CONFIGURATIONS.join("`, `")
        ),
    );
    nothing()
}

fn judge(
    machine: &mut Machine<'_>,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<Vec<Boot>, Unread> {
    let result = outcome(machine)?;
    let boots = match result {
        Outcome::Starts(loaded) => kernels(loaded, volumes, context)?,
        Outcome::Stops { why, file, line } => {
            context.find_at(
                &rules::LOADER_STOPS,
                &file,
                line,
                format!("GRUB stops: {why}"),
            );
            Vec::new()
        }
        Outcome::Submenu {
            title,
            first,
            file,
            line,
        } => {
            context.find_at(
                &rules::LOADER_SUBMENU,
                &file,
                line,
                format!("the default is the menu `{title}`, in which GRUB may wait for a choice"),
            );
            kernels(first, volumes, context)?
        }
    };
    for trouble in &machine.troubles {
        context.find_at(
            &rules::LOADER_TROUBLE,
            &trouble.file,
            trouble.line,
            trouble.what.clone(),
        );
    }
    Ok(boots)
}

fn kernels(
    loaded: Vec<Loaded>,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<Vec<Boot>, Unread> {
    let mut boots = Vec::new();
    for loaded in loaded {
        if loaded.is_chain {
            let place = volumes.shown(&loaded.kernel);
            return match boots.is_empty() {
                true => Err(Unread::Script(format!(
                    "it starts another boot loader, `{place}`"
                ))),
                false => Ok(boots),
            };
        }
        if boots.is_empty() {
            judge_files(&loaded, volumes, context)?;
        }
        boots.push(Boot {
            kernel: loaded.kernel,
            cmdline: loaded.cmdline,
            initrds: loaded.initrds,
            file: loaded.file,
            line: loaded.line,
            is_unified: false,
        });
    }
    Ok(boots)
}

/// Devices that the entry takes its files from must be there.
fn judge_files(loaded: &Loaded, volumes: &Volumes, context: &Context<'_>) -> Result<(), Unread> {
    for place in [&loaded.kernel].into_iter().chain(&loaded.initrds) {
        if volumes.device(&place.device).is_none() {
            context.find_at(
                &rules::LOADER_DEVICE,
                &loaded.file,
                loaded.line,
                format!(
                    "GRUB takes `{}` from the device `{}`, which is not there",
                    place.path, place.device
                ),
            );
            break;
        }
    }
    Ok(())
}
