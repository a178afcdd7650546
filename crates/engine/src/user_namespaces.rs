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
use std::sync::Arc;

use conex_api_types::HostConfig;
use conex_container::state::State;
use conex_container::userns::{AUTO_SIZE, UsernsMode};
use conex_container::{Config, NetworkChoice};
use conex_snapshot::{Mapped, Snapshots};
use conex_sys::userns::{self, IdMap, IdRange};
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;

use crate::containers::launch::system;
use crate::containers::{Container, namespaces};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Settings;

/// Whose subordinate ids `--userns auto` allots, as for Podman.
pub const AUTO_USER: &str = "containers";

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

/// Who calls: the ids of a process of this host at the other end of a UNIX socket (`SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// Ids of the caller that a container keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    users: IdRange,
    groups: IdRange,
}

/// The ids that a container is to keep, if its mode is to; one that says nothing of its user runs as the caller.
pub(crate) fn keep(config: &mut Config, caller: Option<Caller>) -> Result<Option<Kept>> {
    let Ok(UsernsMode::KeepId { user, group }) = UsernsMode::parse(&config.host.userns_mode) else {
        return Ok(None);
    };
    let caller = caller.ok_or_else(|| {
        let words = "--userns keep-id: only a UNIX socket tells who calls";
        Error::new(ErrorKind::InvalidParameter, words)
    })?;
    let (user, group) = (user.unwrap_or(caller.user), group.unwrap_or(caller.group));
    if config.user.is_empty() {
        config.user = format!("{user}:{group}");
    }
    let one = |inside, outside| IdRange {
        inside,
        outside,
        count: 1,
    };
    Ok(Some(Kept {
        users: one(user, caller.user),
        groups: one(group, caller.group),
    }))
}

/// The ids of a container that is to be made, and what has to be held until it is one; no ids where they are the host's. What
/// cannot be had in a user namespace is refused in Docker's words.
pub(crate) async fn choose<'a>(
    inner: &'a Arc<Inner>,
    host: &HostConfig,
    kept: Option<Kept>,
) -> Result<(Option<IdMap>, Option<MutexGuard<'a, ()>>)> {
    let invalid = |error: conex_container::Invalid| Error::new(ErrorKind::InvalidParameter, error.to_string());
    let mode = UsernsMode::parse(&host.userns_mode).map_err(invalid)?;
    let (map, held) = match mode {
        UsernsMode::Host => (None, None),
        UsernsMode::Daemon => (inner.settings.user_map.clone(), None),
        UsernsMode::Range { inside, outside, size } => {
            let count = size;
            (Some(uniform(IdRange { inside, outside, count })), None)
        }
        UsernsMode::Auto { size } => {
            let held = inner.allotting.lock().await;
            (Some(allot(inner, size, "auto", None)?), Some(held))
        }
        UsernsMode::KeepId { .. } => {
            let held = inner.allotting.lock().await;
            (Some(allot(inner, AUTO_SIZE, "keep-id", kept)?), Some(held))
        }
    };
    let Some(map) = map else { return Ok((None, held)) };
    refuse_host(host)?;
    if mode != UsernsMode::Daemon {
        // The daemon's own map was tried when it was opened.
        let (inner, map) = (inner.clone(), map.clone());
        let tried = tokio::task::spawn_blocking(move || try_map(&inner.settings, &inner.snapshots, &map, "--userns"));
        tried
            .await
            .map_err(|error| Error::new(ErrorKind::System, "try the ids").caused_by(error))??;
    }
    Ok((Some(map), held))
}

fn uniform(range: IdRange) -> IdMap {
    IdMap {
        users: vec![range],
        groups: vec![range],
    }
}

/// Ids of the pool that no container has, and that are not the daemon's for all others, with those that are kept among them.
fn allot(inner: &Inner, size: u32, mode: &str, kept: Option<Kept>) -> Result<IdMap> {
    let refuse = |words: String| Error::new(ErrorKind::InvalidParameter, format!("--userns {mode}: {words}"));
    let pool = inner.settings.auto_ids.as_ref().ok_or_else(|| {
        refuse(format!(
            "the user {AUTO_USER:?} has no ranges in /etc/subuid and /etc/subgid"
        ))
    })?;
    let containers = inner.containers.all();
    let taken: Vec<&IdMap> = containers
        .iter()
        .filter_map(|container| container.map.as_ref())
        .chain(&inner.settings.user_map)
        .collect();
    let find = |pool: &[IdRange], of: fn(&IdMap) -> &[IdRange], kept: Option<IdRange>| {
        let taken = taken.iter().flat_map(|map| of(map)).copied();
        let taken: Vec<IdRange> = taken.chain(kept).collect();
        let outside = free(pool, &taken, size);
        let outside = outside.ok_or_else(|| refuse(format!("{size} ids in a row are not free")))?;
        let allotted = IdRange {
            inside: 0,
            outside,
            count: size,
        };
        Ok::<_, Error>(match kept {
            Some(kept) => around(allotted, kept),
            None => vec![allotted],
        })
    };
    Ok(IdMap {
        users: find(&pool.users, |map| &map.users, kept.map(|kept| kept.users))?,
        groups: find(&pool.groups, |map| &map.groups, kept.map(|kept| kept.groups))?,
    })
}

