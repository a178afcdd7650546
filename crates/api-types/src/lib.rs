//! Bodies of the Engine API (1.24 to 1.51), as clients type them.
//!
//! Names are the API's; fields that a client may leave out or set to `null` have their defaults. What a request means
//! is decided in `conex-container`.

mod archive;
mod changes;
mod container;
mod create;
mod distribution;
mod error;
mod event;
mod exec;
mod filters;
mod host_config;
mod image;
mod network;
mod progress;
mod prune;
mod stats;
mod system;
mod top;
mod volume;

pub use crate::archive::ContainerPathStat;
pub use crate::changes::{ChangeKind, FilesystemChange};
pub use crate::container::{
    ContainerHostConfig, ContainerInspect, ContainerNetworks, ContainerState, ContainerSummary,
    ContainerUpdateResponse, ContainerWaitError, ContainerWaitResponse, EndpointIpamConfig, EndpointSettings,
    GraphDriver, Health, HealthcheckResult, InspectConfig, MountPoint, NetworkSettings, Port,
};
pub use crate::create::{ContainerCreateRequest, ContainerCreateResponse, HealthConfig, NetworkingConfig};
pub use crate::distribution::{Descriptor, DistributionInspect, Platform, SearchResult};
pub use crate::error::ErrorResponse;
pub use crate::event::{Actor, EventMessage};
pub use crate::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest, IdResponse, ProcessConfig};
pub use crate::filters::{Filters, FiltersError};
pub use crate::host_config::{
    BindOptions, DeviceMapping, DriverConfig, HostConfig, LogConfig, Mount, PortBinding, RestartPolicy, ThrottleDevice,
    TmpfsOptions, Ulimit, UlimitError, VolumeOptions, WeightDevice,
};
pub use crate::image::{
    AttestationData, ConfigOfContainer, ImageConfig, ImageDeleteResponse, ImageHistoryItem, ImageInspect,
    ImageManifestSummary, ImageMetadata, ImageSummary, ManifestImageData, ManifestSize, RootFs, UnpackedSize,
};
pub use crate::network::{
    ConfigReference, Ipam, IpamConfig, NetworkConnectRequest, NetworkContainer, NetworkCreateRequest,
    NetworkCreateResponse, NetworkDisconnectRequest, NetworkPruneResponse, NetworkResource,
};
pub use crate::progress::{ErrorDetail, ProgressDetail, ProgressMessage, PushResult};
pub use crate::prune::{ContainersPruned, ImagesPruned};
pub use crate::stats::{
    BlkioEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Pressure,
    PressureStats, Stall, ThrottlingData,
};
pub use crate::system::{
    AuthResponse, CheckFinding, CheckLine, CheckSummary, Commit, ComponentVersion, DataUsage, DiskUsage, DiskUsageRow,
    FirewallBackend, IndexConfig, Plugins, RegistryConfig, Runtime, SystemInfo, Version,
};
pub use crate::top::ContainerTopResponse;
pub use crate::volume::{Volume, VolumeCreateRequest, VolumeList, VolumeUsage, VolumesPruned};

use serde::{Deserialize, Deserializer};

/// `null` means what a missing field means, as it does for Go's decoder.
pub(crate) fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An empty JSON object, as sets are written in Go (`map[string]struct{}`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Empty {}
