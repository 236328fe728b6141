//! The kernel's command line.

mod root;

use crate::context::Context;
use crate::rules::Rule;
use crate::rules::cmdline as rules;

pub(crate) use root::{Root, follow, is_kind, resolve};

/// A parameter that should be there: rule, name, what its value begins with.
const WANTED: &[(&Rule, &str, &str)] = &[
    (&rules::CMDLINE_CONSOLE, "console", "ttyS0"),
    (&rules::CMDLINE_EARLYPRINTK, "earlyprintk", "ttyS0"),
    (&rules::CMDLINE_IFNAMES, "net.ifnames", "0"),
];

/// A parameter that should not be there.
const UNWANTED: &[(&Rule, &str)] = &[
    (&rules::CMDLINE_RHGB, "rhgb"),
    (&rules::CMDLINE_QUIET, "quiet"),
    (&rules::CMDLINE_CRASHKERNEL, "crashkernel=auto"),
];

/// Seconds of a delay that nobody minds.
const LONG_DELAY: u32 = 30;

/// Judges the command line of the default kernel.
pub(crate) fn judge(cmdline: &str, context: &Context<'_>) {
    let is_arm = context.is_arm.get();
    judge_order(cmdline, context);
    for (rule, name, value) in WANTED {
        // The serial port of Arm64 has another driver, and no `earlyprintk`.
        let value = match (is_arm, *name) {
            (true, "console") => "ttyAMA0",
            (true, "earlyprintk") => continue,
            _ => value,
        };
        judge_wanted(cmdline, rule, name, value, context);
    }
    for (rule, parameter) in UNWANTED {
        if cmdline.split_whitespace().any(|word| word == *parameter) {
            context.find(
                rule,
                format!(
                    "the kernel command line has `{parameter}`, which the guide advises against"
                ),
            );
        }
    }
}

fn judge_wanted(cmdline: &str, rule: &Rule, name: &str, value: &str, context: &Context<'_>) {
    if has(cmdline, name, value) {
        return;
    }
    let found = values(cmdline, name).collect::<Vec<_>>().join(", ");
    let found = match found.is_empty() {
        true => format!("no `{name}`"),
        false => format!("`{name}` with {found}"),
    };
    context.find(
        rule,
        format!("the kernel command line has {found}, and the guide asks for `{name}={value}`"),
    );
}

/// Judges how long a boot waits for its disk. The guide asks for `rootdelay=300`; the `init` of
/// initramfs-tools sleeps for all of it, and waits for a late disk without it.
pub(crate) fn judge_delay(cmdline: &str, is_initramfs_tools: bool, context: &Context<'_>) {
    if !is_initramfs_tools {
        judge_wanted(
            cmdline,
            &rules::CMDLINE_ROOTDELAY,
            "rootdelay",
            "300",
            context,
        );
        return;
    }
    let delay = last(cmdline, "rootdelay").and_then(|delay| delay.parse::<u32>().ok());
    if let Some(seconds) = delay.filter(|&seconds| seconds > LONG_DELAY) {
        context.find(
            &rules::ROOTDELAY_LONG,
            format!("`rootdelay={seconds}`: every boot sleeps for {seconds} seconds before it looks for the disk"),
        );
    }
}

/// The last console is the one that init and its services write to.
fn judge_order(cmdline: &str, context: &Context<'_>) {
    let serial = |console: &str| {
        ["ttyS", "ttyAMA", "hvc"]
            .iter()
            .any(|kind| console.starts_with(kind))
    };
    let all: Vec<_> = values(cmdline, "console").collect();
    if let Some(last) = all.last()
        && !serial(last)
        && all.iter().any(|console| serial(console))
    {
        context.find(
            &rules::CMDLINE_CONSOLE_ORDER,
            format!("the last console on the command line is `{last}`, and not the serial one"),
        );
    }
}

/// Whether a parameter has a value that is or begins with this one and a comma.
pub(crate) fn has(cmdline: &str, name: &str, value: &str) -> bool {
    values(cmdline, name).any(|found| {
        // The longer form of earlyprintk.
        let found = found.strip_prefix("serial,").unwrap_or(found);
        let rest = found.strip_prefix(value);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
    })
}

/// All values of a parameter.
pub(crate) fn values<'a>(cmdline: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    cmdline
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// The value that counts of a parameter that is given several times: the last.
pub(crate) fn last<'a>(cmdline: &'a str, name: &str) -> Option<&'a str> {
    let mut words = cmdline
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    let value = words.rfind(|(found, _)| *found == name)?.1;
    Some(value.trim_matches('"'))
}

/// Whether a parameter stands alone, without a value.
pub(crate) fn has_word(cmdline: &str, word: &str) -> bool {
    cmdline.split_whitespace().any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_to_the_comma() {
        let has = |cmdline| has(cmdline, "console", "ttyS0");
        assert!(has("ro console=tty1 console=ttyS0,115200n8"));
        assert!(has("console=ttyS0"));
        assert!(has("console=serial,ttyS0,115200"));
        assert!(!has("console=ttyS01"));
        assert!(!has("xconsole=ttyS0"));
        assert!(!has("console"));
    }
}
