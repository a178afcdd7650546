//! Routes, one module per resource of the Engine API.

pub(crate) mod archive;
pub(crate) mod containers;
pub(crate) mod create;
pub(crate) mod execs;
pub(crate) mod images;
pub(crate) mod networks;
pub(crate) mod system;
pub(crate) mod volumes;
