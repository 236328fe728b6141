//! Cylinder/head/sector geometry of a virtual disk.
//!
//! Source: Virtual Hard Disk Image Format Specification 1.0, appendix "CHS Calculation".

/// Unit of a geometry, and length of a footer, in bytes.
pub const SECTOR_SIZE: u64 = 512;

/// Largest number of sectors that a VHD geometry can express: 65,535 × 16 × 255.
const MAX_SECTORS: u64 = 65_535 * 16 * 255;

/// From this number of sectors on, the algorithm uses 255 sectors per track.
const LARGE_DISK_SECTORS: u64 = 65_535 * 16 * 63;

/// A disk geometry as the footer stores it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    /// Cylinders, 0 to 65,535.
    pub cylinders: u16,
    /// Heads, 4 to 16 in what the algorithm yields.
    pub heads: u8,
    /// Sectors per track: 17, 31, 63 or 255.
    pub sectors_per_track: u8,
}

impl Geometry {
    /// The geometry of a disk of `virtual_size` bytes, rounded down to whole cylinders.
    ///
    /// Disks of 65,535 × 16 × 255 sectors (about 127.5 GiB) and above all get that largest
    /// geometry; readers take their size from the footer's current size.
    pub fn of(virtual_size: u64) -> Self {
        let sectors = (virtual_size / SECTOR_SIZE).min(MAX_SECTORS);
        let (cylinders_times_heads, heads, sectors_per_track) = if sectors >= LARGE_DISK_SECTORS {
            (sectors / 255, 16, 255)
        } else {
            Self::small(sectors)
        };
        // Both conversions hold: `sectors` is capped, so cylinders never exceed 65,535.
        Self {
            cylinders: (cylinders_times_heads / heads) as u16,
            heads: heads as u8,
            sectors_per_track,
        }
    }

    /// (cylinders × heads, heads, sectors per track) below the 255-sector range.
    fn small(sectors: u64) -> (u64, u64, u8) {
        let cylinders_times_heads = sectors / 17;
        let heads = cylinders_times_heads.div_ceil(1024).max(4);
        if cylinders_times_heads < heads * 1024 && heads <= 16 {
            return (cylinders_times_heads, heads, 17);
        }
        let cylinders_times_heads = sectors / 31;
        if cylinders_times_heads < 16 * 1024 {
            return (cylinders_times_heads, 16, 31);
        }
        (sectors / 63, 16, 63)
    }

    /// Number of bytes that this geometry addresses; at most the size it was made from.
    pub fn bytes(self) -> u64 {
        u64::from(self.cylinders)
            * u64::from(self.heads)
            * u64::from(self.sectors_per_track)
            * SECTOR_SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn chs(size: u64) -> (u16, u8, u8) {
        let g = Geometry::of(size);
        (g.cylinders, g.heads, g.sectors_per_track)
    }

    /// Values read from files that Hyper-V and Virtual PC wrote (docs/SEMANTICS.md).
    #[test]
    fn genuine_values() {
        assert_eq!(chs(20 * MIB), (602, 4, 17));
        assert_eq!(chs(127 << 30), (65_278, 16, 255));
        assert_eq!(chs(2040 << 30), (65_535, 16, 255));
        assert_eq!(chs(4095 << 30), (65_535, 16, 255));
        assert_eq!(chs(32 << 40), (65_535, 16, 255));
    }

    #[test]
    fn saturation_begins_at_the_largest_geometry() {
        let limit = MAX_SECTORS * SECTOR_SIZE;
        assert_eq!(limit, 136_899_993_600);
        assert_eq!(chs(limit), (65_535, 16, 255));
        assert_eq!(chs(limit - 1), (65_534, 16, 255));
    }

    #[test]
    fn branch_borders() {
        for (sectors, below, at) in [
            // Where cylinders × heads is a multiple of 1,024 the algorithm takes 31 sectors.
            (17 * 4 * 1024, (1023, 4, 17), (140, 16, 31)),
            (17 * 4 * 1024 + 17, (140, 16, 31), (819, 5, 17)),
            (17 * 16 * 1024, (1023, 16, 17), (561, 16, 31)),
            (31 * 16 * 1024, (1023, 16, 31), (503, 16, 63)),
            (LARGE_DISK_SECTORS, (65_534, 16, 63), (16_191, 16, 255)),
        ] {
            assert_eq!(chs((sectors - 1) * SECTOR_SIZE), below, "{sectors} - 1");
            assert_eq!(chs(sectors * SECTOR_SIZE), at, "{sectors}");
        }
    }

    #[test]
    fn never_above_the_size() {
        // Miri is some hundred times slower.
        let step = if cfg!(miri) { 4003 } else { 7 };
        for size in (0..200 * 1024).step_by(step).map(|mib| mib * MIB) {
            assert!(Geometry::of(size).bytes() <= size);
        }
    }
}
