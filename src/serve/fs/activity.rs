//! What is open, who reads it and how far that is: counted by each read without a lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use indicatif::HumanBytes;
use log::{debug, info, warn};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::Error;
use super::rate::{Rate, average};
use super::reader::Reader;
use crate::serve::image::Engine;

/// Seconds from which on it is worth a line that a view was open that the kernel served, and of
/// which nothing else is known.
const LONG: f64 = 1.0;

/// Everything that happens in a mount.
#[derive(Debug)]
pub struct Activity {
    began: Instant,
    open: Mutex<OpenViews>,
    closed: Mutex<Totals>,
    out_of_files: AtomicBool,
    /// Number of clones that are kept although nobody has them open.
    kept: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct OpenViews {
    next: u64,
    by_number: BTreeMap<u64, Arc<Counters>>,
}

/// What one open of a view has read.
#[derive(Debug)]
struct Counters {
    source: PathBuf,
    size: u64,
    engine: Engine,
    passed_through: AtomicBool,
    /// The thread that opened it, and its process once that was looked up.
    thread: u32,
    reader: OnceLock<Reader>,
    began: Instant,
    reads: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    position: AtomicU64,
    rate: Rate,
    gave_way: AtomicBool,
}

/// One open of a view. Counts from anywhere; dropping it closes it.
#[derive(Debug)]
pub struct OpenView {
    activity: Arc<Activity>,
    number: u64,
    counters: Arc<Counters>,
}

/// One open view at a moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ViewState {
    /// Number of this open; never used twice in a mount.
    pub number: u64,
    /// Path of the source below the source folder.
    pub source: String,
    /// Size of the view in bytes.
    pub view_size: u64,
    /// What serves it: `direct`, `snapshot` or `passthrough`. The kernel serves the last without
    /// asking, so that nothing is counted.
    pub engine: String,
    /// Who opened it.
    pub reader: Reader,
    /// Whole seconds since it was opened.
    pub seconds_open: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Bytes delivered; more than the size if they were read again.
    pub bytes: u64,
    /// Reads that failed.
    pub errors: u64,
    /// End of the latest read in bytes; a reader that begins again begins at 0 again.
    #[serde(default)]
    pub position: u64,
    /// Bytes per second now, over the last three to six seconds.
    #[serde(default)]
    pub rate: u64,
    /// Bytes per second since it was opened.
    #[serde(default)]
    pub average_rate: u64,
    /// Whole seconds until the reader is at the end at the rate of now; `null` if nothing is read.
    #[serde(default)]
    pub seconds_left: Option<u64>,
}

/// Sums since the mount began, closed views included.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Views that were opened.
    pub opens: u64,
    /// Opens that were refused.
    pub refused_opens: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Bytes delivered.
    pub bytes: u64,
    /// Reads that failed.
    pub errors: u64,
    /// Opens whose version of the source was given up, because it was written to.
    #[serde(default)]
    pub given_up: u64,
    /// Files that were found and do not appear although they are selected, each once.
    #[serde(default)]
    pub skipped: u64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            open: Mutex::default(),
            closed: Mutex::default(),
            out_of_files: AtomicBool::new(false),
            kept: Arc::default(),
        }
    }
}

