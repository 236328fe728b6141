//! A picture of a disk in one line of text: data, zeros, padding, footer, and the partitions below.

use std::fmt;
use std::io;

use disk::gpt::{Gpt, MBR_SIZE, Mbr};
use disk::{ByteRange, Disk, Prefix};
use indicatif::HumanBytes;
use vhd::layout::Layout;
use vhd::view::View;

/// Width if neither the terminal nor the environment has one.
const USUAL_WIDTH: usize = 80;
/// No picture is wider, whatever the terminal.
const MAX_WIDTH: usize = 400;
const MIN_WIDTH: usize = 20;

/// Width in columns that a picture may take: that of the terminal, or of `$COLUMNS`.
pub(super) fn width() -> usize {
    let terminal = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| size.ws_col.into());
    let wanted = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = terminal.ok().filter(|&columns| columns > 0).or_else(wanted);
    width.unwrap_or(USUAL_WIDTH).clamp(MIN_WIDTH, MAX_WIDTH)
}

/// A partition and where it is, in bytes.
#[derive(Debug)]
struct Partition {
    number: u32,
    range: ByteRange,
}

/// What stands in a view, in as many cells as the terminal has columns.
#[derive(Debug)]
pub(super) struct Picture {
    /// Bytes of data in each cell.
    data: Vec<u64>,
    /// Bytes that a cell stands for, at least 1; the last may stand for fewer.
    cell: u64,
    source_size: u64,
    virtual_size: u64,
    partitions: Vec<Partition>,
    /// The kind of table that was found.
    table: &'static str,
}

impl Picture {
    /// Nothing but zeros yet, `width` cells wide. The last cell is the footer's alone.
    pub(super) fn new(layout: &Layout, width: usize) -> Self {
        let cells = width.saturating_sub(1).max(1);
        let virtual_size = layout.virtual_size();
        let cell = virtual_size.div_ceil(cells as u64).max(1);
        Self {
            data: vec![0; virtual_size.div_ceil(cell) as usize],
            cell,
            source_size: layout.source_size().min(virtual_size),
            virtual_size,
            partitions: Vec::new(),
            table: "no partition table",
        }
    }

    /// Puts data into it.
    pub(super) fn add_data(&mut self, range: ByteRange) {
        let range = range.intersect(ByteRange::new(0, self.virtual_size));
        let mut at = range.start();
        while at < range.end() {
            let index = at / self.cell;
            let end = (index + 1).saturating_mul(self.cell).min(range.end());
            if let Some(cell) = self.data.get_mut(index as usize) {
                *cell += end - at;
            }
            at = end;
        }
    }

    /// Reads the partition table of a view.
    ///
    /// # Errors
    ///
    /// As for reading the view.
    pub(super) fn add_partitions<D: Disk>(&mut self, view: &View<D>) -> io::Result<()> {
        let disk = Prefix::new(view, self.virtual_size);
        if let Some(gpt) = Gpt::read(&disk)? {
            self.table = "GPT";
            let entries = gpt.table().into_iter().flat_map(|table| table.partitions());
            let bytes = |lba: u64| lba.saturating_mul(gpt.sector_size);
            self.partitions = entries
                .map(|entry| Partition {
                    number: entry.number,
                    range: ByteRange::new(
                        bytes(entry.first_lba),
                        bytes(entry.last_lba.saturating_add(1)),
                    ),
                })
                .collect();
        } else if disk.size() >= MBR_SIZE as u64 {
            let mut sector = [0; MBR_SIZE];
            disk.read_exact_at(&mut sector, 0)?;
            if let Some(mbr) = Mbr::decode(sector) {
                self.table = "boot record";
                let entries = (1..).zip(mbr.entries());
                self.partitions = entries
                    .filter(|(_, entry)| entry.is_used())
                    .map(|(number, entry)| Partition {
                        number,
                        range: ByteRange::at(
                            u64::from(entry.first_sector) * 512,
                            u64::from(entry.sectors) * 512,
                        ),
                    })
                    .collect();
            }
        }
        self.partitions
            .sort_by_key(|partition| (partition.range.start(), partition.number));
        Ok(())
    }

    fn symbol(&self, index: usize, data: u64) -> char {
        let start = index as u64 * self.cell;
        let size = self.cell.min(self.virtual_size - start);
        match data.saturating_mul(4) / size {
            _ if data == 0 && start >= self.source_size => '-',
            _ if data == 0 => '·',
            0 => '░',
            1 => '▒',
            2 | 3 => '▓',
            _ => '█',
        }
    }

