//! The daemon itself.

pub(crate) mod info;
pub(crate) mod version;
