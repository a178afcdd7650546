//! `GET /containers/json`.

use std::sync::Arc;

use conex_api_types as api;
use conex_container::health::Status;
use conex_container::state::State;
use conex_container::{BindPropagation, Config, MountChoice};

use crate::containers::task::View;
use crate::containers::{Container, networks};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::matching;
use crate::requests::ContainersQuery;
use crate::volumes;

/// Filters that are understood.
const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

impl Engine {
    /// Lists containers, newest first.
    pub async fn containers(&self, query: ContainersQuery) -> Result<Vec<api::ContainerSummary>> {
        let invalid = |error: api::FiltersError| Error::new(ErrorKind::InvalidParameter, error.to_string());
        query.filters.require_known(&FILTERS).map_err(invalid)?;
        check_values(&query.filters)?;
        let mut containers = self.inner.containers.all();
        containers.sort_by(|one, other| other.created.cmp(&one.created));
        let bounds = Bounds {
            before: self.created_of(query.filters.values("before"))?,
            since: self.created_of(query.filters.values("since"))?,
        };
        // As in Docker, a limit and some filters look at containers that do not run as well.
        let all = query.all
            || query.limit.is_some()
            || query.filters.values("status").is_some()
            || query.filters.values("exited").is_some();
        let mut summaries = Vec::new();
        for container in containers {
            let view = container.view();
            let shown = (all || view.state.is_up()) && !matches!(view.state, State::Gone);
            if !shown || !bounds.contain(&container) || !self.matches(&container, &view, &query) {
                continue;
            }
            let mut summary = summary(&self.inner, &container, &view);
            if query.size {
                let (rw, root) = self.sizes(&container).await?;
                // Docker leaves out what is 0.
                summary.size_rw = Some(rw).filter(|bytes| *bytes > 0);
                summary.size_root_fs = Some(root);
            }
            summaries.push(summary);
            if query.limit == Some(summaries.len()) {
                break;
            }
        }
        Ok(summaries)
    }

    fn created_of(&self, references: Option<&[String]>) -> Result<Option<String>> {
        match references.and_then(<[String]>::first) {
            Some(reference) => Ok(Some(self.inner.containers.find(reference)?.created.clone())),
            None => Ok(None),
        }
    }

    fn matches(&self, container: &Arc<Container>, view: &View, query: &ContainersQuery) -> bool {
        let ancestor = |name: &str| {
            container.config.image == name
                || self
                    .inner
                    .find_image(name)
                    .is_ok_and(|image| image.id == container.image)
        };
        let published: Vec<String> = networks::ports_of_list(container, view)
            .into_iter()
            .filter_map(|port| Some(format!("{}/{}", port.public_port?, port.kind)))
            .collect();
        query.filters.iter().all(|(filter, values)| {
            let labels = &container.config.labels;
            let has_label = |value: &String| match value.split_once('=') {
                Some((name, wanted)) => labels.get(name).is_some_and(|label| label == wanted),
                None => labels.contains_key(value),
            };
            match filter.as_str() {
                "before" | "since" => true,
                // All labels must be there, of other filters one value is enough.
                "label" => values.iter().all(has_label),
                _ => values.iter().any(|value| match filter.as_str() {
                    "ancestor" => ancestor(value),
                    "exited" => {
                        let code = match &view.state {
                            State::Exited(exit) => Some(exit.code),
                            _ => None,
                        };
                        code.is_some_and(|code| code.to_string() == *value)
                    }
                    "id" => container.id.starts_with(value),
                    // With the slash that inspection shows, and without.
                    "name" => {
                        matching::name(&container.name, value) || matching::name(&format!("/{}", container.name), value)
                    }
                    "network" => self.is_on(container, value),
                    "status" => view.state.status() == value,
                    "health" => value == view.health.as_ref().map_or("none", |health| health.status.as_str()),
                    "is-task" => matches!(value.to_ascii_lowercase().as_str(), "false" | "0"),
                    "expose" => has_port(value, |port| container.config.exposed_ports.contains(port)),
                    "publish" => has_port(value, |port| published.iter().any(|known| known == port)),
                    "volume" => container.config.mounts.iter().any(|choice| is_mounted(choice, value)),
                    // It tells containers apart on Windows only.
                    "isolation" => true,
                    _ => false,
                }),
            }
        })
    }
}

