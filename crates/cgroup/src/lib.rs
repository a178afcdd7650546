//! Control groups on both layouts: made, limited, joined, killed, removed (cgroups(7)).
//!
//! ```text
//!   Layout::probe --> Cgroup::create(layout, plan) --> join (v1: `tasks` files; v2: CLONE_INTO_CGROUP)
//!                     of a scope: place(pid), which waits for it: systemd makes the directories and moves it in
//!                                                  --> oom_killed, freeze, processes, usage, kill_all, remove
//! ```
//!
//! A `CgroupPlan` speaks of limits; `v1` and `v2` say which files they are written to. On v1 a container's cgroup is
//! one directory in each controller's hierarchy, on v2 one directory.

mod cgroup;
mod devices;
mod freezer;
mod layout;
mod limits;
mod oom;
mod systemd;
mod usage;
mod v1;
mod v2;

pub use crate::cgroup::{Cgroup, CgroupError};
pub use crate::layout::{Layout, RealTime, Version};
pub use crate::oom::OomWatch;
pub use crate::systemd::{BusError, is_running as is_systemd_running};
pub use crate::usage::{
    CpuUsage, Figures, IoCount, IoUsage, MemoryCount, MemoryUsage, Pressure, Stall, Usage, UsageReader,
};
