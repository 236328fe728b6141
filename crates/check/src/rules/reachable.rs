//! Rules of the stage "reachable".

rules! {
    Reachable;
    SSH_MISSING: "ssh-missing", Error, SystemRequirements,
        "No SSH server is installed.",
        "install an SSH server";
    SSH_DISABLED: "ssh-disabled", Error, SystemRequirements,
        "The SSH server is not started at boot.",
        "enable it with `systemctl --root=DIR enable` and {ssh}; where it is masked, `systemctl --root=DIR unmask` first";
    SSH_UNIT: "ssh-unit", Error, Systemd,
        "The SSH server is started at boot and cannot run.",
        "correct what the finding names (`systemctl --root=DIR unmask` where it is masked), or install the package of the SSH server again";
    SSH_UNKNOWN: "ssh-unknown", Unknown, Sshd,
        "It could not be told whether the SSH server can be reached.",
        "check by hand with `sshd -T`";
    SSHD_CONFIG: "sshd-config", Error, Sshd,
        "sshd refuses its configuration, and does not start.",
        "correct the line; `sshd -t` names it";
    SSHD_LISTENS: "sshd-listens", Error, Sshd,
        "sshd listens where nobody can reach it.",
        "remove the line, so that sshd listens on all addresses";
    SSHD_AUTHENTICATION: "sshd-authentication", Error, Sshd,
        "sshd lets nobody in.",
        "allow keys (`PubkeyAuthentication yes`) for the user that Azure makes";
    SSHD_KEYS: "sshd-keys", Warning, Sshd,
        "sshd takes passwords only; machines in Azure are mostly made with keys.",
        "set `PubkeyAuthentication yes`";
    SSHD_ALLOW: "sshd-allow", Unknown, Sshd,
        "sshd lets in certain users or groups only; whether the user that Azure makes is one of them is not known.",
        "name that user or its groups, or remove the line";
    SSHD_HOST_KEYS: "sshd-host-keys", Error, Sshd,
        "sshd has no host key and does not start; nothing makes one at boot.",
        "let the agent make them (`Provisioning.RegenerateSshHostKeyPair=y`), or run `ssh-keygen -A`";
    SSHD_USER: "sshd-user", Error, Sshd,
        "The user is missing as whom sshd runs what needs no rights.",
        "install the package of the SSH server again";
    NOLOGIN: "nologin", Error, SystemRequirements,
        "A file keeps everybody but root out.",
        "remove `/etc/nologin`; unmask `systemd-user-sessions.service`, which removes `/run/nologin`";
    PAM: "pam", Error, SystemRequirements,
        "A file or module of PAM is missing without which nobody is let in.",
        "install the packages of PAM and of the SSH server again";
    SSH_DENIED: "ssh-denied", Error, Sshd,
        "A list of who may come from where lets nobody in: `/etc/hosts.deny` or `/etc/security/access.conf`.",
        "remove the line, or let sshd through (`sshd: ALL` in `/etc/hosts.allow`)";
    FIREWALL: "firewall", Error, Nftables,
        "A firewall that is started drops connections to the SSH server.",
        "let the port of the SSH server through";
    FIREWALL_UNKNOWN: "firewall-unknown", Unknown, Nftables,
        "It could not be told whether a firewall lets connections to the SSH server through.",
        "check by hand that the port of the SSH server is open";
}
