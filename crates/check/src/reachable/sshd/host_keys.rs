//! The host keys of sshd, and what makes them at boot.

use super::Config;
use crate::context::Context;
use crate::provisioning::CloudInit;
use crate::rules::reachable as rules;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

/// Judges the host keys: sshd does not start without one.
pub(in crate::reachable) fn judge_host_keys(
    config: &Config,
    system: &System,
    units: &Units<'_>,
    cloud_init: &CloudInit,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = &system.tree;
    let named = config.all("HostKey");
    let usual = ["rsa", "ecdsa", "ed25519"].map(|kind| format!("/etc/ssh/ssh_host_{kind}_key"));
    let paths: Vec<String> = match named.is_empty() {
        true => usual.to_vec(),
        false => named
            .iter()
            .filter_map(|setting| setting.values.first().cloned())
            .collect(),
    };
    // cloud-init removes those of the usual names before it makes new ones.
    let stays = |path: &&String| !cloud_init.removes_host_keys || !usual.contains(path);
    for path in paths.iter().filter(stays) {
        if tree
            .meta(path)?
            .is_some_and(|meta| meta.is_file() && meta.size > 0 && meta.mode & 0o027 == 0)
        {
            return Ok(());
        }
    }
    let can_be_made = paths.iter().any(|path| usual.contains(path));
    if can_be_made && makes_host_keys(system, units, cloud_init)? {
        return Ok(());
    }
    let (path, line) = named
        .first()
        .map_or((config.path.as_str(), 0), |s| (s.path.as_str(), s.line));
    context.find_at(
        &rules::SSHD_HOST_KEYS,
        path,
        line,
        format!(
            "sshd has no host key (`{}`), and nothing makes one at boot",
            paths.join("`, `")
        ),
    );
    Ok(())
}

/// Whether something makes host keys at boot.
fn makes_host_keys(
    system: &System,
    units: &Units<'_>,
    cloud_init: &CloudInit,
) -> Result<bool, Unread> {
    let tree = &system.tree;
    if cloud_init.makes_host_keys || tree.exists("/usr/bin/azure-init")? {
        return Ok(true);
    }
    for name in [
        "sshd-keygen.target",
        "sshd-keygen.service",
        "sshdgenkeys.service",
        "sshkeygen.service",
        "ssh-keygen.service",
        "regenerate_ssh_host_keys.service",
    ] {
        // Units of others ask for these, whether they are there or not.
        if units.is_started(name)? && units.obstacle(name, &system.accounts, 0)?.is_none() {
            return Ok(true);
        }
    }
    for name in ["ssh.service", "sshd.service"] {
        if let crate::system::units::Load::Found(unit) = units.load(name)?
            && unit
                .words("Service", "ExecStartPre")
                .any(|word| word.contains("keygen"))
        {
            return Ok(true);
        }
    }
    if !units.is_systemd() {
        return Ok(true);
    }
    let conf = tree.text("/etc/waagent.conf")?.unwrap_or_default();
    let value = |key: &str| {
        let mut lines = conf.lines().filter_map(|line| line.split_once('='));
        let last = lines.rfind(|(found, _)| found.trim() == key);
        last.map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    let regenerates =
        value("Provisioning.RegenerateSshHostKeyPair").is_none_or(|v| v.starts_with('y'));
    let provisions = value("Provisioning.Agent")
        .is_none_or(|v| !matches!(v.as_str(), "cloud-init" | "disabled"));
    let mut runs = false;
    for name in ["walinuxagent.service", "waagent.service"] {
        runs |= units.is_started(name)?
            && units
                .obstacle_of_administrator(name, &system.accounts)?
                .is_none();
    }
    Ok(regenerates && provisions && runs)
}
