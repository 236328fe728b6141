//! Rules of the stage "provisioning".

rules! {
    Provisioning;
    UDF: "udf", Error, InstallationNotes,
        "The kernel has no UDF.",
        "install a kernel with the `udf` module";
    UDF_CUSTOM_DATA: "udf-custom-data", Warning, InstallationNotes,
        "As `udf` or `udf-blocked`, with cloud-init 21.2 or newer, which needs UDF for custom data and passwords only.",
        "install a kernel with the `udf` module, and remove rules against it";
    UDF_BLOCKED: "udf-blocked", Error, LinuxAgent,
        "A file in `modprobe.d` keeps `udf` from being loaded.",
        "remove the rule for `udf` from `/etc/modprobe.d`";
    VFAT: "vfat", Error, InstallationNotes,
        "The kernel has no VFAT.",
        "install a kernel with the `vfat` module";
    VFAT_BLOCKED: "vfat-blocked", Error, LinuxAgent,
        "A file in `modprobe.d` keeps `vfat` from being loaded.",
        "remove the rule for `vfat` from `/etc/modprobe.d`";
    AGENT_MISSING: "agent-missing", Error, SystemRequirements,
        "Neither the Azure Linux Agent nor cloud-init is installed and enabled.",
        "install the Azure Linux Agent or cloud-init";
    AGENT_DISABLED: "agent-disabled", Error, SystemRequirements,
        "The Azure Linux Agent is not started at boot.",
        "enable it with `systemctl --root=DIR enable` and {agent}; where it is masked, `systemctl --root=DIR unmask` first";
    AGENT_PROVISIONING: "agent-provisioning", Error, SystemRequirements,
        "`/etc/waagent.conf` leaves provisioning to cloud-init, which is not installed, is disabled, or does not look in Azure.",
        "install cloud-init with the data source Azure, or set `Provisioning.Agent=auto` in `/etc/waagent.conf`";
    AGENT_EXTENSIONS: "agent-extensions", Info, LinuxAgent,
        "cloud-init is there and the Azure Linux Agent is not.",
        "install the Azure Linux Agent where extensions are needed";
    AGENT_VERSION: "agent-version", Info, LinuxAgent,
        "The version of the Azure Linux Agent.",
        "nothing is to be done; whether Azure supports it is judged by `agent-old`";
    AGENT_OLD: "agent-old", Warning, AgentVersion,
        "The Azure Linux Agent is older than the oldest version that Azure supports, 2.2.53.1.",
        "update the agent's package; where the distribution has no newer one, leave `AutoUpdate.Enabled` on in `/etc/waagent.conf`";
    CLOUD_INIT_FINAL: "cloud-init-final", Warning, CloudInit,
        "The last stage of cloud-init does not run: scripts of users and packages are left out.",
        "enable `cloud-final.service` with `systemctl --root=DIR enable`; where it is masked, unmask it first";
    CLOUD_INIT_DATASOURCE: "cloud-init-datasource", Error, SystemRequirements,
        "The data sources of cloud-init do not include Azure.",
        "add `Azure` to `datasource_list` in `/etc/cloud/cloud.cfg.d`";
    WAAGENT_CONF: "waagent-conf", Warning, SystemRequirements,
        "The Azure Linux Agent has no `/etc/waagent.conf`.",
        "restore `/etc/waagent.conf` from the agent's package";
    WAAGENT_SWAP: "waagent-swap", Warning, SystemRequirements,
        "The agent is to make swap on the resource disk, and not to format it.",
        "set `ResourceDisk.Format=y` as well, or `ResourceDisk.EnableSwap=n`";
    WAAGENT_CLOUD_INIT: "waagent-cloud-init", Warning, SystemRequirements,
        "cloud-init provisions, and the agent formats the resource disk or makes swap too.",
        "set `ResourceDisk.Format=n` and `ResourceDisk.EnableSwap=n`";
    REMAINS_HOST_KEYS: "remains-host-keys", Info, SystemRequirements,
        "There are SSH host keys.",
        "run `waagent -deprovision` or `cloud-init clean`, or remove `/etc/ssh/ssh_host_*`";
    REMAINS_MACHINE_ID: "remains-machine-id", Info, SystemRequirements,
        "`/etc/machine-id` is set.",
        "empty `/etc/machine-id`";
    REMAINS_HISTORY: "remains-history", Info, SystemRequirements,
        "There are shell histories.",
        "remove the shell histories";
    REMAINS_LOG: "remains-log", Info, SystemRequirements,
        "There is a log of the Azure Linux Agent.",
        "remove `/var/log/waagent.log`";
    REMAINS_KEYS: "remains-authorized-keys", Info, InstallationNotes,
        "There are public keys of users.",
        "remove the public keys";
    AGENT_PROGRAM: "agent-program", Error, Waagent,
        "The Azure Linux Agent cannot run: its program, its interpreter or its package is missing or damaged.",
        "install its package again with {install}";
    AGENT_PROGRAM_WARNING: "agent-program-warning", Warning, Waagent,
        "As `agent-program`, where something else provisions the machine: there are no extensions.",
        "install its package again with {install}";
    AGENT_DISABLED_WARNING: "agent-disabled-warning", Warning, LinuxAgent,
        "As `agent-disabled`, where something else provisions the machine: there are no extensions.",
        "enable it with `systemctl --root=DIR enable` and {agent}";
    AGENT_UNKNOWN: "agent-unknown", Unknown, Waagent,
        "It could not be told whether the agent can run.",
        "check by hand that the agent starts";
    AGENT_PROVISIONED: "agent-provisioned", Error, Waagent,
        "The agent has provisioned this machine, and does not do so again: no user is made.",
        "run `waagent -deprovision+user`, or remove `/var/lib/waagent`";
    CLOUD_INIT_DISABLED: "cloud-init-disabled", Error, CloudInit,
        "cloud-init is disabled by a switch of its own, and nothing else provisions the machine.",
        "remove the switch";
    CLOUD_INIT_UNITS: "cloud-init-units", Error, CloudInit,
        "A stage of cloud-init is not started, and nothing else provisions the machine.",
        "enable it with `systemctl --root=DIR enable cloud-init-local cloud-init cloud-config cloud-final`; where it is masked, `systemctl --root=DIR unmask` first";
    CLOUD_INIT_PROGRAM: "cloud-init-program", Error, CloudInit,
        "cloud-init cannot run: its program, its interpreter or a package is missing or damaged.",
        "install its package again with {install}";
    CLOUD_INIT_CONF: "cloud-init-conf", Error, CloudInit,
        "cloud-init has no configuration, or one with which it makes no user.",
        "restore `/etc/cloud/cloud.cfg` from its package";
    CLOUD_INIT_YAML: "cloud-init-yaml", Unknown, CloudInit,
        "A configuration of cloud-init is no valid YAML and left out; what is lost by that is not known.",
        "correct the file; `cloud-init schema -c FILE` names the place";
    CLOUD_INIT_OTHER: "cloud-init-other", Unknown, CloudInit,
        "The command line names another data source, which counts or not as the version of cloud-init decides.",
        "remove `ds=` from the command line: change {args}";
    CLOUD_INIT_IDLE: "cloud-init-idle", Info, CloudInit,
        "cloud-init is installed and something else provisions the machine.",
        "nothing, or remove cloud-init";
    AZURE_INIT: "azure-init", Warning, AzureInit,
        "azure-init is installed and does not provision.",
        "enable it with `systemctl --root=DIR enable azure-init`";
    USERADD: "useradd", Error, Waagent,
        "The program is missing with which the agent makes the user.",
        "install `passwd` (Debian) or `shadow-utils` with {install}";
    LOGIN_SHELL: "login-shell", Error, Useradd,
        "The shell that the user gets is not there or cannot run; sshd lets nobody in whose shell is missing.",
        "install the shell with {install}, or correct `SHELL=` in `/etc/default/useradd` or `shell:` in `/etc/cloud/cloud.cfg`";
    DVD_DRIVE: "dvd-drive", Error, DvdDrive,
        "The kernel has no driver for the DVD drive that the configuration of a new machine comes on (`sr_mod`; for generation 1 `ata_piix` too), or it is kept from being loaded.",
        "install a kernel with the modules `sr_mod` and `ata_piix`, and remove lines against them from `/etc/modprobe.d`";
    DVD_DRIVE_CUSTOM_DATA: "dvd-drive-custom-data", Warning, DvdDrive,
        "As `dvd-drive`, with cloud-init 21.2 or newer, which needs the drive for custom data and passwords only.",
        "install a kernel with the modules `sr_mod` and `ata_piix`, and remove lines against them from `/etc/modprobe.d`";
}
