//! How many there are of something whose end is waited for.

use std::time::Duration;

use tokio::sync::watch;

/// The count; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(watch::Sender<usize>);

/// One of those that are counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Count);

impl Count {
    /// One more.
    pub(crate) fn one_more(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.clone())
    }

    /// Waits until there is none, but not longer than this: one that hangs holds nobody up.
    pub(crate) async fn none(&self, patience: Duration) {
        let mut count = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = tokio::time::timeout(patience, count.wait_for(|count| *count == 0)).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[tokio::test]
    async fn the_last_one_lets_those_go_who_wait() {
        let count = Count::default();
        count.none(Duration::from_secs(1)).await;
        let (first, second) = (count.one_more(), count.one_more());
        let waiting = count.clone();
        let waiting = tokio::spawn(async move { waiting.none(Duration::from_secs(1000)).await });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn one_that_stays_is_not_waited_for_any_longer() {
        let count = Count::default();
        let _stays = count.one_more();
        count.none(Duration::from_millis(10)).await;
    }
}
