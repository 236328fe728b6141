//! Conditions of units that the machine in Azure fulfils or not, apart from those about files.
//!
//! Source: the manual systemd.unit, "Conditions and Asserts".

use super::units::is_yes;

/// Whether a condition holds on a virtual machine of Hyper-V; `None` where that is not known.
pub(super) fn holds(key: &str, value: &str, cmdline: &str) -> Option<bool> {
    let name = key
        .strip_prefix("Condition")
        .or_else(|| key.strip_prefix("Assert"))?;
    // A condition with a bar is one of several of which one must hold.
    let value = value.trim();
    if value.starts_with('|') {
        return None;
    }
    let (inverted, value) = match value.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    let found = match name {
        "Virtualization" => matches!(value, "vm" | "microsoft") || is_yes(value),
        "KernelCommandLine" => cmdline
            .split_whitespace()
            .any(|word| word == value || word.split('=').next() == Some(value)),
        "ACPower" => is_yes(value),
        _ => return None,
    };
    Some(found != inverted)
}

/// Whether the command line masks a unit.
pub(super) fn is_masked(cmdline: &str, unit: &str) -> bool {
    cmdline.split_whitespace().any(|word| {
        word.strip_prefix("systemd.mask=")
            .is_some_and(|name| name == unit || format!("{name}.service") == unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_the_machine() {
        let holds = |key, value| holds(key, value, "ro root=UUID=1 quiet");
        assert_eq!(holds("ConditionVirtualization", "microsoft"), Some(true));
        assert_eq!(holds("ConditionVirtualization", "!vm"), Some(false));
        assert_eq!(holds("AssertVirtualization", "kvm"), Some(false));
        assert_eq!(holds("ConditionVirtualization", "!container"), Some(true));
        assert_eq!(holds("ConditionVirtualization", "|kvm"), None);
        assert_eq!(holds("ConditionKernelCommandLine", "root"), Some(true));
        assert_eq!(holds("ConditionKernelCommandLine", "!quiet"), Some(false));
        assert_eq!(holds("ConditionFirstBoot", "yes"), None);
        assert!(is_masked("ro systemd.mask=ssh.service", "ssh.service"));
        assert!(!is_masked("ro systemd.mask=ssh.socket", "ssh.service"));
    }
}
