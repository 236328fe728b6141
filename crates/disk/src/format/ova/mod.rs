//! OVA after DSP0243, the Open Virtualization Format: a tar archive with an OVF, which lists the disks.
//!
//! A disk is read where it lies in the archive. Sums in a manifest are not judged.

mod archive;
mod envelope;

use std::ops::ControlFlow;

use archive::Member;
use envelope::DiskFile;

use super::{
    Context, Defect, Details, Format, FormatError, Input, Kind, Parsed, Probe, Reading, Stop,
};
use crate::{ByteRange, Disk};

pub(super) const KIND: Kind = Kind {
    name: "ova",
    title: "OVA",
    qemu_name: None,
    extensions: &["ova"],
    recognise,
    reading: Reading::Parse(parse),
};

/// Largest OVF that is read, in bytes.
const MAX_OVF: u64 = 4 << 20;

/// Whether a file begins with a header of tar (POSIX, "pax Interchange Format"), whose checksum is right.
fn recognise(probe: &Probe<'_>) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let Some(head) = probe.head.get(..512).filter(|_| probe.has(257, b"ustar")) else {
        return false;
    };
    let sum: u32 = (0..)
        .zip(head)
        .map(|(at, &byte)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { byte }))
        .sum();
    let digits = head[CHECKSUM].split(|byte| matches!(byte, b' ' | 0));
    let stored = digits
        .filter_map(|digits| std::str::from_utf8(digits).ok())
        .find_map(|digits| u32::from_str_radix(digits, 8).ok());
    stored == Some(sum)
}

fn parse(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let mut search = Search {
        input: &input,
        number: context.options().disk,
        seen: Vec::new(),
        disks: None,
    };
    let mut found = None;
    archive::visit(&input, |member| {
        found = search.member(member)?;
        Ok(match found {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        })
    })?;
    let Some(disks) = &search.disks else {
        let reason = "a tar archive without an OVF; extract the image with `tar -xf`";
        return Err(no_disk(reason).into());
    };
    let disk = search.disk(disks)?;
    let member = found.ok_or_else(|| FormatError::NoMember(disk.name.clone()))?;
    let image = open(context, disk, &member)?;
    Ok(Parsed::Inner {
        input: image,
        details: Details {
            disks: disks.len(),
            ..Details::new(Format(&KIND))
        },
    })
}

fn no_disk(reason: &'static str) -> FormatError {
    FormatError::NoDisk {
        format: Format(&KIND),
        reason,
    }
}

/// The search for a disk in an archive, whose OVF should be its first member.
struct Search<'a> {
    input: &'a Input,
    /// Number of the disk, counted from 0.
    number: usize,
    /// The members before the OVF.
    seen: Vec<Member>,
    /// The disks that the OVF lists, once it was found.
    disks: Option<Vec<DiskFile>>,
}

impl Search<'_> {
    /// Takes the next member of the archive into account. Returns the one that holds the disk as soon as it is known.
    fn member(&mut self, member: Member) -> Result<Option<Member>, FormatError> {
        if let Some(disks) = &self.disks {
            let disk = self.disk(disks)?;
            return Ok(is_called(&member, &disk.name).then_some(member));
        }
        if !member.name.to_ascii_lowercase().ends_with(b".ovf") {
            self.seen.push(member);
            return Ok(None);
        }
        let disks = self.disks.insert(disks(self.input, member.data)?).clone();
        let disk = self.disk(&disks)?;
        let mut seen = self.seen.drain(..);
        Ok(seen.find(|member| is_called(member, &disk.name)))
    }

    /// The disk that is looked for, if it can be read where it lies.
    fn disk<'a>(&self, disks: &'a [DiskFile]) -> Result<&'a DiskFile, FormatError> {
        if disks.is_empty() {
            return Err(no_disk("its OVF lists no disk that is in a file"));
        }
        let disk = disks.get(self.number);
        let disk = disk.ok_or(FormatError::NoSuchDisk(self.number))?;
        if disk.parent.is_some() {
            let parent = disk.parent.clone();
            return Err(FormatError::Differencing { parent });
        }
        if let Some(compression) = &disk.compression {
            let compression = compression.replace(char::is_control, "?");
            return Err(unreadable(disk, format!("compressed ({compression})")));
        }
        if disk.chunks {
            return Err(unreadable(disk, "split into chunks".to_owned()));
        }
        Ok(disk)
    }
}

fn unreadable(disk: &DiskFile, reason: String) -> FormatError {
    let name = disk.name.clone();
    FormatError::MemberUnreadable { name, reason }
}

/// Whether an OVF means this member by `name`, which may be encoded as in RFC 3986.
fn is_called(member: &Member, name: &str) -> bool {
    member.name == name.as_bytes() || member.name == envelope::decoded(name)
}

/// The disks that the OVF in these bytes of the archive lists.
fn disks(input: &Input, place: ByteRange) -> Result<Vec<DiskFile>, FormatError> {
    const OVF: &str = "the OVF";
    if place.len() > MAX_OVF {
        return Err(FormatError::Limit {
            what: "OVF's size",
            value: place.len(),
            limit: MAX_OVF,
        });
    }
    input.check_inside(OVF, place)?;
    let mut text = vec![0; place.len() as usize];
    input.read_exact_at(&mut text, place.start())?;
    let damage = || input.damage(OVF, place.start(), Defect::Value).into();
    envelope::disks(&text).ok_or_else(damage)
}

/// The image that a member holds. What is called a VMDK has to be one: it would be taken for a raw disk otherwise.
fn open(context: &Context<'_>, disk: &DiskFile, member: &Member) -> Result<Input, FormatError> {
    let archive = context.input();
    if !member.whole {
        return Err(unreadable(
            disk,
            "stored with its holes left out".to_owned(),
        ));
    }
    let name = disk.name.replace(char::is_control, "?");
    let name = format!("{name} in {}", archive.name());
    let image = archive.window(member.data, &name, context.caches())?;
    let name = disk.name.to_ascii_lowercase();
    if name.ends_with(".vmdk") || disk.format.to_ascii_lowercase().contains("vmdk") {
        let mut magic = [0; 4];
        let is_there = image.size() >= magic.len() as u64;
        if is_there {
            image.read_exact_at(&mut magic, 0)?;
        }
        if !matches!(&magic, b"KDMV" | b"COWD" | b"# Di") {
            return Err(image.damage("the VMDK", 0, Defect::Value).into());
        }
    }
    Ok(image)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;
