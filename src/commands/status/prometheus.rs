//! The state of mounts as metrics, in the text format of Prometheus, version 0.0.4
//! (prometheus.io/docs/instrumenting/exposition_formats).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::daemon::Status;
use crate::serve::fs::ViewState;

/// At most so many views of a mount are named: each is a time series for good.
const MOST_VIEWS: usize = 1000;

/// Name, type and meaning of a metric of mounts, and what it is.
type OfMount = (&'static str, &'static str, &'static str, fn(&Status) -> u64);
/// The same of views.
type OfView = (&'static str, &'static str, &'static str, fn(&View) -> u64);

const OF_MOUNTS: [OfMount; 12] = [
    (
        "vhdfs_mount_age_seconds",
        "gauge",
        "Time since the mount was made.",
        |status| status.uptime,
    ),
    (
        "vhdfs_open_views",
        "gauge",
        "Opens of views that are not closed yet.",
        |status| status.views.len() as u64,
    ),
    (
        "vhdfs_unnamed_views",
        "gauge",
        "Open views that have no metrics of their own, because there are too many.",
        |status| views(status).len().saturating_sub(MOST_VIEWS) as u64,
    ),
    (
        "vhdfs_kept_clones",
        "gauge",
        "Clones that nobody has open, kept for who opens their views again.",
        |status| status.kept_clones,
    ),
    (
        "vhdfs_opens_total",
        "counter",
        "Views that were opened.",
        |status| status.totals.opens,
    ),
    (
        "vhdfs_refused_opens_total",
        "counter",
        "Opens that were refused.",
        |status| status.totals.refused_opens,
    ),
    (
        "vhdfs_given_up_opens_total",
        "counter",
        "Opens whose source was written to while it was read.",
        |status| status.totals.given_up,
    ),
    (
        "vhdfs_mount_read_bytes_total",
        "counter",
        "Bytes delivered by the daemon of the mount; not those that the kernel passed through.",
        |status| status.totals.bytes,
    ),
    (
        "vhdfs_mount_read_errors_total",
        "counter",
        "Reads that failed.",
        |status| status.totals.errors,
    ),
    (
        "vhdfs_skipped_files_total",
        "counter",
        "Files that were found and do not appear although they are selected.",
        |status| status.totals.skipped,
    ),
    (
        "vhdfs_cache_tables_bytes",
        "gauge",
        "Memory that tables of images take.",
        |status| status.cache.tables,
    ),
    (
        "vhdfs_cache_blocks_bytes",
        "gauge",
        "Memory that decompressed blocks of images take.",
        |status| status.cache.blocks,
    ),
];

const OF_VIEWS: [OfView; 5] = [
    (
        "vhdfs_read_bytes_total",
        "counter",
        "Bytes delivered by the opens of a view that are open now.",
        |view| view.bytes,
    ),
    (
        "vhdfs_read_errors_total",
        "counter",
        "Failed reads of the opens of a view that are open now.",
        |view| view.errors,
    ),
    (
        "vhdfs_read_position_bytes",
        "gauge",
        "End of the latest read of the open of a view that is furthest.",
        |view| view.position,
    ),
    (
        "vhdfs_view_size_bytes",
        "gauge",
        "Size of a view that is open.",
        |view| view.size,
    ),
    ("vhdfs_view_readers", "gauge", "Opens of a view.", |view| {
        view.readers
    }),
];

/// All opens of one view.
#[derive(Debug, Default)]
struct View {
    readers: u64,
    size: u64,
    position: u64,
    bytes: u64,
    errors: u64,
}

/// The metrics of mounts; of one whose daemon does not reply there is its mount point.
pub(super) fn metrics(mounts: &[Result<&Status, String>]) -> String {
    let mut text = String::new();
    head(
        &mut text,
        "vhdfs_up",
        "gauge",
        "Whether the daemon of the mount answers.",
    );
    for mount in mounts {
        let (mountpoint, up) = match mount {
            Ok(status) => (&status.mountpoint, 1),
            Err(mountpoint) => (mountpoint, 0),
        };
        line(&mut text, "vhdfs_up", &[("mountpoint", mountpoint)], up);
    }
    let replied: Vec<_> = mounts
        .iter()
        .filter_map(|mount| mount.as_ref().ok())
        .collect();
    for (name, kind, help, value) in OF_MOUNTS {
        head(&mut text, name, kind, help);
        for status in &replied {
            let labels = [("mountpoint", &*status.mountpoint)];
            line(&mut text, name, &labels, value(status));
        }
    }
    let views: Vec<_> = replied
        .iter()
        .map(|status| (&status.mountpoint, views(status)))
        .collect();
    for (name, kind, help, value) in OF_VIEWS {
        head(&mut text, name, kind, help);
        for (mountpoint, views) in &views {
            for (source, view) in views.iter().take(MOST_VIEWS) {
                let labels = [("mountpoint", mountpoint.as_str()), ("view", source)];
                line(&mut text, name, &labels, value(view));
            }
        }
    }
    text
}

/// What is open, by source.
fn views(status: &Status) -> BTreeMap<&str, View> {
    let mut views = BTreeMap::<_, View>::new();
    for open in &status.views {
        views.entry(&*open.source).or_default().add(open);
    }
    views
}

impl View {
    fn add(&mut self, open: &ViewState) {
        self.readers += 1;
        self.size = open.view_size;
        self.position = self.position.max(open.position);
        self.bytes = self.bytes.saturating_add(open.bytes);
        self.errors = self.errors.saturating_add(open.errors);
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<_> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
        .collect();
    let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
}

/// Values of labels are any text, but for three characters.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::fs::Totals;

    fn status(sources: impl Iterator<Item = String>) -> Status {
        let view = |source: String| {
            let view = serde_json::json!({
                "number": 0, "source": source, "view_size": 1_049_088, "engine": "direct",
                "reader": {"pid": 1, "name": "cp"}, "seconds_open": 2, "reads": 3, "bytes": 400,
                "errors": 1, "position": 200, "rate": 7, "average_rate": 7, "seconds_left": 9
            });
            serde_json::from_value(view).unwrap()
        };
        Status {
            version: "1".into(),
            pid: 7,
            source: "/srv".into(),
            mountpoint: "/mnt/vhd".into(),
            options: Vec::new(),
            uptime: 60,
            totals: Totals::default(),
            cache: Default::default(),
            kept_clones: 0,
            views: sources.map(view).collect(),
            messages: Vec::new(),
        }
    }

    #[test]
    fn opens_of_a_view_are_one_series() {
        let status = status(["a.raw".into(), "a.raw".into(), "b\"\n\\.raw".into()].into_iter());
        let text = metrics(&[Ok(&status), Err("/mnt/gone".into())]);
        for line in [
            r#"vhdfs_up{mountpoint="/mnt/vhd"} 1"#,
            r#"vhdfs_up{mountpoint="/mnt/gone"} 0"#,
            r#"vhdfs_open_views{mountpoint="/mnt/vhd"} 3"#,
            r#"vhdfs_read_bytes_total{mountpoint="/mnt/vhd",view="a.raw"} 800"#,
            r#"vhdfs_view_readers{mountpoint="/mnt/vhd",view="b\"\n\\.raw"} 1"#,
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "no {line} in {text}"
            );
        }
    }

    #[test]
    fn not_all_of_many_views_are_named() {
        let status = status((0..1200).map(|number| format!("{number}.raw")));
        let text = metrics(&[Ok(&status)]);
        let named = text
            .lines()
            .filter(|line| line.starts_with("vhdfs_view_size_bytes{"));
        assert_eq!(named.count(), MOST_VIEWS);
        assert!(text.contains(r#"vhdfs_unnamed_views{mountpoint="/mnt/vhd"} 200"#));
    }
}