/// Ranges in which one id is another one of the host than in the range around it.
fn around(range: IdRange, kept: IdRange) -> Vec<IdRange> {
    let end = range.inside + range.count;
    let part = |first: u32, last: u32| IdRange {
        inside: first,
        outside: range.outside + (first - range.inside),
        count: last.saturating_sub(first),
    };
    let parts = [
        part(range.inside, end.min(kept.inside)),
        kept,
        part(end.min(kept.inside + 1), end),
    ];
    parts.into_iter().filter(|part| part.count > 0).collect()
}

/// The first of the lowest ids of the host that are in one range of the pool and in none of those that are taken.
fn free(pool: &[IdRange], taken: &[IdRange], size: u32) -> Option<u32> {
    let end = |range: &IdRange| range.outside.saturating_add(range.count);
    let fits = |first: u32| {
        let last = first.checked_add(size)?;
        let is_within = pool.iter().any(|range| range.outside <= first && last <= end(range));
        let is_free = !taken.iter().any(|range| range.outside < last && first < end(range));
        (is_within && is_free).then_some(first)
    };
    // What is free begins where a range of the pool begins or one that is taken ends.
    let starts = pool.iter().map(|range| range.outside).chain(taken.iter().map(end));
    starts.filter_map(fits).min()
}

/// Refuses what cannot be had in a user namespace.
fn refuse_host(host: &HostConfig) -> Result<()> {
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
        None => Ok(()),
    }
}

/// Refuses to open an engine that is to map ids where the host cannot.
pub(crate) fn check(settings: &Settings, snapshots: &Snapshots) -> Result<()> {
    let Some(map) = &settings.user_map else {
        return Ok(());
    };
    try_map(settings, snapshots, map, "userns-remap")
}

/// Makes a namespace with a map, and a root file system with its ids.
fn try_map(settings: &Settings, snapshots: &Snapshots, map: &IdMap, asked_by: &str) -> Result<()> {
    let made = make(settings, map)?;
    let mapped = Mapped {
        namespace: made.user.as_fd(),
        map,
    };
    snapshots
        .try_mapping(mapped)
        .map_err(|error| Error::new(ErrorKind::System, format!("{asked_by}: {error}")).caused_by(error))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn range(outside: u32, count: u32) -> IdRange {
        IdRange {
            inside: 0,
            outside,
            count,
        }
    }

    #[test]
    fn one_id_is_kept_among_those_that_are_allotted() {
        let ranges = |kept: u32| {
            let kept = IdRange {
                inside: kept,
                outside: 7,
                count: 1,
            };
            let ranges = around(range(100_000, 10), kept).into_iter();
            ranges
                .map(|range| [range.inside, range.outside, range.count])
                .collect::<Vec<_>>()
        };
        assert_eq!(ranges(0), [[0, 7, 1], [1, 100_001, 9]]);
        assert_eq!(ranges(4), [[0, 100_000, 4], [4, 7, 1], [5, 100_005, 5]]);
        assert_eq!(ranges(9), [[0, 100_000, 9], [9, 7, 1]]);
        assert_eq!(ranges(1000), [[0, 100_000, 10], [1000, 7, 1]]);
    }

    #[test]
    fn the_lowest_free_ids_are_allotted_and_come_back() {
        let pool = [range(1000, 100), range(5000, 50)];
        assert_eq!(free(&pool, &[], 40), Some(1000));
        assert_eq!(free(&pool, &[range(1000, 40)], 40), Some(1040));
        assert_eq!(free(&pool, &[range(1000, 40), range(1040, 40)], 40), Some(5000));
        assert_eq!(free(&pool, &[range(1040, 40)], 40), Some(1000), "what was given back");
        assert_eq!(free(&pool, &[range(1000, 70), range(5000, 20)], 40), None);
        assert_eq!(free(&pool, &[], 101), None, "no range has as many");
        assert_eq!(free(&pool, &[range(0, u32::MAX)], 1), None);
    }
}
