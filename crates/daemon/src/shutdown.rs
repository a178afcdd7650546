//! Whether containers go down with the daemon, and how long they may take.

use std::time::Duration;

use tokio::process::Command;

/// How long containers are given where nobody says how long; Docker's time.
const BOUND: i64 = 15;

/// How long systemd may take to say what it is about.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long all containers are given together; `None` for no bound.
pub(crate) fn bound(seconds: Option<i64>) -> Option<Duration> {
    u64::try_from(seconds.unwrap_or(BOUND)).ok().map(Duration::from_secs)
}

/// Whether the host goes down, and the daemon ends for that (systemctl(1), `is-system-running`). Where there is no systemd,
/// whoever stops the host stops the containers.
pub(crate) async fn host_goes_down() -> bool {
    let mut systemctl = Command::new("systemctl");
    let asked = systemctl.arg("is-system-running").kill_on_drop(true).output();
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(output)) => output.stdout.trim_ascii() == b"stopping",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_dockers_and_negative_is_none() {
        assert_eq!(bound(None), Some(Duration::from_secs(15)));
        assert_eq!(bound(Some(0)), Some(Duration::ZERO));
        assert_eq!(bound(Some(-1)), None);
    }
}