/// Refuses values that a filter cannot have, in Docker's words.
fn check_values(filters: &api::Filters) -> Result<()> {
    let invalid = |words: String| Error::new(ErrorKind::InvalidParameter, words);
    let of = |filter: &str| filters.values(filter).unwrap_or_default();
    if let Some(wrong) = of("exited").iter().find(|code| code.parse::<i64>().is_err()) {
        return Err(invalid(format!(
            "invalid filter 'exited={wrong}': strconv.Atoi: parsing {wrong:?}: invalid syntax"
        )));
    }
    for (filter, what, known) in [
        ("status", "state", STATES.as_slice()),
        ("health", "health", HEALTH.as_slice()),
    ] {
        if let Some(wrong) = of(filter).iter().find(|value| !known.contains(&value.as_str())) {
            return Err(invalid(format!(
                "invalid filter '{filter}={wrong}': invalid value for {what} ({wrong}): must be one of {}",
                known.join(", ")
            )));
        }
    }
    let is_word = |value: &String| matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "1" | "0");
    if let Some(wrong) = of("is-task").iter().find(|value| !is_word(value)) {
        return Err(invalid(format!("invalid filter 'is-task=[{wrong}]'")));
    }
    check_ports(filters)
}

/// Values of the filter `status`.
const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

/// Values of the filter `health`.
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// Refuses ports that are none.
fn check_ports(filters: &api::Filters) -> Result<()> {
    for filter in ["expose", "publish"] {
        let values = filters.values(filter).unwrap_or_default();
        if let Some(wrong) = values.iter().find(|value| matching::ports(value).is_none()) {
            let words = format!("invalid filter '{filter}': invalid port: {wrong:?}");
            return Err(Error::new(ErrorKind::InvalidParameter, words));
        }
    }
    Ok(())
}

fn has_port(wanted: &str, has: impl Fn(&str) -> bool) -> bool {
    matching::ports(wanted).is_some_and(|mut wanted| wanted.any(|port| has(&port)))
}

/// Whether a mount is meant by the name of a volume, a path of the host, or a path in the container.
fn is_mounted(choice: &MountChoice, wanted: &str) -> bool {
    let is_source = match choice {
        MountChoice::Bind { source, .. } => source == wanted,
        MountChoice::Volume(volume) => volume.name == wanted,
        MountChoice::Tmpfs { .. } => false,
    };
    is_source || choice.target() == wanted
}

