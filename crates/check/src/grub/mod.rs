//! GRUB: its scripts, its menu, and what it starts.

mod bls;
mod commands;
mod exec;
mod lex;
mod menu;
mod parse;
mod tests_of_shell;
mod world;

#[cfg(test)]
mod tests;

pub(crate) use bls::{BlsEntry, natural_order};
pub(crate) use exec::{Loaded, Machine};
pub(crate) use menu::{Outcome, outcome};
pub(crate) use world::{Place, SearchBy, Stat, World};
