//! `GET /containers/{id}/json`.

use std::collections::BTreeMap;

use conex_api_types as api;
use conex_container::NetworkChoice;
use conex_container::health::{Health, Outcome};
use conex_container::state::{Exit, State};
use conex_snapshot::Own;
use conex_spec::{CgroupVersion, defaults};

use crate::containers::task::View;
use crate::containers::{Container, files, links, list, networks, plan, resolution};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// Inspects a container.
    pub async fn inspect(&self, id: &str, size: bool) -> Result<api::ContainerInspect> {
        let container = self.inner.containers.find(id)?;
        let view = container.view();
        let sizes = if size {
            Some(self.sizes(&container).await?)
        } else {
            None
        };
        let argv = container.config.argv();
        let labels = container.labels.as_ref();
        let dir = self.inner.files.dir(&container.id);
        // A container that was never started has no files.
        let path = |name: &str| {
            let path = dir.join(name);
            if path.exists() {
                path.display().to_string()
            } else {
                String::new()
            }
        };
        let execs = Some(self.inner.execs.of(&container.id)).filter(|execs| !execs.is_empty());
        Ok(api::ContainerInspect {
            id: container.id.clone(),
            created: container.created.clone(),
            path: argv.first().cloned().unwrap_or_default(),
            args: argv.iter().skip(1).cloned().collect(),
            state: state(&view),
            image: container.image.clone(),
            resolv_conf_path: path("resolv.conf"),
            hostname_path: path("hostname"),
            hosts_path: path("hosts"),
            log_path: path(&format!("{}-json.log", container.id)),
            name: format!("/{}", container.name),
            restart_count: i64::from(view.restarts),
            driver: self.inner.snapshots.driver().name().into(),
            platform: "linux".into(),
            mount_label: labels.map(|labels| labels.mount.clone()).unwrap_or_default(),
            process_label: labels.and_then(|labels| labels.process.clone()).unwrap_or_default(),
            app_armor_profile: app_armor_profile(&self.inner, &container),
            exec_ids: execs,
            host_config: host_config(&self.inner, &container),
            graph_driver: graph_driver(&self.inner, container.own(&dir)),
            size_rw: sizes.map(|(rw, _)| rw),
            size_root_fs: sizes.map(|(_, root)| root),
            mounts: mounts(&self.inner, &container),
            config: config(&container, hostname(&self.inner, &container, &view)),
            network_settings: networks::settings(&self.inner, &container, &view),
        })
    }

    /// Bytes of the writable layer, and of everything.
    pub(crate) async fn sizes(&self, container: &Container) -> Result<(i64, i64)> {
        let dir = self.inner.files.dir(&container.id);
        let image = self.inner.image_of(container).ok();
        let layers = image.as_ref().map(|image| image.layers.clone()).unwrap_or_default();
        let snapshots = self.inner.snapshots.clone();
        let limit = container.limit;
        let counted = tokio::task::spawn_blocking(move || {
            let own = Own {
                directory: &dir,
                limit,
                label: None,
            };
            snapshots.size(&layers, own)
        });
        let counted = counted.await;
        let rw = counted
            .map_err(std::io::Error::other)
            .and_then(|counted| counted.map_err(std::io::Error::other))
            .map_err(|error| {
                Error::new(
                    ErrorKind::System,
                    format!("count the size of container {}: {error}", container.id),
                )
            })?;
        let image = image.map_or(0, |image| image.size);
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok((number(rw), number(rw + image)))
    }
}

/// The host name as it is told; that of a shared namespace is known from the first start on.
fn hostname(engine: &Inner, container: &Container, view: &View) -> String {
    let config = &container.config;
    let has_started = view.state.is_running() || view.last.as_ref().is_some_and(Exit::has_run);
    let is_shared = matches!(config.network, NetworkChoice::Container(_)) && !has_started;
    let is_hosts = config.host.uts_mode == "host" && config.network != NetworkChoice::Host;
    if config.hostname.is_empty() && (is_shared || is_hosts) {
        return container.short_id().to_owned();
    }
    resolution::hostname(engine, container)
}

