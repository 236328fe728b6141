//! What the names of devices mean that stand in configurations and on the command line.

use super::{Volume, Volumes};

/// Folders of `/dev` that are no volume groups.
const OTHER_FOLDERS: [&str; 7] = ["bcache", "block", "cciss", "char", "md", "ubi", "zvol"];

impl Volumes {
    /// The one that a name of `/etc/fstab` or of the command line means: `UUID=`, `LABEL=`,
    /// `PARTUUID=`, `PARTLABEL=`, or a path below `/dev`.
    pub(crate) fn named(&self, name: &str) -> Named<'_> {
        let one_of = |found: &dyn Fn(&Volume) -> bool| {
            let mut all = self.all.iter().filter(|volume| found(volume));
            match (all.next(), all.next()) {
                (Some(first), _) => Named::Found(first),
                (None, _) => Named::Missing,
            }
        };
        let same = |found: &Option<String>, wanted: &str| found.as_deref() == Some(wanted);
        let unquoted = |value: &str| value.trim_matches(['"', '\'']).to_owned();
        let tags: [(&str, &str); 4] = [
            ("UUID=", "/dev/disk/by-uuid/"),
            ("LABEL=", "/dev/disk/by-label/"),
            ("PARTUUID=", "/dev/disk/by-partuuid/"),
            ("PARTLABEL=", "/dev/disk/by-partlabel/"),
        ];
        for (index, (tag, folder)) in tags.into_iter().enumerate() {
            let value = name.strip_prefix(tag).or_else(|| name.strip_prefix(folder));
            let Some(value) = value.map(unquoted) else {
                continue;
            };
            let value = unescaped(&value);
            return match index {
                0 => self.or_hidden(one_of(&|volume| same(&volume.fs_uuid, &value))),
                1 => self.or_hidden(one_of(&|volume| same(&volume.label, &value))),
                2 => self.by_partuuid(&value),
                _ => one_of(&|volume| same(&volume.part_label, &value)),
            };
        }
        self.by_path(name)
    }

    /// What names no file system that is seen may be in LUKS, RAID or an unread logical volume.
    fn or_hidden<'v>(&'v self, named: Named<'v>) -> Named<'v> {
        match named {
            Named::Missing if self.all.iter().any(Volume::hides) => {
                Named::Unknown("it may be in a volume that is not looked into")
            }
            named => named,
        }
    }

    /// A logical volume, or what else the device mapper makes, by its name below `/dev/mapper`.
    fn by_mapper(&self, name: &str) -> Named<'_> {
        let logical = |volume: &&Volume| {
            let names = volume.logical.as_ref();
            names.is_some_and(|names| names.mapper == name)
        };
        if let Some(volume) = self.all.iter().find(logical) {
            return Named::Found(volume);
        }
        // What `kpartx` makes on the machine that builds an image, and no other.
        let is_of_build = ["loop", "nbd"].iter().any(|kind| {
            let number = name
                .strip_prefix(kind)
                .and_then(|rest| rest.split_once('p'));
            number.is_some_and(|(disk, part)| {
                disk.parse::<u32>().is_ok() && part.parse::<u32>().is_ok()
            })
        });
        // A volume group and a name, or what LUKS is given as a name.
        let is_logical = name.contains('-') && !self.all.iter().any(Volume::hides);
        match is_of_build || is_logical {
            true => Named::Missing,
            false => Named::Unknown("it is made of others (LVM, LUKS or RAID)"),
        }
    }

    /// A logical volume as `GROUP/NAME`.
    fn by_group(&self, path: &str) -> Named<'_> {
        let group = path.split('/').next().unwrap_or_default();
        let mut of_group = self
            .all
            .iter()
            .filter_map(|volume| volume.logical.as_ref().map(|names| (volume, names)))
            .filter(|(_, names)| names.path.split('/').next() == Some(group))
            .peekable();
        let is_known = of_group.peek().is_some();
        let is_other = OTHER_FOLDERS.contains(&group) || self.all.iter().any(Volume::hides);
        match of_group.find(|(_, names)| names.path == path) {
            Some((volume, _)) => Named::Found(volume),
            None if is_known || !is_other => Named::Missing,
            None => Named::Unknown("it may be a logical volume"),
        }
    }

    fn by_partuuid(&self, value: &str) -> Named<'_> {
        if value.contains("/PARTNROFF=") {
            return Named::Unknown("it is given by its distance from another partition");
        }
        self.all
            .iter()
            .find(|volume| volume.part_uuid.as_deref() == Some(value))
            .map_or(Named::Missing, Named::Found)
    }

    /// The end of a message about a name that is missing: how the same identifier is spelled here, where it is in
    /// other letters, capital or small; else empty. At boot they are compared letter by letter (udev's links, `blkid -t`).
    pub(crate) fn other_spelling(&self, name: &str) -> String {
        let value = name
            .rsplit(['=', '/'])
            .next()
            .unwrap_or(name)
            .trim_matches('"');
        self.all
            .iter()
            .flat_map(|volume| [&volume.fs_uuid, &volume.part_uuid])
            .flatten()
            .find(|found| found.eq_ignore_ascii_case(value) && *found != value)
            .map(|spelled| format!("; there is `{spelled}`, in other letters"))
            .unwrap_or_default()
    }

    fn by_path(&self, name: &str) -> Named<'_> {
        let Some(device) = name.strip_prefix("/dev/") else {
            return Named::NoDevice;
        };
        let numbered = |number: &str| match number.parse::<u32>() {
            Ok(number) => {
                let found = self.all.iter().find(|volume| volume.number == number);
                found.map_or(Named::Missing, Named::Found)
            }
            Err(_) => Named::Missing,
        };
        if let Some(number) = device.strip_prefix("sda") {
            return match number {
                "" => self
                    .all
                    .iter()
                    .find(|v| v.number == 0)
                    .map_or(Named::Missing, Named::Found),
                number => numbered(number),
            };
        }
        for by_other_bus in ["vd", "xvd", "hd", "mmcblk", "dasd"] {
            let rest = device.strip_prefix(by_other_bus);
            if rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric())) {
                return Named::Missing;
            }
        }
        if let Some(number) = device
            .strip_prefix("disk/azure/root-part")
            .or_else(|| device.strip_prefix("disk/azure/os-part"))
        {
            return numbered(number);
        }
        if device.starts_with("nvme0n1p") {
            return Named::Unknown("only machines with NVMe have such a device");
        }
        if device.starts_with("sd") {
            return Named::Unknown("it is on another disk");
        }
        if let Some(name) = device.strip_prefix("mapper/") {
            return self.by_mapper(name);
        }
        if device.starts_with("dm-") || device.starts_with("md") {
            return Named::Unknown("it is made of others (LVM, LUKS or RAID)");
        }
        match device {
            "root" => Named::NoDevice,
            _ if device.contains('/') && !device.starts_with("disk/") => self.by_group(device),
            _ => Named::Unknown("the name of the device is not known here"),
        }
    }
}

/// What a name of a device means.
#[derive(Clone, Copy)]
pub(crate) enum Named<'v> {
    /// This one.
    Found(&'v Volume),
    /// Nothing in the image.
    Missing,
    /// It cannot be told, and why.
    Unknown(&'static str),
    /// It is no device.
    NoDevice,
}

/// Names in `/dev/disk` with `\x20` for a blank.
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("\\x") {
        let code = rest
            .get(at + 2..at + 4)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        text.push_str(&rest[..at]);
        match code {
            Some(code) if code.is_ascii() => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            _ => {
                text.push_str("\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    text + rest
}
