//! `os/architecture[/variant]`, for which an image was built or a container is to run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operating system and an architecture, in the names of the Go tool chain (OCI image specification, image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v7`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is no platform; the texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A part is empty or has characters that names of platforms do not have.
    #[error(
        "{component:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    InvalidComponent {
        /// The part.
        component: String,
        /// The whole text.
        text: String,
    },
    /// A single word that is neither an operating system nor an architecture.
    #[error("{text:?}: unknown operating system or architecture: invalid argument")]
    Unknown {
        /// The whole text.
        text: String,
    },
    /// More than three parts.
    #[error("{text:?}: cannot parse platform specifier: invalid argument")]
    TooManyParts {
        /// The whole text.
        text: String,
    },
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc", "ppc64", "ppc64le",
    "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
];

impl Platform {
    /// A platform of these names, not normalised.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// The Linux platform of a machine as uname(2) names it: `x86_64`, `aarch64`, `armv7l`.
    pub fn of_machine(machine: &str) -> Self {
        match machine {
            "aarch64" | "arm64" => Self::new("linux", "arm64", "v8"),
            "armv6l" => Self::new("linux", "arm", "v6"),
            "armv5tel" => Self::new("linux", "arm", "v5"),
            "armv7l" | "armv8l" => Self::new("linux", "arm", "v7"),
            "i486" | "i586" | "i686" => Self::new("linux", "386", ""),
            "loongarch64" => Self::new("linux", "loong64", ""),
            _ => Self::new("linux", machine, "").normalised(),
        }
    }

    /// Parses `os`, `architecture`, `os/architecture` or `os/architecture/variant`; what is not said is the host's.
    pub fn parse(text: &str, host: &Self) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        if let Some(bad) = parts.iter().find(|part| !is_part(part)) {
            return Err(PlatformError::InvalidComponent {
                component: (*bad).to_owned(),
                text: text.to_owned(),
            });
        }
        match parts[..] {
            [word] => Self::parse_word(word, host).ok_or_else(|| PlatformError::Unknown { text: text.to_owned() }),
            [os, architecture] => Ok(Self::new(os, architecture, "").normalised().with_default_variant()),
            [os, architecture, variant] => {
                let mut platform = Self::new(os, architecture, variant).normalised();
                // Normalising drops v8 as the only arm64 there is; who wrote it sees it again.
                if platform.architecture == "arm64" && platform.variant.is_empty() {
                    "v8".clone_into(&mut platform.variant);
                }
                Ok(platform)
            }
            _ => Err(PlatformError::TooManyParts { text: text.to_owned() }),
        }
    }

    fn parse_word(word: &str, host: &Self) -> Option<Self> {
        let named = Self::new(word, word, "").normalised();
        if SYSTEMS.contains(&named.os.as_str()) {
            return Some(Self {
                os: named.os,
                ..host.clone()
            });
        }
        ARCHITECTURES.contains(&named.architecture.as_str()).then(|| {
            Self {
                os: host.os.clone(),
                ..named
            }
            .with_default_variant()
        })
    }

    fn with_default_variant(mut self) -> Self {
        if self.architecture == "arm" && self.variant.is_empty() {
            "v7".clone_into(&mut self.variant);
        }
        self
    }

    /// The same platform with the usual name for each of its parts: `aarch64` is `arm64`, `armhf` is `arm/v7`.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let os = self.os.to_lowercase();
        let os = if os == "macos" { "darwin" } else { &os };
        let architecture = self.architecture.to_lowercase();
        let variant = self.variant.to_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        Self::new(os, architecture, variant)
    }

    /// The platforms whose programs run on this one, best first and this one included, all normalised.
    pub fn candidates(&self) -> Vec<Self> {
        let wanted = self.normalised();
        let with = |architecture: &str, variant: &str| Self::new(&wanted.os, architecture, variant);
        let mut candidates = vec![wanted.clone()];
        match (wanted.architecture.as_str(), wanted.variant.as_str()) {
            ("amd64", variant) => {
                candidates.extend(lower_variants(variant, 2).iter().map(|lower| with("amd64", lower)));
                if !variant.is_empty() {
                    candidates.push(with("amd64", ""));
                }
                candidates.push(with("386", ""));
            }
            ("arm", variant) => candidates.extend(lower_variants(variant, 5).iter().map(|lower| with("arm", lower))),
            ("arm64", variant) => {
                if !variant.is_empty() {
                    candidates.push(with("arm64", ""));
                }
                candidates.extend(["v8", "v7", "v6", "v5"].iter().map(|lower| with("arm", lower)));
            }
            _ => {}
        }
        candidates
    }

    /// How well something built for `other` suits this platform: 0 is best, `None` is not at all.
    pub fn rank(&self, other: &Self) -> Option<usize> {
        let other = other.normalised();
        self.candidates().iter().position(|candidate| *candidate == other)
    }
}

/// `v6`, `v5` for `v7` and a lowest of 5.
fn lower_variants(variant: &str, lowest: u8) -> Vec<String> {
    let Some(number) = variant.strip_prefix('v').and_then(|number| number.parse::<u8>().ok()) else {
        return Vec::new();
    };
    (lowest..number).rev().map(|lower| format!("v{lower}")).collect()
}

fn is_part(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(out, "/{}", self.variant)
        }
    }
}
