//! A layer that is unpacked while its archive comes, before anybody has asked for it.

use std::sync::{Mutex, PoisonError};

use conex_snapshot::Staging;

use crate::error::LayerError;
use crate::pipeline::Outcome;

/// What was unpacked of a layer, for those who ask. A layer lies in as many chains as it is bound into: all of them get one.
pub(crate) struct Arrived(Mutex<Left>);

struct Left {
    /// Nothing once the last has taken it.
    unpacked: Option<Unpacked>,
    /// How many may still ask.
    takers: usize,
}

/// A directory, and what came into it.
pub(crate) struct Unpacked {
    pub(crate) staging: Staging,
    pub(crate) outcome: Result<Outcome, LayerError>,
}

impl Arrived {
    /// What one may take.
    pub(crate) fn new(unpacked: Unpacked) -> Self {
        Self(Mutex::new(Left {
            unpacked: Some(unpacked),
            takers: 1,
        }))
    }

    /// So many chains have the layer. One that depends on nothing but its archive is placed once for all of them.
    pub(crate) fn expect(&self, chains: usize, binds_always: bool) {
        let mut left = self.left();
        let is_bound = left.unpacked.as_ref().is_some_and(Unpacked::is_bound);
        left.takers = if binds_always || is_bound { chains } else { 1 };
    }

    /// What was unpacked: a copy for all but the last. Blocks on the disk.
    pub(crate) fn take(&self) -> Result<Unpacked, LayerError> {
        let mut left = self.left();
        left.takers = left.takers.saturating_sub(1);
        let copied = match &left.unpacked {
            Some(unpacked) if left.takers > 0 => unpacked.copy()?,
            _ => None,
        };
        copied.or_else(|| left.unpacked.take()).ok_or(LayerError::CutOff)
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unpacked {
    /// Whether the layers below have something to say about it.
    fn is_bound(&self) -> bool {
        let archive = self
            .outcome
            .as_ref()
            .ok()
            .and_then(|outcome| outcome.archive.as_ref().ok());
        archive.is_some_and(|archive| !archive.extracted.is_free())
    }

    /// Another like it; there is none of what went wrong, which the first who asks tells.
    fn copy(&self) -> Result<Option<Self>, LayerError> {
        let Some(outcome) = self.outcome.as_ref().ok().and_then(Outcome::copy) else {
            return Ok(None);
        };
        Ok(Some(Self {
            staging: self.staging.copy()?,
            outcome: Ok(outcome),
        }))
    }
}