fn state(view: &View) -> api::ContainerState {
    let last = view.last.clone();
    let never = || files::NEVER.to_owned();
    let ended = |field: fn(&Exit) -> &String| last.as_ref().map_or_else(never, |exit| field(exit).clone());
    let (pid, started_at) = match &view.state {
        State::Running { pid, started_at, .. } => (i64::from(*pid), started_at.clone()),
        _ => (0, ended(|exit| &exit.started_at)),
    };
    let running = view.state.is_running();
    let restarting = view.state.is_restarting();
    api::ContainerState {
        status: view.state.status().to_owned(),
        running: running || restarting,
        restarting,
        paused: view.state.is_paused(),
        pid,
        exit_code: if running {
            0
        } else {
            last.as_ref().map_or(0, |exit| i64::from(exit.code))
        },
        oom_killed: if running {
            view.out_of_memory
        } else {
            last.as_ref().is_some_and(|exit| exit.oom_killed)
        },
        error: if running {
            String::new()
        } else {
            last.as_ref().and_then(|exit| exit.error.clone()).unwrap_or_default()
        },
        started_at,
        finished_at: ended(|exit| &exit.finished_at),
        health: view.health.as_deref().map(health),
        ..api::ContainerState::default()
    }
}

fn health(health: &Health) -> api::Health {
    let result = |outcome: &Outcome| api::HealthcheckResult {
        start: outcome.start.clone(),
        end: outcome.end.clone(),
        exit_code: i64::from(outcome.exit_code),
        output: outcome.output.clone(),
    };
    api::Health {
        status: health.status.as_str().to_owned(),
        failing_streak: i64::from(health.failing_streak),
        log: health.log.iter().map(result).collect(),
    }
}

/// What was asked for, and what is done where nothing was.
fn host_config(inner: &Inner, container: &Container) -> api::HostConfig {
    let mut host = container.config.host.clone();
    host.links = links::shown(inner, container);
    let unified = inner.host.facts.cgroups == CgroupVersion::V2;
    host.console_size.get_or_insert([0, 0]);
    if !unified {
        // The unified hierarchy has no such switch.
        host.oom_kill_disable.get_or_insert(false);
    }
    if host.memory > 0 && host.memory_swap == 0 {
        // As much swap as memory.
        host.memory_swap = host.memory * 2;
    }
    if host.cgroupns_mode.is_empty() {
        let mode = if unified { "private" } else { "host" };
        mode.clone_into(&mut host.cgroupns_mode);
    }
    if !host.privileged {
        let texts = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
        host.masked_paths = host.masked_paths.or_else(|| texts(&defaults::MASKED_PATHS));
        host.readonly_paths = host.readonly_paths.or_else(|| texts(&defaults::READONLY_PATHS));
    }
    let is_labelled = |option: &String| option.starts_with("label=") || option.starts_with("label:");
    let has_labels = host.security_opt.iter().flatten().any(is_labelled);
    if !has_labels && (host.privileged || host.ipc_mode == "host" || host.pid_mode == "host") {
        host.security_opt
            .get_or_insert_default()
            .push("label=disable".to_owned());
    }
    host
}

/// Empty, too, where the options have become wrong since: AppArmor that was switched off.
fn app_armor_profile(inner: &Inner, container: &Container) -> String {
    let options = plan::security_options(inner, &container.config);
    options.map_or_else(
        |_| String::new(),
        |options| inner.apparmor.profile(&options, &container.config).to_owned(),
    )
}

fn mounts(inner: &Inner, container: &Container) -> Vec<api::MountPoint> {
    let mounts = container.config.mounts.iter();
    mounts.map(|choice| list::mount(inner, choice)).collect()
}

fn graph_driver(inner: &Inner, own: Own<'_>) -> api::GraphDriver {
    let data = inner.snapshots.directories(own).into_iter();
    let data = data.map(|(name, path)| (name.to_owned(), path.display().to_string()));
    api::GraphDriver {
        data: data.collect(),
        name: inner.snapshots.driver().name().into(),
    }
}

fn config(container: &Container, hostname: String) -> api::InspectConfig {
    let config = &container.config;
    let set = |names: &std::collections::BTreeSet<String>| -> BTreeMap<String, api::Empty> {
        names.iter().map(|name| (name.clone(), api::Empty {})).collect()
    };
    api::InspectConfig {
        hostname,
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: set(&config.exposed_ports),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env.clone(),
        cmd: config.cmd.clone(),
        healthcheck: config.healthcheck.clone(),
        image: config.image.clone(),
        volumes: Some(set(&config.volumes)).filter(|volumes| !volumes.is_empty()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone(),
        on_build: config.on_build.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone(),
        args_escaped: config.args_escaped,
        network_disabled: config.network_disabled,
    }
}
