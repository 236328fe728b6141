//! Secure Boot: whether what is started is signed, and by whom.
//!
//! Source: Microsoft's pages on Trusted Launch. The firmware of such a machine has Microsoft's
//! keys, and those that come with an image of a gallery; shim has its distribution's.

use super::pe::Program;
use super::signature::{Signature, signatures};
use crate::context::Context;
use crate::rules::Rule;
use crate::rules::firmware as rules;

/// Who starts a program and has the keys for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Starter {
    /// The firmware.
    Firmware,
    /// shim, or a boot loader that asks shim.
    Shim,
}

/// Judges the signatures of a program that is started, where Secure Boot is asked for.
///
/// `unsigned` is the rule of a program without any.
pub(crate) fn judge(
    path: &str,
    bytes: &[u8],
    program: &Program,
    starter: Starter,
    unsigned: &Rule,
    context: &Context<'_>,
) {
    if !context.options.secure_boot {
        return;
    }
    let found = program
        .certificates
        .as_ref()
        .map(|certificates| signatures(bytes, certificates))
        .unwrap_or_default();
    if found.is_empty() && program.certificates.is_none() {
        let message = format!("`{path}` is not signed, and Secure Boot does not start it");
        context.find_in(unsigned, path, message);
        return;
    }
    if found.is_empty() {
        let message = format!("`{path}` has a signature that cannot be read");
        context.find_in(&rules::SECURE_BOOT_KEYS, path, message);
        return;
    }
    if found.iter().all(|signature| signature.fits == Some(false)) {
        let message = format!("`{path}` was changed after it was signed");
        context.find_in(&rules::SECURE_BOOT_CHANGED, path, message);
        return;
    }
    let signers: Vec<_> = found.iter().map(in_words).collect();
    let signers = signers.join("; ");
    let by_microsoft = found
        .iter()
        .any(|signature| signature.issuer.starts_with("Microsoft "));
    if starter == Starter::Firmware && !by_microsoft {
        let message = format!(
            "`{path}` is signed by {signers}; the firmware has Microsoft's keys only, unless others \
             come with the image"
        );
        context.find_in(&rules::SECURE_BOOT_KEYS, path, message);
        return;
    }
    let message = format!("`{path}` is signed by {signers}");
    context.find_in(&rules::SECURE_BOOT_SIGNED, path, message);
}

fn in_words(signature: &Signature) -> String {
    format!("{} (certified by {})", signature.signer, signature.issuer)
}
