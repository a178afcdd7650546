//! `[domain/]path[:tag][@digest]`, with the completions that Docker's clients make.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, DigestError, ImageId, grammar, hex};

/// The registry of names that name none.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// The tag of names that have neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// An older name of the default registry, rewritten to `DEFAULT_DOMAIN`.
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";

/// Where the default registry keeps what has a single name.
const OFFICIAL: &str = "library/";

/// Longest path, in characters.
const PATH_LENGTH: usize = 255;

/// The name of an image, complete: `docker.io/library/busybox:latest`.
///
/// `Display` and serde give the complete form, `familiar` the short one. Both parse back to an equal value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference; the texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Does not follow the grammar.
    #[error("invalid reference format")]
    InvalidFormat,
    /// The path has upper-case letters.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    NotLowercase {
        /// The path as it was given.
        name: String,
    },
    /// The path is too long.
    #[error("repository name must not be more than 255 characters")]
    NameTooLong,
    /// Looks like an id, and would be ambiguous as a name.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    Hexadecimal {
        /// What was given.
        name: String,
    },
    /// A tag that does not follow the grammar, given apart from the name.
    #[error("invalid tag format")]
    InvalidTag,
    /// What stands behind `@` is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Reference {
    /// Parses and completes what a user typed; tag and digest stay absent where none was given.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if hex::parse(text).is_some() {
            return Err(ReferenceError::Hexadecimal { name: text.to_owned() });
        }
        let (domain, rest) = split_domain(text);
        let name = rest.split(':').next().unwrap_or(rest);
        if name.to_lowercase() != name {
            let official = domain == DEFAULT_DOMAIN && !name.contains('/');
            let prefix = if official { OFFICIAL } else { "" };
            return Err(ReferenceError::NotLowercase {
                name: format!("{prefix}{name}"),
            });
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let path = match domain {
            DEFAULT_DOMAIN if !path.contains('/') => format!("{OFFICIAL}{path}"),
            _ => path.to_owned(),
        };
        let follows_grammar = grammar::is_domain(domain)
            && grammar::is_path(&path)
            && tag.is_none_or(grammar::is_tag)
            && digest.is_none_or(grammar::is_digest_shaped);
        if !follows_grammar {
            return Err(ReferenceError::InvalidFormat);
        }
        if path.len() > PATH_LENGTH {
            return Err(ReferenceError::NameTooLong);
        }
        let digest = digest.map(Digest::parse).transpose()?;
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry, with its port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, where one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and path: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Domain and path as users write them: `busybox`, `user/image`, `ghcr.io/a/b`.
    pub fn familiar_name(&self) -> String {
        let short = match (self.domain.as_str(), self.path.strip_prefix(OFFICIAL)) {
            (DEFAULT_DOMAIN, Some(official)) if !official.contains('/') => official,
            (DEFAULT_DOMAIN, _) => &self.path,
            _ => return self.name(),
        };
        // A path such as `localhost/a` would be read as a registry's name, 64 digits as an id: these keep the domain.
        let reads_back = hex::parse(short).is_none() && split_domain(short) == (DEFAULT_DOMAIN, short);
        if reads_back { short.to_owned() } else { self.name() }
    }

    /// The whole reference as users write it: `busybox:1.36`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.render_suffix(&mut text);
        text
    }

    /// True where neither tag nor digest was given.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// The same image, with the tag `latest` where neither tag nor digest was given.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.is_name_only() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same name with another tag; a digest stays.
    pub fn with_tag(mut self, tag: &str) -> Result<Self, ReferenceError> {
        if !grammar::is_tag(tag) {
            return Err(ReferenceError::InvalidTag);
        }
        self.tag = Some(tag.to_owned());
        Ok(self)
    }

    /// The same name with another digest; a tag stays.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// The same name with what the `tag` parameter of `POST /images/create` gives: a tag, or a digest.
    pub fn with_tag_or_digest(self, text: &str) -> Result<Self, ReferenceError> {
        match Digest::parse(text) {
            Ok(digest) => Ok(self.with_digest(digest)),
            Err(_) => self.with_tag(text),
        }
    }

    /// Domain and path alone, without tag and digest.
    #[must_use]
    pub fn without_tag_and_digest(mut self) -> Self {
        self.tag = None;
        self.digest = None;
        self
    }

    /// What a registry is asked for: the digest, else the tag, else `latest`.
    pub fn tag_or_digest(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn render_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

/// Tells the domain from the rest; without one, or with an old name of it, it is the default.
///
/// What stands before the first slash is a domain if it has a dot, a port or an upper-case letter, or is `localhost`.
fn split_domain(text: &str) -> (&str, &str) {
    let (domain, rest) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first => {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    (domain, rest)
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.render_suffix(&mut text);
        out.write_str(&text)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What a user may name an existing image by: a whole id, or a reference. (Short ids are the store's to resolve first.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyReference {
    /// 64 hexadecimal digits, with or without `sha256:`.
    Id(ImageId),
    /// Anything else.
    Named(Reference),
}

impl AnyReference {
    /// Parses an id or a reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        match ImageId::parse(text) {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Reference::parse(text).map(Self::Named),
        }
    }
}
