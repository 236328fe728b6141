//! OVA after DSP0243, the Open Virtualization Format: a tar archive with an OVF, which lists the disks.
//!
//! A disk is read where it lies in the archive. Sums in a manifest are not judged.

mod archive;
mod envelope;

use std::ops::ControlFlow;

use archive::Member;
use envelope::DiskFile;

use super::{
    Context, Defect, Details, Format, FormatError, Input, Kind, Parsed, Probe, Reading,
    SharedError, Stop,
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
    let mut search = Search::new(&input);
    let mut cut = None;
    if let Err(error) = archive::visit(&input, |member| search.member(member)) {
        // The disks before that are there.
        cut = Some(error);
    }
    let Some(disks) = search.disks.take() else {
        let reason = "a tar archive without an OVF; extract the image with `tar -xf`";
        return Err(cut.unwrap_or_else(|| no_disk(reason)).into());
    };
    if disks.is_empty() {
        return Err(no_disk("its OVF lists no disk that is in a file").into());
    }
    let images = disks.iter().zip(search.found).map(|(disk, member)| {
        check(disk)?;
        let member = member.ok_or_else(|| missing(disk, cut.as_ref()))?;
        open(context, disk, &member)
    });
    Ok(Parsed::Several {
        images: images.collect(),
        details: Details {
            disks: disks.len(),
            ..Details::new(Format(&KIND))
        },
    })
}

/// Why a disk is not in the part of the archive that could be read.
fn missing(disk: &DiskFile, cut: Option<&FormatError>) -> FormatError {
    match cut {
        Some(FormatError::Damaged(damage)) => damage.clone().into(),
        Some(FormatError::Io(error)) => FormatError::Io(SharedError::copy(error)),
        Some(&FormatError::Limit { what, value, limit }) => {
            FormatError::Limit { what, value, limit }
        }
        _ => FormatError::NoMember(disk.name.clone()),
    }
}

fn no_disk(reason: &'static str) -> FormatError {
    FormatError::NoDisk {
        format: Format(&KIND),
        reason,
    }
}

/// The search for the disks in an archive, whose OVF should be its first member.
struct Search<'a> {
    input: &'a Input,
    /// The members before the OVF.
    seen: Vec<Member>,
    /// The disks that the OVF lists, once it was found.
    disks: Option<Vec<DiskFile>>,
    /// Their members, as far as they were found.
    found: Vec<Option<Member>>,
}

impl<'a> Search<'a> {
    fn new(input: &'a Input) -> Self {
        Self {
            input,
            seen: Vec::new(),
            disks: None,
            found: Vec::new(),
        }
    }

    /// Takes the next member of the archive into account, until all disks are found.
    fn member(&mut self, member: Member) -> Result<ControlFlow<()>, FormatError> {
        if self.disks.is_some() {
            self.take(&member);
        } else if member.name.to_ascii_lowercase().ends_with(b".ovf") {
            let disks = disks(self.input, member.data)?;
            self.found = vec![None; disks.len()];
            self.disks = Some(disks);
            for member in std::mem::take(&mut self.seen) {
                self.take(&member);
            }
        } else {
            self.seen.push(member);
            return Ok(ControlFlow::Continue(()));
        }
        Ok(match self.found.contains(&None) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    }

    /// Takes the member for each disk that it is.
    fn take(&mut self, member: &Member) {
        for (disk, found) in self.disks.iter().flatten().zip(&mut self.found) {
            if found.is_none() && is_called(member, &disk.name) {
                *found = Some(member.clone());
            }
        }
    }
}

/// Whether a disk can be read where it lies.
fn check(disk: &DiskFile) -> Result<(), FormatError> {
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
    Ok(())
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
