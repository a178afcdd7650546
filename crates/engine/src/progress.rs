//! Progress of pulls, pushes and loads in the words and shapes that the CLI draws.

use conex_api_types as api;
use conex_image::{Progress, PushedTag, Status};

/// One event as a line of the stream.
pub(crate) fn line(progress: Progress) -> api::ProgressMessage {
    let id = progress.id;
    let (status, detail) = match progress.status {
        Status::PullingFrom(name) => (format!("Pulling from {name}"), None),
        Status::PullingLayer => ("Pulling fs layer".into(), Some((0, 0))),
        Status::Waiting => ("Waiting".into(), Some((0, 0))),
        Status::Downloading { current, total } => ("Downloading".into(), Some((current, total))),
        Status::VerifyingChecksum => ("Verifying Checksum".into(), Some((0, 0))),
        Status::DownloadComplete => ("Download complete".into(), Some((0, 0))),
        Status::Extracting { current, total } => ("Extracting".into(), Some((current, total))),
        Status::LoadingLayer { current, total } => ("Loading layer".into(), Some((current, total))),
        Status::PullComplete => ("Pull complete".into(), Some((0, 0))),
        Status::AlreadyExists => ("Already exists".into(), Some((0, 0))),
        Status::PushingTo(name) => (format!("The push refers to repository [{name}]"), None),
        Status::Preparing => ("Preparing".into(), Some((0, 0))),
        Status::Pushing { current, total } => ("Pushing".into(), Some((current, total))),
        Status::Pushed => ("Pushed".into(), Some((0, 0))),
        Status::Recompressed { old, new } => (format!("Layer {old} was compressed anew and is {new} there"), None),
        Status::LayerExists => ("Layer already exists".into(), Some((0, 0))),
        Status::MountedFrom(name) => (format!("Mounted from {name}"), Some((0, 0))),
        Status::RetryingIn(1) => ("Retrying in 1 second".into(), Some((0, 0))),
        Status::RetryingIn(seconds) => (format!("Retrying in {seconds} seconds"), Some((0, 0))),
        Status::TagPushed(PushedTag { tag, digest, size }) => (format!("{tag}: digest: {digest} size: {size}"), None),
        Status::PushResult(pushed) => return result(pushed),
        Status::Digest(digest) => (format!("Digest: {digest}"), None),
        Status::LowQuota(quota) => (format!("Rate limit: {quota}"), None),
        Status::DownloadedNewer(name) => (format!("Status: Downloaded newer image for {name}"), None),
        Status::UpToDate(name) => (format!("Status: Image is up to date for {name}"), None),
        Status::OtherPlatform(words) => (format!("WARNING: {words}"), None),
        Status::LoadedName(name) => return stream(format!("Loaded image: {name}\n")),
        Status::LoadedId(id) => return stream(format!("Loaded image ID: {id}\n")),
    };
    api::ProgressMessage {
        status: Some(status),
        progress: detail
            .filter(|(_, total)| *total > 0)
            .map(|(current, total)| bar(current, total)),
        progress_detail: detail.map(|(current, total)| api::ProgressDetail {
            current: (total > 0).then_some(current),
            total: (total > 0).then_some(total),
        }),
        id,
        ..api::ProgressMessage::default()
    }
}

/// The line of a push that programs read.
fn result(pushed: PushedTag) -> api::ProgressMessage {
    api::ProgressMessage {
        progress_detail: Some(api::ProgressDetail::default()),
        aux: Some(api::PushResult {
            tag: pushed.tag,
            digest: pushed.digest,
            size: pushed.size,
        }),
        ..api::ProgressMessage::default()
    }
}

/// How much of what is imported has come; a total of 0 is not known.
pub(crate) fn importing(current: u64, total: u64) -> api::ProgressMessage {
    api::ProgressMessage {
        status: Some("Importing".to_owned()),
        progress: Some(if total > 0 { bar(current, total) } else { size(current) }),
        progress_detail: Some(api::ProgressDetail {
            current: Some(current),
            total: (total > 0).then_some(total),
        }),
        ..api::ProgressMessage::default()
    }
}

/// A line of `load`.
fn stream(text: String) -> api::ProgressMessage {
    api::ProgressMessage {
        stream: Some(text),
        ..api::ProgressMessage::default()
    }
}

/// The last line of a stream that failed.
pub(crate) fn failure(message: &str) -> api::ProgressMessage {
    api::ProgressMessage {
        error: Some(message.to_owned()),
        error_detail: Some(api::ErrorDetail {
            code: None,
            message: message.to_owned(),
        }),
        ..api::ProgressMessage::default()
    }
}

/// Width of the bar between its brackets.
const WIDTH: u64 = 50;

/// The bar for clients that print lines as they are.
fn bar(current: u64, total: u64) -> String {
    let filled = (current.min(total) * WIDTH / total.max(1)).min(WIDTH);
    let head = if filled < WIDTH { ">" } else { "" };
    let bar = format!("{}{head}", "=".repeat(usize::try_from(filled).unwrap_or_default()));
    format!("[{bar:<50}] {:>8}/{}", size(current), size(total))
}

/// Four digits and a decimal unit, as Docker writes sizes.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    // Significant digits, without zeros at the end.
    let digits = if value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_significant_digits() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(1_234), "1.234kB");
        assert_eq!(size(2_160_000), "2.16MB");
        assert_eq!(size(15_000_000_000), "15GB");
    }

    #[test]
    fn the_bar_fills_up() {
        assert!(bar(0, 100).starts_with("[>    "));
        assert!(bar(50, 100).starts_with(&format!("[{}>", "=".repeat(25))));
        assert!(bar(100, 100).starts_with(&format!("[{}]", "=".repeat(50))));
    }

    #[test]
    fn a_failure_is_told_twice_as_clients_expect() {
        let line = failure("no space left on device");
        assert_eq!(line.error.as_deref(), Some("no space left on device"));
        assert_eq!(line.error_detail.unwrap().message, "no space left on device");
    }
}
