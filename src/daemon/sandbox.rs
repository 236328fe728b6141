//! What a mounted daemon may still do: read below the source folder, and nothing else.
//!
//! All of it is in force for the calling thread and for those that it starts afterwards. So it is
//! entered once the mount is there, which needs more, and before any other thread is.

use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use log::info;
use rustix::fs::Mode as FileMode;
use rustix::thread::{CapabilitySet, CapabilitySets};
use thiserror::Error;

/// Files may be neither read, written, truncated, made nor run unless a rule says so, from here on.
/// `--sandbox require` is content with nothing less (Linux 6.2).
const REQUIRED: ABI = ABI::V3;
/// No TCP from here on (Linux 6.7).
const WITHOUT_NETWORK: ABI = ABI::V4;
/// No ioctl on devices that are opened later, from here on (Linux 6.10).
const WITHOUT_DEVICES: ABI = ABI::V5;
/// No signals and no abstract sockets to others, from here on (Linux 6.12).
const SCOPED: ABI = ABI::V6;

/// How much of a sandbox there must be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sandbox {
    /// As much as the kernel has.
    #[default]
    Auto,
    /// All of it, or no mount.
    Require,
    /// None.
    Off,
}

/// What the daemon goes on doing.
#[derive(Debug, Default)]
pub struct Needs<'a> {
    /// Folders below which it reads, and learns the names of readers.
    pub readable: Vec<BorrowedFd<'a>>,
    /// Folders in which it removes files of its own.
    pub removable: Vec<BorrowedFd<'a>>,
    /// Whether it registers files for the kernel to serve, which takes `CAP_SYS_ADMIN`.
    pub passthrough: bool,
    /// Whether it reports to a service manager through an abstract socket.
    pub abstract_socket: bool,
}

/// Why there is no sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// Privileges could be had back.
    #[error("no_new_privs: {0}")]
    Privileges(#[source] io::Error),
    /// Capabilities stay.
    #[error("capabilities: {0}")]
    Capabilities(#[source] io::Error),
    /// Files are not restricted.
    #[error("Landlock: {0}")]
    Files(#[from] RulesetError),
    /// Files are not restricted.
    #[error("Landlock: not in this kernel, or not enabled (`lsm=landlock,…` at boot)")]
    NoLandlock,
}

/// Gives up all but what is needed. What the kernel lacks is logged.
///
/// # Errors
///
/// If `sandbox` is [`Sandbox::Require`] and something cannot be given up.
pub fn enter(sandbox: Sandbox, needs: &Needs<'_>) -> Result<(), SandboxError> {
    if sandbox == Sandbox::Off {
        return Ok(());
    }
    rustix::process::umask(FileMode::RWXG | FileMode::RWXO);
    let steps = [
        forbid_new_privileges(),
        keep_capabilities(capabilities_for(needs)),
        restrict_files(sandbox, needs),
    ];
    for step in steps {
        match step {
            Err(error) if sandbox == Sandbox::Require => return Err(error),
            Err(error) => info!("the sandbox is not whole: {error}"),
            Ok(()) => {}
        }
    }
    Ok(())
}

pub(super) fn forbid_new_privileges() -> Result<(), SandboxError> {
    rustix::thread::set_no_new_privs(true).map_err(|error| SandboxError::Privileges(error.into()))
}

/// What of root's power serving images takes. An ordinary user has none of it anyway.
fn capabilities_for(needs: &Needs<'_>) -> CapabilitySet {
    // Images of all owners are read (DAC_READ_SEARCH) without a trace in their access times
    // (FOWNER), and not cloned while somebody writes them (LEASE).
    let mut kept = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER | CapabilitySet::LEASE;
    kept.set(CapabilitySet::SYS_ADMIN, needs.passthrough);
    kept
}

fn keep_capabilities(kept: CapabilitySet) -> Result<(), SandboxError> {
    reduce_capabilities(kept).map_err(|error| SandboxError::Capabilities(error.into()))
}

/// Keeps these capabilities, of those that there are, and no way to get others.
pub(super) fn reduce_capabilities(kept: CapabilitySet) -> rustix::io::Result<()> {
    let had = rustix::thread::capabilities(None)?;
    // Kernels before 4.3 know no ambient set.
    let _ = rustix::thread::clear_ambient_capability_set();
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(kept).iter() {
            // EINVAL: the kernel does not know it, so nobody can have it.
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let left = had.permitted & kept;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: left,
            permitted: left,
            inheritable: CapabilitySet::empty(),
        },
    )
}

fn restrict_files(sandbox: Sandbox, needs: &Needs<'_>) -> Result<(), SandboxError> {
    match landlock(sandbox, needs)?.ruleset {
        RulesetStatus::NotEnforced => Err(SandboxError::NoLandlock),
        RulesetStatus::PartiallyEnforced => {
            info!("the sandbox is not whole: this kernel's Landlock is older than Linux 6.12");
            Ok(())
        }
        RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn landlock(sandbox: Sandbox, needs: &Needs<'_>) -> Result<RestrictionStatus, RulesetError> {
    let level = match sandbox {
        Sandbox::Require => CompatLevel::HardRequirement,
        _ => CompatLevel::BestEffort,
    };
    let ruleset = Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WITHOUT_DEVICES))?
        .handle_access(AccessNet::from_all(WITHOUT_NETWORK))?;
    let mut scopes = Scope::from_all(SCOPED);
    if needs.abstract_socket {
        scopes.remove(Scope::AbstractUnixSocket);
    }
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    ruleset
        .scope(scopes)?
        .create()?
        .add_rules(rules(&needs.readable, read))?
        .add_rules(rules(&needs.removable, AccessFs::RemoveFile.into()))?
        .restrict_self()
}

fn rules<'a>(
    folders: &'a [BorrowedFd<'a>],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<BorrowedFd<'a>>, RulesetError>> {
    let rule = move |folder: &BorrowedFd<'a>| Ok(PathBeneath::new(*folder, access));
    folders.iter().map(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passthrough_takes_more_than_reading() {
        let without = capabilities_for(&Needs::default());
        assert!(!without.contains(CapabilitySet::SYS_ADMIN));
        let with = capabilities_for(&Needs {
            passthrough: true,
            ..Needs::default()
        });
        assert_eq!(with.difference(without), CapabilitySet::SYS_ADMIN);
        for writing in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::CHOWN] {
            assert!(!with.contains(writing));
        }
    }
}
