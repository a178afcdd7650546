//! Messages as bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::MAX_DATAGRAM;

/// A message that cannot cross.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than a datagram may be.
    #[error("a message of {length} bytes is longer than the {MAX_DATAGRAM} that are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Not one of the messages of this version.
    #[error("a message that is not understood: {0}")]
    NotUnderstood(#[source] serde_json::Error),
}

/// A message as one datagram.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, WireError> {
    let bytes = serde_json::to_vec(message).map_err(WireError::NotUnderstood)?;
    if bytes.len() > MAX_DATAGRAM {
        return Err(WireError::TooLong { length: bytes.len() });
    }
    Ok(bytes)
}

/// The message of a datagram.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, WireError> {
    serde_json::from_slice(bytes).map_err(WireError::NotUnderstood)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FromMonitor, ToMonitor};
    use proptest::prelude::*;

    #[test]
    fn a_message_survives_the_way() {
        let message = ToMonitor::Signal { request: 7, signal: 15 };
        assert_eq!(decode::<ToMonitor>(&encode(&message).unwrap()).unwrap(), message);
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_the_sender() {
        let message = FromMonitor::Refused {
            request: 1,
            errno: 0,
            message: "x".repeat(MAX_DATAGRAM),
        };
        assert!(matches!(encode(&message), Err(WireError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_and_never_crash(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<ToMonitor>(&bytes);
            let _ = decode::<FromMonitor>(&bytes);
        }
    }
}
