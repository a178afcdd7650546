//! Creation: a record, a name, and a task that owns the container from then on.

use std::sync::Arc;

use conex_api_types as api;
use conex_container::logging::{self, Logging};
use conex_container::state::State;
use conex_container::{Config, ImageDefaults, Invalid, NetworkChoice, VolumesFrom, limits, names};
use conex_image::Image;
use conex_metadata::Changes;
use conex_network::hosts::ExtraHost;
use conex_spec::capabilities;
use conex_sys::userns::IdMap;

use crate::containers::records::{Chosen, ContainerRecord};
use crate::containers::task::{Again, Task, View};
use crate::containers::{Container, disk_limits, links, namespaces, plan};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::images::find_error;
use crate::selinux;
use crate::user_namespaces::{self, Caller};
use crate::volumes::Claim;

/// How many made-up names are tried before digits are added for good.
const NAME_ATTEMPTS: u32 = 16;

/// Refuses what this host cannot give, and takes away with a warning what its kernel cannot limit, in Docker's words.
pub(crate) fn check_host(inner: &Inner, host: &mut api::HostConfig) -> Result<Vec<String>> {
    let refuse = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    limits::check_cpus(host, inner.host.cpus, &inner.host.online, &inner.host.nodes)
        .map_err(|error| refuse(error.to_string()))?;
    for (field, names) in [("CapAdd", &host.cap_add), ("CapDrop", &host.cap_drop)] {
        capabilities::adjust(names.as_deref().unwrap_or_default(), &[], false)
            .map_err(|error| refuse(format!("invalid {field}: {error}")))?;
    }
    let parent = inner.settings.cgroups.check(&host.cgroup_parent);
    parent.map_err(|invalid| refuse(invalid.to_string()))?;
    for text in host.extra_hosts.iter().flatten() {
        ExtraHost::parse(text, inner.networks.gateway()).map_err(|error| refuse(error.to_string()))?;
    }
    limits::fit(host, &inner.host.limits).map_err(|error| refuse(error.to_string()))
}

/// Gives networks, and the container whose network is shared, the names or ids that they are recorded under.
fn resolve_network(inner: &Inner, config: &mut Config) -> Result<()> {
    // One that is not there is missed at the start, as in Docker.
    if let NetworkChoice::Container(other) = &mut config.network
        && let Ok(found) = inner.containers.find(other)
    {
        other.clone_from(&found.id);
        config.host.network_mode = format!("container:{}", found.id);
    }
    links::resolve(inner, config)?;
    inner.networks.resolve(config)
}

/// Takes the mounts of the containers that `VolumesFrom` names.
fn share_volumes(inner: &Inner, config: &mut Config) -> Result<()> {
    let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    for text in config.host.volumes_from.clone().into_iter().flatten() {
        let from: VolumesFrom = text.parse().map_err(|error: Invalid| invalid(error.to_string()))?;
        let other = inner.containers.find(&from.container);
        let other = other.map_err(|error| invalid(error.message().to_owned()))?;
        config.share_mounts(&other.config, &from);
    }
    Ok(())
}

/// Claims the volumes of a container, and fills those that are empty; nothing where it has none.
async fn claim_volumes(
    inner: &Arc<Inner>,
    id: &str,
    image: &Arc<Image>,
    (mut config, map): (Config, Option<IdMap>),
) -> Result<(Config, Option<Claim>)> {
    if config.mounted_volumes().next().is_none() {
        return Ok((config, None));
    }
    let (inner, id, image) = (inner.clone(), id.to_owned(), image.clone());
    let claimed = tokio::task::spawn_blocking(move || {
        let claim = Claim::new(&inner, &id, &mut config)?;
        claim.fill(&image, &config, map.as_ref())?;
        Ok((config, Some(claim)))
    });
    claimed
        .await
        .map_err(|error| Error::new(ErrorKind::System, "claim the volumes").caused_by(error))?
}

fn network_warning(config: &Config) -> Option<String> {
    let discarded = config.network == NetworkChoice::Host && !config.published().is_empty();
    discarded.then(|| "Published ports are discarded when using host network mode".to_owned())
}

impl Engine {
    /// Makes a container for a caller, if it is known who calls. It is on disk when this returns.
    pub async fn create(
        &self,
        name: Option<String>,
        config: Config,
        platform: Option<String>,
        caller: Option<Caller>,
    ) -> Result<api::ContainerCreateResponse> {
        let engine = self.clone();
        // A client that goes away must not part memory from disk.
        let creating = tokio::spawn(async move { engine.record_container(name, config, platform, caller).await });
        creating
            .await
            .map_err(|error| Error::new(ErrorKind::System, "create the container").caused_by(error))?
    }

