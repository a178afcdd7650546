//! Creation: a record, a name, and a task that owns the container from then on.

use std::sync::Arc;

use conex_api_types as api;
use conex_container::state::State;
use conex_container::{Config, ImageDefaults, NetworkChoice, limits, names};
use conex_image::Image;
use conex_spec::capabilities;

use crate::containers::records::ContainerRecord;
use crate::containers::task::{Task, View};
use crate::containers::{Container, links, plan};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::images::find_error;

/// How many made-up names are tried before digits are added for good.
const NAME_ATTEMPTS: u32 = 16;

/// Refuses what this host cannot give, in Docker's words.
fn check_host(inner: &Inner, host: &api::HostConfig) -> Result<()> {
    let refuse = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    limits::check_cpus(host, inner.host.cpus, &inner.host.online).map_err(|error| refuse(error.to_string()))?;
    for (field, names) in [("CapAdd", &host.cap_add), ("CapDrop", &host.cap_drop)] {
        capabilities::adjust(names.as_deref().unwrap_or_default(), &[], false)
            .map_err(|error| refuse(format!("invalid {field}: {error}")))?;
    }
    Ok(())
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

fn warnings(config: &Config) -> Vec<String> {
    let discarded = config.network == NetworkChoice::Host && !config.published().is_empty();
    let words = discarded.then(|| "Published ports are discarded when using host network mode".to_owned());
    words.into_iter().collect()
}

impl Engine {
    /// Makes a container. It is on disk when this returns.
    pub async fn create(&self, name: Option<String>, config: Config) -> Result<api::ContainerCreateResponse> {
        let engine = self.clone();
        // A client that goes away must not part memory from disk.
        let creating = tokio::spawn(async move { engine.record_container(name, config).await });
        creating
            .await
            .map_err(|error| Error::new(ErrorKind::System, "create the container").caused_by(error))?
    }

    async fn record_container(&self, name: Option<String>, mut config: Config) -> Result<api::ContainerCreateResponse> {
        let inner = &self.inner;
        // Held until the container counts as a user of the image.
        let lease = inner.images.hold(&config.image).await.map_err(find_error)?;
        let image = &lease.image;
        config
            .merge(image_defaults(image))
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?;
        check_host(inner, &config.host)?;
        resolve_network(inner, &mut config)?;
        plan::check(inner, &config)?;
        let warnings = warnings(&config);
        let id = random_id()?;
        let name = match name {
            Some(name) => {
                let name =
                    names::parse(&name).map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?;
                inner.containers.reserve(name, &id)?;
                name.to_owned()
            }
            None => self.make_up_name(&id)?,
        };
        conex_sys::failpoint::hit("create.before-record");
        let created = jiff::Timestamp::now().to_string();
        let record = ContainerRecord::new(id.clone(), name.clone(), created, image.id.clone(), config);
        if let Err(error) = inner.records.add(&record).await {
            inner.containers.release(&name);
            return Err(error);
        }
        conex_sys::failpoint::hit("create.after-record");
        let (container, (orders, view)) = Container::new(record, View::new(State::Created, Vec::new()));
        inner.containers.add(container.clone());
        drop(lease);
        inner.events.container(&container, "create", &[]);
        Task::spawn(inner.clone(), Arc::clone(&container), orders, view, None);
        Ok(api::ContainerCreateResponse { id, warnings })
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
