//! What an archive of strangers may come to at most.

/// Bounds of a layer; `u64::MAX` is none.
///
/// Others stand fast, as no honest archive comes near them and what is beyond could not be held in memory or made: names of
/// 4096 bytes, extended headers of 1 MiB, sparse files of 65536 parts, and directories whose names and times, implied
/// directories and links to lower layers take more than 160, 64 and 64 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive, and bytes of its files with their holes.
    pub size: u64,
    /// Members.
    pub members: u64,
    /// Bytes of the archive to each byte of it compressed.
    pub ratio: u64,
}

impl Limits {
    /// No bounds.
    pub const NONE: Self = Self {
        size: u64::MAX,
        members: u64::MAX,
        ratio: u64::MAX,
    };
}
