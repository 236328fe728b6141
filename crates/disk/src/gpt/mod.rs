//! GUID partition tables, as far as a view has to know them.
//!
//! Source: UEFI Specification 2.10, chapter 5, "GUID Partition Table (GPT) Disk Layout".
//! Everything here works on bytes as they stand: fields that are not changed, reserved bytes
//! included, are carried over, and nothing is allocated for which the headers alone vouch.

mod mbr;
mod relocate;
mod table;

pub use mbr::{MBR_SIZE, Mbr, MbrEntry, TYPE_EFI_SYSTEM};
pub use relocate::{RelocateError, relocate};
pub use table::{Damage, Entry, Gpt, Header, Table};

#[cfg(test)]
mod tests;
