//! Sizes and durations as people write them in flags, options and Dockerfiles, read as Docker reads them.

pub mod duration;
pub mod size;