impl Activity {
    /// A view of `size` bytes was opened by the thread `thread` and is served by `engine`.
    pub fn opened(
        self: &Arc<Self>,
        source: &Path,
        size: u64,
        engine: Engine,
        thread: u32,
    ) -> OpenView {
        let counters = Arc::new(Counters {
            source: source.to_owned(),
            size,
            engine,
            passed_through: AtomicBool::new(false),
            thread,
            reader: OnceLock::new(),
            began: Instant::now(),
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            position: AtomicU64::new(0),
            rate: Rate::default(),
            gave_way: AtomicBool::new(false),
        });
        debug!(
            "{}: opened by {}: {}",
            source.display(),
            counters.reader(),
            counters.engine()
        );
        let mut open = lock(&self.open);
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, counters.clone());
        OpenView {
            activity: self.clone(),
            number,
            counters,
        }
    }

    /// A view could not be opened.
    pub fn refused(&self, error: &Error) {
        lock(&self.closed).refused_opens += 1;
        if matches!(error, Error::TooManyOpen) && !self.out_of_files.swap(true, Ordering::Relaxed) {
            warn!("{error}");
        }
    }

    /// A file was found that does not appear, for the first time.
    pub fn skipped(&self) {
        lock(&self.closed).skipped += 1;
    }

    /// The open views, in the order in which they were opened.
    pub fn views(&self) -> Vec<ViewState> {
        let open = lock(&self.open);
        let views = open.by_number.iter();
        views
            .map(|(number, counters)| counters.state(*number))
            .collect()
    }

    /// Sums since the mount began.
    pub fn totals(&self) -> Totals {
        let open = lock(&self.open);
        let mut totals = *lock(&self.closed);
        totals.opens = open.next;
        for counters in open.by_number.values() {
            counters.add_to(&mut totals);
        }
        totals
    }

    /// Where the number of clones is kept that nobody has open.
    pub(super) fn kept_count(&self) -> Arc<AtomicUsize> {
        self.kept.clone()
    }

    /// Number of clones that nobody has open and that are kept for who opens their views again.
    pub fn kept_clones(&self) -> u64 {
        self.kept.load(Ordering::Relaxed) as u64
    }

    /// Whole seconds since the mount began.
    pub fn uptime(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

impl OpenView {
    /// A read at `offset` returned this many bytes.
    pub fn delivered(&self, offset: u64, bytes: usize) {
        let (counters, bytes) = (&self.counters, bytes as u64);
        // The first read may come before the reader was looked up, and its thread waits for it.
        counters.reader();
        counters.reads.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        let end = offset.saturating_add(bytes);
        counters.position.store(end, Ordering::Relaxed);
        counters.rate.add(counters.began.elapsed(), bytes);
    }

    /// From now on the kernel serves this open without asking.
    pub fn passed_through(&self) {
        self.counters.passed_through.store(true, Ordering::Relaxed);
    }

    /// Looks up who opened it, which takes as long as half an open: to be called after the reply, and soon, while
    /// the thread is there.
    pub fn look_up_reader(&self) {
        self.counters.reader();
    }

    /// A read failed.
    pub fn failed(&self, error: &Error) {
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        if matches!(error, Error::Stale) {
            self.counters.gave_way.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for OpenView {
    fn drop(&mut self) {
        let mut open = lock(&self.activity.open);
        open.by_number.remove(&self.number);
        self.counters.add_to(&mut lock(&self.activity.closed));
        drop(open);
        self.counters.tell_the_end();
    }
}

impl Counters {
    fn reader(&self) -> &Reader {
        self.reader.get_or_init(|| Reader::of(self.thread))
    }

    fn engine(&self) -> &'static str {
        match self.engine {
            _ if self.passed_through.load(Ordering::Relaxed) => "passthrough",
            Engine::Direct => "direct",
            Engine::Snapshot => "snapshot",
        }
    }

    fn state(&self, number: u64) -> ViewState {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let position = self.position.load(Ordering::Relaxed);
        let age = self.began.elapsed();
        let rate = self.rate.per_second(age);
        ViewState {
            number,
            source: self.source.to_string_lossy().into_owned(),
            view_size: self.size,
            engine: self.engine().to_owned(),
            reader: self.reader().clone(),
            seconds_open: age.as_secs(),
            reads: self.reads.load(Ordering::Relaxed),
            bytes,
            errors: self.errors.load(Ordering::Relaxed),
            position,
            rate,
            average_rate: average(bytes, age),
            seconds_left: self.size.saturating_sub(position).checked_div(rate),
        }
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.reads += self.reads.load(Ordering::Relaxed);
        totals.bytes += self.bytes.load(Ordering::Relaxed);
        totals.errors += self.errors.load(Ordering::Relaxed);
        totals.given_up += u64::from(self.gave_way.load(Ordering::Relaxed));
    }

    /// Logs what was read; a view that was only opened, or of which little was read, is not worth a line.
    fn tell_the_end(&self) {
        let (bytes, errors) = (
            self.bytes.load(Ordering::Relaxed),
            self.errors.load(Ordering::Relaxed),
        );
        let seconds = self.began.elapsed().as_secs_f64();
        if self.passed_through.load(Ordering::Relaxed) && seconds >= LONG {
            info!(
                "{}: closed by {} after {seconds:.1} s, served by the kernel",
                self.source.display(),
                self.reader()
            );
        }
        if bytes == 0 && errors == 0 {
            return;
        }
        let rate = (bytes as f64 / seconds.max(0.001)) as u64;
        let failed = match errors {
            0 => String::new(),
            errors => format!("; failed reads: {errors}"),
        };
        info!(
            "{}: closed by {} after {} of {} in {seconds:.1} s ({}/s){failed}",
            self.source.display(),
            self.reader(),
            HumanBytes(bytes),
            HumanBytes(self.size),
            HumanBytes(rate),
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_summed_open_and_closed() {
        let activity = Arc::new(Activity::default());
        let me = std::process::id();
        let one = activity.opened(Path::new("a.raw"), 100, Engine::Direct, me);
        let two = activity.opened(Path::new("b.raw"), 200, Engine::Snapshot, 0);
        one.delivered(0, 60);
        one.delivered(20, 40);
        one.failed(&Error::Invalid);
        two.delivered(0, 7);
        two.failed(&Error::Stale);
        two.failed(&Error::Stale);
        activity.refused(&Error::Stale);
        activity.skipped();
        let views = activity.views();
        assert_eq!((views[0].source.as_str(), views[0].bytes), ("a.raw", 100));
        assert_eq!((views[0].position, views[1].position), (60, 7));
        assert!(views[0].rate > 0 && views[0].average_rate > 0);
        assert!(views[0].seconds_left.is_some());
        assert_eq!((views[0].reader.pid, views[0].errors), (me, 1));
        assert!(!views[0].reader.name.is_empty());
        assert_eq!((views[1].number, views[1].engine.as_str()), (1, "snapshot"));
        two.passed_through();
        assert_eq!(activity.views()[1].engine, "passthrough");
        let while_open = activity.totals();
        drop(one);
        assert_eq!(activity.views().len(), 1);
        assert_eq!(activity.totals(), while_open);
        let sums = Totals {
            opens: 2,
            refused_opens: 1,
            reads: 3,
            bytes: 107,
            errors: 3,
            given_up: 1,
            skipped: 1,
        };
        assert_eq!(while_open, sums);
    }
}
