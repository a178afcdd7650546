//! Ids of images and containers: 32 bytes that are shown as 64 hexadecimal digits, or as the first 12 of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, DigestError, hex};

/// The id of an image: the digest of its configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(Digest);

impl ImageId {
    /// Parses `sha256:<64 hexadecimal digits>`, or the digits alone.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        match hex::parse(text) {
            Some(bytes) => Ok(Self(Digest::from_bytes(bytes))),
            None => Digest::parse(text).map(Self),
        }
    }

    /// The image whose configuration has this digest.
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest of the configuration.
    pub const fn digest(&self) -> Digest {
        self.0
    }

    /// The first 12 hexadecimal digits, as `docker images` shows them.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl FromStr for ImageId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

/// The id of a container or of an exec: 32 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId([u8; 32]);

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid id {text:?}: 64 lower-case hexadecimal digits expected")]
pub struct IdError {
    /// What was given.
    pub text: String,
}

impl ContainerId {
    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        hex::parse(text)
            .map(Self)
            .ok_or_else(|| IdError { text: text.to_owned() })
    }

    /// The id that these random bytes make; `None` where its short form is a decimal number, then draw again.
    ///
    /// The short form becomes the host name, and a number is not taken for a name everywhere.
    pub fn from_random(bytes: [u8; 32]) -> Option<Self> {
        let id = Self(bytes);
        let is_number = id.short().bytes().all(|byte| byte.is_ascii_digit());
        (!is_number).then_some(id)
    }

    /// The first 12 hexadecimal digits, as `docker ps` shows them.
    pub fn short(&self) -> String {
        let mut full = self.to_string();
        full.truncate(12);
        full
    }

    /// True for what may be the beginning of an id: 1 to 64 lower-case hexadecimal digits.
    pub fn is_prefix(text: &str) -> bool {
        (1..=hex::LENGTH).contains(&text.len()) && text.bytes().all(hex::is_digit)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::render(&self.0, out)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for ContainerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl Serialize for ContainerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContainerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn an_image_id_is_parsed_with_and_without_its_algorithm() {
        let id = ImageId::parse(HEX).unwrap();
        assert_eq!(id, ImageId::parse(&format!("sha256:{HEX}")).unwrap());
        assert_eq!(id.to_string(), format!("sha256:{HEX}"));
        assert_eq!(id.short(), "0123456789ab");
        assert_eq!(ImageId::parse("busybox"), Err(DigestError::InvalidFormat));
    }

    #[test]
    fn a_container_id_is_64_digits_and_no_more() {
        let id = ContainerId::parse(HEX).unwrap();
        assert_eq!(id.to_string(), HEX);
        assert_eq!(id.short(), "0123456789ab");
        assert_eq!(
            serde_json::from_str::<ContainerId>(&serde_json::to_string(&id).unwrap()).unwrap(),
            id
        );
        for text in ["", "0123456789ab", &HEX.to_uppercase(), "../../etc"] {
            assert!(ContainerId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_whose_short_form_is_a_number_is_not_made() {
        assert_eq!(ContainerId::from_random([0x12; 32]), None);
        assert!(ContainerId::from_random([0xab; 32]).is_some());
    }

    #[test]
    fn only_hexadecimal_digits_begin_an_id() {
        assert!(ContainerId::is_prefix("4f6"));
        assert!(ContainerId::is_prefix(HEX));
        for text in ["", "xyz", "ABC", &format!("{HEX}0")] {
            assert!(!ContainerId::is_prefix(text), "{text}");
        }
    }
}
