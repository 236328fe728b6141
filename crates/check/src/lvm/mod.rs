//! Logical volumes of LVM2: where their bytes lie.
//!
//! Source: the headers and the text format of LVM2 (`lib/format_text/layout.h`,
//! `lib/label/label.h`, `man lvmraid` and `man vgcfgbackup`). Linear and striped volumes are read;
//! others have the reason why not.

mod label;
mod mapping;
mod text;

use crate::metered::Window;
use crate::unread::Unread;
use label::Label;
use text::Section;

pub(crate) use mapping::Mapping;
use mapping::{Segment, Stripe};

const SECTOR: u64 = 512;
/// Most logical volumes of a group that are looked at.
const MAX_VOLUMES: usize = 256;
/// Most segments of a logical volume, and stripes of a segment.
const MAX_SEGMENTS: u64 = 4096;
const MAX_STRIPES: usize = 128;

/// A logical volume.
#[derive(Debug)]
pub(crate) struct Logical {
    /// Name of its volume group.
    pub(crate) group: String,
    /// Its name.
    pub(crate) name: String,
    /// Identifiers of group and volume, as GRUB's `lvmid/` has them.
    pub(crate) id: String,
    /// Where its bytes lie, or why that is not known.
    pub(crate) mapping: Result<Mapping, String>,
}

impl Logical {
    /// Its name below `/dev/mapper`, in which a dash within a name is doubled.
    pub(crate) fn mapper_name(&self) -> String {
        let doubled = |name: &str| name.replace('-', "--");
        format!("{}-{}", doubled(&self.group), doubled(&self.name))
    }
}

/// What a physical volume says.
struct Physical {
    /// Its identifier.
    id: String,
    /// Where its partition begins on the disk, in bytes, and how large it is.
    start: u64,
    size: u64,
    /// The description of the group, where it has one.
    group: Option<Section>,
}

/// The logical volumes on the physical volumes of an image, and for each physical volume why it
/// could not be read.
pub(crate) fn read(windows: &[&Window]) -> (Vec<Logical>, Vec<Option<Unread>>) {
    let mut physical = Vec::new();
    let mut obstacles = Vec::new();
    for window in windows {
        match crate::unread::contained(|| read_one(window)) {
            Ok(found) => {
                physical.push(found);
                obstacles.push(None);
            }
            Err(reason) => obstacles.push(Some(reason)),
        }
    }
    let mut seen = Vec::new();
    let mut volumes = Vec::new();
    for group in physical.iter().filter_map(|found| found.group.as_ref()) {
        // Every physical volume of a group describes it.
        let Some((name, group)) = group.sections().next() else {
            continue;
        };
        let id = group.text("id").unwrap_or_default().to_owned();
        if !seen.contains(&id) {
            volumes.extend(volumes_of(name, &id, group, &physical));
            seen.push(id);
        }
    }
    (volumes, obstacles)
}

fn read_one(window: &Window) -> Result<Physical, Unread> {
    let Label { id, metadata } = Label::read(window)?;
    let group = match metadata {
        Some(bytes) => Some(text::parse(&String::from_utf8_lossy(&bytes))?),
        None => None,
    };
    let (start, size) = (window.start().unwrap_or(0), disk::Disk::size(window));
    Ok(Physical {
        id,
        start,
        size,
        group,
    })
}

fn volumes_of(name: &str, id: &str, group: &Section, physical: &[Physical]) -> Vec<Logical> {
    let Some(volumes) = group.section("logical_volumes") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (volume_name, volume) in volumes.sections().take(MAX_VOLUMES) {
        if !volume.list("status").any(|flag| flag == "VISIBLE") {
            continue;
        }
        let volume_id = volume.text("id").unwrap_or_default();
        all.push(Logical {
            group: name.to_owned(),
            name: volume_name.to_owned(),
            id: format!("{id}/{volume_id}"),
            mapping: mapping_of(volume, group, physical),
        });
    }
    all
}

fn mapping_of(volume: &Section, group: &Section, physical: &[Physical]) -> Result<Mapping, String> {
    let damaged = || "its description is damaged".to_owned();
    let extent = group
        .number("extent_size")
        .and_then(|sectors| sectors.checked_mul(SECTOR))
        .filter(|&size| size > 0)
        .ok_or_else(damaged)?;
    let count = volume.number("segment_count").ok_or_else(damaged)?;
    if count == 0 || count > MAX_SEGMENTS {
        return Err(damaged());
    }
    let mut segments = Vec::new();
    for number in 1..=count {
        let segment = volume.section(&format!("segment{number}"));
        let segment = segment.ok_or_else(damaged)?;
        segments.push(segment_of(segment, extent, group, physical)?);
    }
    Mapping::new(segments).ok_or_else(damaged)
}

fn segment_of(
    segment: &Section,
    extent: u64,
    group: &Section,
    physical: &[Physical],
) -> Result<Segment, String> {
    let damaged = || "its description is damaged".to_owned();
    let kind = segment.text("type").unwrap_or_default();
    if kind != "striped" && kind != "linear" {
        return Err(format!(
            "it is of the type `{kind}`, which is not looked into"
        ));
    }
    let bytes = |name: &str| segment.number(name).and_then(|n| n.checked_mul(extent));
    let start = bytes("start_extent").ok_or_else(damaged)?;
    let length = bytes("extent_count").ok_or_else(damaged)?;
    let stripe_size = segment.number("stripe_size").unwrap_or(0);
    // Pairs of a physical volume and its first extent.
    let pairs: Vec<&str> = segment.list("stripes").collect();
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) || pairs.len() / 2 > MAX_STRIPES {
        return Err(damaged());
    }
    let mut stripes = Vec::new();
    for pair in pairs.chunks_exact(2) {
        let known = group
            .section("physical_volumes")
            .and_then(|all| all.section(pair[0]))
            .ok_or_else(damaged)?;
        let id = known.text("id").unwrap_or_default().replace('-', "");
        let Some(on) = physical.iter().find(|physical| physical.id == id) else {
            return Err("a part of it is on another disk".to_owned());
        };
        let first = known.number("pe_start").and_then(|n| n.checked_mul(SECTOR));
        let at = pair[1].parse::<u64>().ok();
        let at = at.and_then(|at| at.checked_mul(extent)).zip(first);
        let inside = at.and_then(|(at, first)| at.checked_add(first));
        let needed = length / (pairs.len() as u64 / 2);
        let inside = inside.filter(|at| at.checked_add(needed).is_some_and(|end| end <= on.size));
        let start = inside.and_then(|at| at.checked_add(on.start));
        stripes.push(Stripe(start.ok_or_else(damaged)?));
    }
    Segment::new(start, length, stripe_size.saturating_mul(SECTOR), stripes).ok_or_else(damaged)
}

#[cfg(test)]
mod tests;
