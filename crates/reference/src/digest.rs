//! `sha256:<hex>`, the name of content by its bytes (OCI image specification, descriptor.md, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::hex;

/// The SHA-256 of some content, rendered as `sha256:` and 64 hexadecimal digits.
///
/// SHA-256 is the only algorithm that registries use; others are refused with Docker's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Why a text is no digest; the texts are Docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not of the form `algorithm:encoded`, or not lower-case hexadecimal.
    #[error("invalid checksum digest format")]
    InvalidFormat,
    /// The encoded part is too short or too long for the algorithm.
    #[error("invalid checksum digest length")]
    InvalidLength,
    /// An algorithm other than sha256.
    #[error("unsupported digest algorithm")]
    UnsupportedAlgorithm,
}

impl Digest {
    /// Parses `sha256:<64 lower-case hexadecimal digits>`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(DigestError::InvalidFormat)?;
        let is_encoded = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
        if !is_algorithm(algorithm) || encoded.is_empty() || !encoded.bytes().all(is_encoded) {
            return Err(DigestError::InvalidFormat);
        }
        if algorithm != "sha256" {
            return Err(DigestError::UnsupportedAlgorithm);
        }
        if encoded.len() != hex::LENGTH {
            return Err(DigestError::InvalidLength);
        }
        hex::parse(encoded).map(Self).ok_or(DigestError::InvalidFormat)
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest whose SHA-256 was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the SHA-256.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits without the algorithm, as they name a file of the content store.
    pub fn hex(&self) -> String {
        Hex(&self.0).to_string()
    }

    /// The first 12 hexadecimal digits, as the progress lines of a pull name a layer.
    pub fn short(&self) -> String {
        Hex(&self.0[..6]).to_string()
    }

    /// Something that takes content piece by piece and tells in the end whether it has this digest.
    pub fn verifier(self) -> Verifier {
        Verifier {
            expected: self,
            hasher: sha2::Sha256::new(),
        }
    }
}

/// `algorithm` of the grammar: components of lower-case letters and digits, separated by one of `+._-`.
fn is_algorithm(text: &str) -> bool {
    let is_component = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.split(['+', '.', '_', '-']).all(is_component)
}

/// Checks content against a digest while it streams by.
#[derive(Debug, Clone)]
pub struct Verifier {
    expected: Digest,
    hasher: sha2::Sha256,
}

impl Verifier {
    /// Takes the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// `Ok` where all that was taken has the expected digest, else the digest that it has instead.
    pub fn finish(self) -> Result<Digest, Digest> {
        let actual = Digest(self.hasher.finalize().into());
        if actual == self.expected {
            Ok(actual)
        } else {
            Err(actual)
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::render(self.0, out)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("sha256:")?;
        hex::render(&self.0, out)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_renders_as_it_was_parsed() {
        assert_eq!(Digest::parse(EMPTY).unwrap().to_string(), EMPTY);
        assert_eq!(Digest::parse(EMPTY).unwrap().short(), "e3b0c44298fc");
        assert_eq!(Digest::of(b""), Digest::parse(EMPTY).unwrap());
    }

    #[test]
    fn what_is_no_digest_is_refused_with_its_reason() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, error) in [
            (String::new(), DigestError::InvalidFormat),
            (hex.to_owned(), DigestError::InvalidFormat),
            (format!("sha256:{}", hex.to_uppercase()), DigestError::InvalidFormat),
            ("sha256:".to_owned(), DigestError::InvalidFormat),
            (format!("sha--256:{hex}"), DigestError::InvalidFormat),
            ("sha256:../../etc".to_owned(), DigestError::InvalidFormat),
            ("sha256:abc".to_owned(), DigestError::InvalidLength),
            (format!("sha512:{hex}{hex}"), DigestError::UnsupportedAlgorithm),
        ] {
            assert_eq!(Digest::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_verifier_tells_the_right_content_from_the_wrong() {
        let mut right = Digest::of(b"content").verifier();
        right.update(b"con");
        let mut wrong = right.clone();
        right.update(b"tent");
        wrong.update(b"trol");
        assert_eq!(right.finish(), Ok(Digest::of(b"content")));
        assert_eq!(wrong.finish(), Err(Digest::of(b"control")));
    }
}
