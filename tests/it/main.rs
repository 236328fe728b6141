//! Integration tests: the real program, on real mounts, judged by tools that share no code with it.
//!
//! One module a topic; what they share is in [`harness`]. All of them run in one process, several at
//! a time: a test changes nothing that the others see of the machine or of this process. What it
//! cannot help sharing has a lock in [`harness::machine`].

mod announce;
mod attributes;
mod bytes;
mod case;
mod cat;
mod check;
mod cluster;
mod commands;
mod consistency;
mod docs;
mod engines;
mod faults;
mod folders;
mod formats;
mod grow;
mod guests;
mod harness;
mod help;
mod kept;
mod lifecycle;
mod links;
mod manifest;
mod map;
mod messages;
mod model;
mod mountpoints;
mod names;
mod operation;
mod oracle;
mod packages;
mod permissions;
mod readers;
mod refusals;
mod resume;
mod sandbox;
mod scale;
mod scripts;
mod semantics;
mod shortage;
mod soak;
mod sources;
mod stacking;
mod tools;
mod unsafe_code;
mod upload;
mod versions;
mod warnings;
mod watching;
mod writers;
mod writers_model;
mod writers_soak;
mod writers_table;
