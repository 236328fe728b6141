//! Rules of the stage "network".

rules! {
    Network;
    HV_NETVSC: "hv-netvsc", Error, SystemRequirements,
        "`hv_netvsc` is neither in the kernel nor among its modules.",
        "install a kernel that has the module";
    NETWORK_RULES: "network-rules", Warning, InstallationNotes,
        "A udev rule names network cards by hardware address, such as `70-persistent-net.rules`.",
        "remove the file: the machine in Azure has another network card";
    NETWORK_MAC: "network-mac", Warning, InstallationNotes,
        "A network configuration binds an interface to a hardware address.",
        "remove the hardware address: the machine in Azure has another network card";
    NETVSC_BLOCKED: "hv-netvsc-blocked", Error, SystemRequirements,
        "A file in `modprobe.d` keeps the driver of the network card from being loaded.",
        "remove the line from `/etc/modprobe.d`";
    NETWORK_NONE: "network-none", Error, SystemRequirements,
        "Nothing brings up the network card by DHCP, so the machine cannot be reached.",
        "configure `eth0` for DHCP in the system that is started: `/etc/network/interfaces`, `/etc/systemd/network`, netplan, or NetworkManager";
    NETWORK_STATIC: "network-static", Error, SystemRequirements,
        "The network card has a fixed address; in Azure the address comes by DHCP.",
        "configure `eth0` for DHCP";
    NETWORK_UNKNOWN: "network-unknown", Unknown, SystemRequirements,
        "It could not be told whether the network is brought up.",
        "check by hand that `eth0` is configured by DHCP";
    NETWORK_SRIOV: "network-sriov", Warning, Accelerated,
        "NetworkManager also takes the card of accelerated networking, which belongs to `eth0`.",
        "add a rule of udev that sets `NM_UNMANAGED=1` for it, such as `68-azure-sriov-nm-unmanaged.rules`";
}