    async fn record_container(
        &self,
        name: Option<String>,
        mut config: Config,
        platform: Option<String>,
        caller: Option<Caller>,
    ) -> Result<api::ContainerCreateResponse> {
        let inner = &self.inner;
        let platform = platform.map(|text| inner.parse_platform(&text)).transpose()?;
        // Held until the container counts as a user of the image.
        let lease = inner.images.hold(&config.image, platform.as_ref()).await;
        let lease = lease.map_err(find_error)?;
        let image = &lease.image;
        share_volumes(inner, &mut config)?;
        let kept = user_namespaces::keep(&mut config, caller)?;
        config
            .merge(image_defaults(image))
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?;
        logging::fill_in(&mut config.host.log_config, &inner.settings.log);
        Logging::of(&config.host.log_config)
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?;
        let mut warnings = check_host(inner, &mut config.host)?;
        warnings.extend(network_warning(&config));
        inner.settings.namespaces.fill_in(&mut config.host);
        inner.settings.limits.fill_in(&mut config.host);
        namespaces::resolve(inner, &mut config)?;
        resolve_network(inner, &mut config)?;
        let (map, allotted) = user_namespaces::choose(inner, &config.host, kept).await?;
        plan::check(inner, &config)?;
        let id = random_id()?;
        let (limit, limited) = disk_limits::choose(inner, &id, &config).await?;
        let (labels, labelled) = selinux::choose(inner, &id, &mut config).await?;
        let name = self.take_name(name, &id)?;
        let claimed = claim_volumes(inner, &id, image, (config, map.clone())).await;
        let recorded = match claimed {
            Ok((config, claim)) => {
                let chosen = Chosen {
                    map: map.as_ref(),
                    limit,
                    labels: labels.as_ref(),
                };
                self.commit((&id, &name), image, config, chosen, claim).await
            }
            Err(error) => Err(error),
        };
        let record = match recorded {
            Ok(record) => record,
            Err(error) => {
                inner.containers.release(&name);
                return Err(error);
            }
        };
        let (container, (orders, view)) = Container::new(record, View::new(State::Created, Vec::new()));
        inner.containers.add(container.clone());
        drop((lease, allotted, limited, labelled));
        inner.events.container(&container, "create", &[]);
        Task::spawn(
            inner.clone(),
            Arc::clone(&container),
            orders,
            view,
            None,
            Again::default(),
        );
        Ok(api::ContainerCreateResponse { id, warnings })
    }

    /// Records a container together with its volumes.
    async fn commit(
        &self,
        (id, name): (&str, &str),
        image: &Image,
        config: Config,
        chosen: Chosen<'_>,
        claim: Option<Claim>,
    ) -> Result<ContainerRecord> {
        conex_sys::failpoint::hit("create.before-record");
        let created = jiff::Timestamp::now().to_string();
        let names = (id.to_owned(), name.to_owned());
        let record = ContainerRecord::new(names, created, image.id.clone(), config, chosen);
        let with = claim.as_ref().map_or_else(Changes::new, Claim::changes);
        self.inner.records.add(&record, with).await?;
        conex_sys::failpoint::hit("create.after-record");
        if let Some(claim) = claim {
            let published = tokio::task::spawn_blocking(move || claim.publish()).await;
            published.map_err(|error| Error::new(ErrorKind::System, "publish the volumes").caused_by(error))?;
        }
        Ok(record)
    }

    /// Takes the name that is asked for, or one that is made up.
    fn take_name(&self, name: Option<String>, id: &str) -> Result<String> {
        let Some(name) = name else {
            return self.make_up_name(id);
        };
        let name = names::parse(&name).map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?;
        self.inner.containers.reserve(name, id)?;
        Ok(name.to_owned())
    }

    fn make_up_name(&self, id: &str) -> Result<String> {
        for attempt in 0..NAME_ATTEMPTS {
            let name = names::generate(random_number()?, attempt);
            if self.inner.containers.is_free(&name) && self.inner.containers.reserve(&name, id).is_ok() {
                return Ok(name);
            }
        }
        // Nobody else is called like this.
        self.inner.containers.reserve(&id[..12], id)?;
        Ok(id[..12].to_owned())
    }
}

fn image_defaults(image: &Image) -> ImageDefaults {
    let config = &image.config.config;
    ImageDefaults {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        user: config.user.clone(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        exposed_ports: config.exposed_ports.keys().cloned().collect(),
        volumes: config.volumes.keys().cloned().collect(),
        healthcheck: config.healthcheck.as_ref().map(health_config),
    }
}

fn health_config(check: &conex_image::Healthcheck) -> api::HealthConfig {
    api::HealthConfig {
        test: check.test.clone(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

/// 64 random hexadecimal digits. A short id that is all digits would be mistaken for a number, so there is another try.
pub(crate) fn random_id() -> Result<String> {
    loop {
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if !id[..12].bytes().all(|digit| digit.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

fn random_number() -> Result<u64> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn random(bytes: &mut [u8]) -> Result<()> {
    let filled = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(count) if count == bytes.len() => Ok(()),
        _ => Err(Error::new(ErrorKind::System, "read random bytes")),
    }
}