/// The program and its arguments as one line. What has a blank is quoted, and nothing else, as in Docker.
fn command(config: &Config) -> String {
    let argv = config.argv();
    let words = argv.iter().enumerate().map(|(index, word)| {
        if index > 0 && word.contains(' ') {
            format!("'{word}'")
        } else {
            word.clone()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

struct Bounds {
    before: Option<String>,
    since: Option<String>,
}

impl Bounds {
    fn contain(&self, container: &Container) -> bool {
        self.before.as_ref().is_none_or(|before| container.created < *before)
            && self.since.as_ref().is_none_or(|since| container.created > *since)
    }
}

fn summary(engine: &Inner, container: &Container, view: &View) -> api::ContainerSummary {
    let config = &container.config;
    let created: jiff::Timestamp = container.created.parse().unwrap_or_default();
    api::ContainerSummary {
        id: container.id.clone(),
        names: vec![format!("/{}", container.name)],
        image: image_name(engine, container),
        image_id: container.image.clone(),
        command: command(config),
        created: created.as_second(),
        ports: networks::ports_of_list(container, view),
        labels: config.labels.clone(),
        state: view.state.status().to_owned(),
        status: status(view, jiff::Timestamp::now()),
        host_config: api::ContainerHostConfig {
            network_mode: config.host.network_mode.clone(),
        },
        network_settings: api::ContainerNetworks {
            networks: networks::of_list(engine, container, view),
        },
        mounts: config.mounts.iter().map(|choice| mount(engine, choice)).collect(),
        ..api::ContainerSummary::default()
    }
}

/// The name that the container was made by, where it is still that of its image; else the image's id, as in Docker.
fn image_name(engine: &Inner, container: &Container) -> String {
    let name = &container.config.image;
    match engine.images.id_of(name) {
        Ok(id) if id == container.image => name.clone(),
        _ => container.image.clone(),
    }
}

/// A mount as it is listed.
/// A mount as clients see it.
pub(crate) fn mount(engine: &Inner, choice: &MountChoice) -> api::MountPoint {
    match choice {
        MountChoice::Bind {
            source,
            target,
            read_only,
            propagation,
            mode,
            ..
        } => api::MountPoint {
            kind: "bind".into(),
            source: source.clone(),
            destination: target.clone(),
            mode: mode.clone(),
            rw: !read_only,
            propagation: match propagation {
                BindPropagation::Private => "rprivate",
                BindPropagation::Slave => "rslave",
                BindPropagation::Shared => "rshared",
            }
            .to_owned(),
            ..api::MountPoint::default()
        },
        MountChoice::Volume(volume) => api::MountPoint {
            kind: "volume".into(),
            name: volume.name.clone(),
            source: engine.volumes.data(&volume.name).display().to_string(),
            destination: volume.target.clone(),
            driver: volumes::DRIVER.to_owned(),
            mode: volume.mode.clone(),
            rw: !volume.read_only,
            propagation: String::new(),
        },
        MountChoice::Tmpfs { target, read_only, .. } => api::MountPoint {
            kind: "tmpfs".into(),
            destination: target.clone(),
            rw: !read_only,
            ..api::MountPoint::default()
        },
    }
}

/// `Up 2 minutes`, `Exited (0) 5 seconds ago`, `Created`.
fn status(view: &View, now: jiff::Timestamp) -> String {
    let state = &view.state;
    let since = |time: &str| {
        let time: jiff::Timestamp = time.parse().unwrap_or(now);
        duration(now.as_second() - time.as_second())
    };
    match state {
        State::Restarting(exit)
        | State::Starting {
            before: Some(exit),
            again: true,
        } => format!("Restarting ({}) {} ago", exit.code, since(&exit.finished_at)),
        State::Created | State::Starting { .. } => "Created".into(),
        State::Running { started_at, paused, .. } => {
            let how = match view.health.as_ref().map(|health| health.status) {
                _ if *paused => " (Paused)",
                None => "",
                Some(Status::Starting) => " (health: starting)",
                Some(Status::Healthy) => " (healthy)",
                Some(Status::Unhealthy) => " (unhealthy)",
            };
            format!("Up {}{how}", since(started_at))
        }
        State::Exited(_) if state.status() == "created" => "Created".into(),
        State::Exited(exit) => format!("Exited ({}) {} ago", exit.code, since(&exit.finished_at)),
        State::Removing | State::Gone => "Removal In Progress".into(),
    }
}

/// A duration in the words of Docker's clients.
fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".into(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        HOUR..7200 => "About an hour".into(),
        7200..172_800 => format!("{} hours", seconds / HOUR),
        172_800..1_209_600 => format!("{} days", seconds / DAY),
        1_209_600..5_184_000 => format!("{} weeks", seconds / DAY / 7),
        5_184_000..63_072_000 => format!("{} months", seconds / DAY / 30),
        _ => format!("{} years", seconds / DAY / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_worded_as_docker_words_them() {
        let words = [
            (0, "Less than a second"),
            (5, "5 seconds"),
            (70, "About a minute"),
            (600, "10 minutes"),
            (7_300, "2 hours"),
        ];
        for (seconds, text) in words {
            assert_eq!(duration(seconds), text);
        }
    }
}
