//! Decisions about how a container is made: what it wants, as plain values, becomes an `InitPlan`.
//!
//! ```text
//!   ContainerPlanRequest --container_plan--> InitPlan <--oci::from_oci-- config.json of a bundle
//!   ExecPlanRequest ------exec_plan--------> ExecPlan <--oci::exec_plan- process.json
//!
//!   SecurityOpt --security::parse--> SeccompChoice --seccomp::program--> bytes of a BPF filter, beside the plan
//! ```
//!
//! Nothing here has an effect: what the host offers comes in as `HostFacts`, descriptors are named by `FdSlot`, and what
//! comes out can be printed (`render`) and compared. `plan` is what crosses to `conex-launch`.

pub mod account;
pub mod apparmor;
pub mod capabilities;
mod container_plan;
pub mod defaults;
mod environment;
mod error;
mod exec_plan;
pub mod facts;
pub mod limits;
pub mod mount_options;
pub mod oci;
pub mod plan;
mod process;
mod render;
mod request;
pub mod seccomp;
pub mod security;
pub mod selinux;

pub use crate::container_plan::{container_plan, device_rules};
pub use crate::error::{Error, Result};
pub use crate::exec_plan::exec_plan;
pub use crate::facts::{Architecture, CgroupVersion, HostFacts, LimitFacts};
pub use crate::render::{render, render_exec};
pub use crate::request::{
    ContainerPlanRequest, DeviceRequest, ExecPlanRequest, IpcChoice, MountRequest, NamespaceChoice, NamespaceChoices,
    ProcessRequest, Submounts, Ulimit,
};
