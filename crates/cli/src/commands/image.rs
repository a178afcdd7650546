//! Images.

pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod pull;
pub(crate) mod remove;
pub(crate) mod tag;
