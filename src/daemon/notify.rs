//! Notifications to the service manager (sd_notify(3)). If none asked for them, nothing is sent.

use std::env;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use indicatif::HumanBytes;
use log::debug;
use sd_notify::NotifyState;

use crate::serve::fs::Activity;

/// How often a changed state is sent.
const INTERVAL: Duration = Duration::from_secs(5);

/// The mount replies to requests. From now on a summary of `activity` is kept up to date.
pub(super) fn ready(activity: &Arc<Activity>) {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let status = summary(activity);
    send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let activity = activity.clone();
    let keep_up = move || {
        let mut sent = status;
        loop {
            thread::sleep(INTERVAL);
            let status = summary(&activity);
            if status != sent {
                send(&[NotifyState::Status(&status)]);
                sent = status;
            }
        }
    };
    let started = thread::Builder::new().name("notify".into()).spawn(keep_up);
    if let Err(error) = started {
        debug!("the service manager gets no notifications of progress: {error}");
    }
}

/// The mount is about to end.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("the service manager cannot be notified: {error}");
    }
}

fn summary(activity: &Activity) -> String {
    let open = activity.views().len();
    let bytes = HumanBytes(activity.totals().bytes);
    format!("open views: {open}, delivered: {bytes}")
}