    /// `[2---]` below the cells of each partition, as far as the ones before leave room.
    fn bars(&self) -> String {
        let mut line = vec![' '; self.data.len()];
        let mut free = 0;
        for partition in &self.partitions {
            let range = partition
                .range
                .intersect(ByteRange::new(0, self.virtual_size));
            if range.is_empty() {
                continue;
            }
            let first = (range.start() / self.cell) as usize;
            let last = ((range.end() - 1) / self.cell) as usize;
            let first = first.max(free);
            if first > last {
                continue;
            }
            line[first..=last].fill('-');
            let number = partition.number.to_string();
            let room = last + 1 - first;
            if room >= number.len() + 2 {
                line[first] = '[';
                line[last] = ']';
                let place = first + 1..first + 1 + number.len();
                line[place].copy_from_slice(&number.chars().collect::<Vec<_>>());
            } else if room >= number.len() {
                let place = first..first + number.len();
                line[place].copy_from_slice(&number.chars().collect::<Vec<_>>());
            }
            free = last + 1;
        }
        line.into_iter().collect::<String>().trim_end().to_owned()
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.data.iter().enumerate();
        let line: String = cells
            .map(|(index, &data)| self.symbol(index, data))
            .collect();
        writeln!(f, "{line}F")?;
        let bars = self.bars();
        if !bars.is_empty() {
            writeln!(f, "{bars}")?;
        }
        writeln!(
            f,
            "█▓▒░ data   · zeros   - padding   F footer   a cell is {}",
            HumanBytes(self.cell)
        )?;
        if self.partitions.is_empty() {
            return writeln!(f, "{}", self.table);
        }
        writeln!(f, "\n{}", self.table)?;
        for partition in &self.partitions {
            let range = partition.range;
            writeln!(
                f,
                "[{}] at {}, {} ({} bytes)",
                partition.number,
                range.start(),
                HumanBytes(range.len()),
                range.len()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vhd::footer::FOOTER_SIZE;

    const MIB: u64 = 1 << 20;

    fn picture(source_size: u64, width: usize) -> Picture {
        let layout = Layout::fixed_vhd(source_size, [0; FOOTER_SIZE], vec![]).unwrap();
        Picture::new(&layout, width)
    }

    fn line(picture: &Picture) -> String {
        picture.to_string().lines().next().unwrap().to_owned()
    }

    #[test]
    fn cells_show_how_much_of_them_is_data() {
        let mut picture = picture(5 * MIB, 6);
        picture.add_data(ByteRange::new(0, MIB));
        picture.add_data(ByteRange::at(MIB + 7, 1));
        picture.add_data(ByteRange::at(2 * MIB, MIB / 4));
        picture.add_data(ByteRange::at(3 * MIB, MIB / 2));
        picture.add_data(ByteRange::at(5 * MIB, 512));
        assert_eq!(line(&picture), "█░▒▓·F");
    }

    #[test]
    fn padding_is_told_from_zeros_and_no_width_is_exceeded() {
        assert_eq!(line(&picture(MIB / 2, 5)), "··--F");
        for size in [1, MIB, 7 * MIB + 1, 4 << 40] {
            for width in [1, 2, 20, 77, 400] {
                let line = line(&picture(size, width));
                assert!(
                    line.chars().count() <= width.max(2),
                    "{size} {width}: {line}"
                );
            }
        }
    }

    #[test]
    fn partitions_have_their_numbers_below_them() {
        let mut picture = picture(10 * MIB, 11);
        picture.partitions = [(1, 0, 1), (2, 1, 5), (12, 6, 9), (3, 8, 9), (4, 9, 99)]
            .map(|(number, start, end)| Partition {
                number,
                range: ByteRange::new(start * MIB, end * MIB),
            })
            .into();
        assert_eq!(picture.bars(), "1[2-] 12-4");
        let mut picture = picture_of_one(u64::MAX);
        assert_eq!(picture.bars(), "[1-]");
        picture.partitions[0].range = ByteRange::new(9 * MIB, 10 * MIB);
        assert_eq!(picture.bars(), "");
    }

    fn picture_of_one(end: u64) -> Picture {
        let mut picture = picture(4 * MIB, 5);
        let range = ByteRange::new(0, end);
        picture.partitions.push(Partition { number: 1, range });
        picture
    }
}
