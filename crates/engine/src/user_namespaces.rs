//! User namespaces of containers (`userns-remap`, `--userns`).
//!
//! ```text
//!   created     which ids a container has is recorded with it: what it writes has them on the disk
//!   started     a user namespace of its own, with a network namespace that belongs to it; layers are mounted with its ids,
//!               mounts of the host are cloned here and handed over, as its processes could not reach them
//!   read        `cp`, `export`, `commit` and `diff` translate: an archive has the ids that the container sees
//! ```

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use conex_api_types::HostConfig;
use conex_container::NetworkChoice;
use conex_container::state::State;
use conex_snapshot::{Mapped, Snapshots};
use conex_sys::userns::{self, IdMap, IdRange};
use serde::{Deserialize, Serialize};

use crate::containers::launch::system;
use crate::containers::{Container, namespaces};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Settings;

/// What `conex-shim` is called with to make namespaces.
const MAKE: &str = "namespaces";

/// A map as it is recorded: ranges of the first id in the namespace, the first on the host, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MapRecord {
    users: Vec<[u32; 3]>,
    groups: Vec<[u32; 3]>,
}

impl From<&IdMap> for MapRecord {
    fn from(map: &IdMap) -> Self {
        let plain = |ranges: &[IdRange]| {
            let numbers = ranges.iter().map(|range| [range.inside, range.outside, range.count]);
            numbers.collect()
        };
        Self {
            users: plain(&map.users),
            groups: plain(&map.groups),
        }
    }
}

impl From<MapRecord> for IdMap {
    fn from(record: MapRecord) -> Self {
        let ranges = |numbers: Vec<[u32; 3]>| {
            let ranges = numbers
                .into_iter()
                .map(|[inside, outside, count]| IdRange { inside, outside, count });
            ranges.collect()
        };
        Self {
            users: ranges(record.users),
            groups: ranges(record.groups),
        }
    }
}

/// The ids of a container that is to be made; `None` where they are the host's. What cannot be had in a user namespace is
/// refused in Docker's words.
pub(crate) fn choose(settings: &Settings, host: &HostConfig) -> Result<Option<IdMap>> {
    let Some(map) = settings.user_map.as_ref().filter(|_| host.userns_mode != "host") else {
        return Ok(None);
    };
    let refusals = [
        (
            host.privileged,
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when \
             running privileged mode",
        ),
        (
            host.network_mode == "host",
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            host.pid_mode == "host",
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ];
    match refusals.into_iter().find(|(asked, _)| *asked) {
        Some((_, words)) => Err(Error::new(ErrorKind::InvalidParameter, words)),
        None => Ok(Some(map.clone())),
    }
}

/// Refuses to open an engine that is to map ids where the host cannot.
pub(crate) fn check(settings: &Settings, snapshots: &Snapshots) -> Result<()> {
    let Some(map) = &settings.user_map else {
        return Ok(());
    };
    let made = make(settings, map)?;
    let mapped = Mapped {
        namespace: made.user.as_fd(),
        map,
    };
    snapshots
        .try_mapping(mapped)
        .map_err(|error| Error::new(ErrorKind::System, format!("userns-remap: {error}")).caused_by(error))
}

fn make(settings: &Settings, map: &IdMap) -> Result<userns::Namespaces> {
    userns::create(&settings.shim, &[MAKE], Some(map)).map_err(system("make a user namespace"))
}

/// Namespaces that are made before a start.
pub(crate) struct Own {
    /// The user namespace: a new one, or that of the containers whose namespaces are joined.
    pub(crate) user: OwnedFd,
    /// A network namespace that belongs to it, unless another container's is joined.
    pub(crate) network: Option<OwnedFd>,
}

/// The user namespace for a start; `None` where it is the host's. It blocks.
pub(crate) fn of_start(engine: &Inner, container: &Container) -> Result<Option<Own>> {
    let Some(map) = &container.map else {
        return Ok(None);
    };
    let Some((user, path)) = shared(engine, container, map)? else {
        let made = make(&engine.settings, map)?;
        return Ok(Some(Own {
            user: made.user,
            network: Some(made.network),
        }));
    };
    let network = match &container.config.network {
        NetworkChoice::Container(_) => None,
        _ => {
            let made = userns::create(&engine.settings.shim, &[MAKE, &path], None);
            Some(made.map_err(system("make a network namespace"))?.network)
        }
    };
    Ok(Some(Own { user, network }))
}

/// The user namespace of the containers whose namespaces a container joins, and its path: who has no rights over a namespace
/// cannot enter it.
fn shared(engine: &Inner, container: &Container, map: &IdMap) -> Result<Option<(OwnedFd, String)>> {
    let mut found: Option<(OwnedFd, String)> = None;
    for other in namespaces::others(engine, &container.config) {
        let refuse = |why: &str| {
            let words = format!("cannot join the namespaces of container {}: {why}", other.id);
            Error::new(ErrorKind::InvalidParameter, words)
        };
        if other.map.as_ref() != Some(map) {
            return Err(refuse("it has other ids (--userns)"));
        }
        // One that does not run is told of by whoever joins it.
        let State::Running { pid, .. } = other.view().state else {
            continue;
        };
        let path = format!("/proc/{pid}/ns/user");
        let opened = File::open(&path).map_err(system(format!("open {path}")))?.into();
        match &found {
            Some((first, _)) if !is_same(first, &opened)? => {
                return Err(refuse(
                    "its user namespace is not that of the other containers that are joined",
                ));
            }
            _ => found = Some((opened, path)),
        }
    }
    Ok(found)
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> Result<bool> {
    let of = |fd: &OwnedFd| {
        let found = rustix::fs::fstat(fd).map_err(|error| system("look at a user namespace")(error.into()))?;
        Ok::<_, Error>((found.st_dev, found.st_ino))
    };
    Ok(of(one)? == of(other)?)
}

/// A user namespace with a container's ids, for mounts of its files while it does not run. It blocks.
pub(crate) fn of_files(engine: &Inner, container: &Container) -> Result<Option<OwnedFd>> {
    let made = container.map.as_ref().map(|map| make(&engine.settings, map));
    made.map(|made| made.map(|made| made.user)).transpose()
}
