//! From flags to a serving daemon, and back: the order in which things are opened and closed.

use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use conex_engine::{
    AUTO_USER, Build, Cgroups, Engine, IdMap, Keep, LimitDefaults, Limits, LogConfig, NamespaceDefaults, OnFailure,
    RealTime, Settings, Storage,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config_file;
use crate::options::{CalledAs, Options};
use crate::remap::Accounts;
use crate::shutdown;
use crate::sockets::{self, Host, Listener};

/// Threads that serve requests. The work is waiting; two are enough on any machine.
const WORKERS: usize = 2;

/// Mode of the data root.
const DATA_ROOT: u32 = 0o710;

/// What the daemon is built from; `cargo xtask build` says it.
const BUILD_COMMIT: Option<&str> = option_env!("CONEX_BUILD_COMMIT");
const BUILD_TIME: Option<&str> = option_env!("CONEX_BUILD_TIME");

/// Runs the daemon until SIGTERM or SIGINT. Containers go on running, unless they were told not to or the host goes down.
pub(crate) fn run(options: Options) -> Result<()> {
    let options = config_file::merge(options)?;
    let called_as = CalledAs::from_program(&env::args().next().unwrap_or_default());
    let settings = settings(&options, called_as)?;
    for dir in [&settings.data_root, &settings.exec_root] {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    close_to_others(&settings.data_root)?;
    if options.background {
        rustix::process::setsid().context("leave the caller's session")?;
    }
    start_log(&options, &settings)?;
    if settings.user_map.is_none() && options.userns_remap.as_deref().is_some_and(|user| !user.is_empty()) {
        tracing::warn!("User namespaces: root cannot be remapped with itself; user namespaces are OFF");
    }
    let pidfile = options.pidfile.as_deref().map(PidFile::write).transpose()?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("conexd")
        .enable_all()
        .build()
        .context("start the event loop")?;
    let outcome = if options.migrate_storage {
        runtime.block_on(migrate(settings))
    } else {
        runtime.block_on(serve(settings, &options))
    };
    drop(pidfile);
    outcome
}

/// Takes everybody else's rights on the data root, as Docker does: programs with set-user-id bits, of images and in volumes,
/// would make root of whoever reached them.
fn close_to_others(data_root: &Path) -> Result<()> {
    let failed = || format!("close {} to other users", data_root.display());
    let mode = fs::metadata(data_root).with_context(failed)?.mode();
    if mode & 0o007 == 0 {
        return Ok(());
    }
    fs::set_permissions(data_root, Permissions::from_mode(DATA_ROOT)).with_context(failed)
}

fn settings(options: &Options, called_as: CalledAs) -> Result<Settings> {
    let hosts = if options.hosts.is_empty() {
        vec![called_as.default_host().to_owned()]
    } else {
        options.hosts.clone()
    };
    let bridge = match options.bridge.as_deref() {
        Some("none") => None,
        Some(name) => Some(name.to_owned()),
        None => Some("conex0".to_owned()),
    };
    Ok(Settings {
        data_root: absolute(options.data_root.as_deref().unwrap_or(Path::new("/var/lib/conex")))?,
        exec_root: absolute(options.exec_root.as_deref().unwrap_or(Path::new("/run/conex")))?,
        storage: Storage {
            driver: options.storage_driver.clone(),
            options: options.storage_opts.clone(),
        },
        cgroups: Cgroups::choose(&options.exec_opts, options.cgroup_parent.as_deref())?,
        bridge,
        bip: options.bip.clone(),
        insecure_registries: options.insecure_registries.clone(),
        registry_mirrors: options.registry_mirrors.clone(),
        concurrent_downloads: at_a_time("downloads", options.max_concurrent_downloads)?
            .unwrap_or(Settings::CONCURRENT_DOWNLOADS),
        concurrent_uploads: at_a_time("uploads", options.max_concurrent_uploads)?
            .unwrap_or(Settings::CONCURRENT_UPLOADS),
        layer_limits: layer_limits(options)?,
        transfer_attempts: attempts(options.max_download_attempts)?,
        content_keep: content_keep(options.content_keep.as_deref())?,
        live_restore: options.live_restore.unwrap_or(true),
        log: logging(options)?,
        health_on_failure: on_failure(options.health_on_failure.as_deref())?,
        selinux: options.selinux_enabled,
        init: options.init,
        namespaces: NamespaceDefaults::of(
            options.default_ipc_mode.as_deref(),
            options.default_cgroupns_mode.as_deref(),
        )?,
        limits: limit_defaults(options)?,
        real_time: RealTime {
            period: options.cpu_rt_period,
            runtime: options.cpu_rt_runtime,
        },
        user_map: user_map(options.userns_remap.as_deref())?,
        // Who asks for them is told where there are none.
        auto_ids: Accounts::of_host().pool_of(AUTO_USER),
        shim: find_shim()?,
        hosts,
        debug: options.debug,
        build: Build {
            commit: BUILD_COMMIT.unwrap_or_default().to_owned(),
            time: BUILD_TIME.unwrap_or_default().to_owned(),
        },
    })
}

/// The ids that containers have on the host; nobody's where nothing is to be mapped, as in Docker.
fn user_map(specification: Option<&str>) -> Result<Option<IdMap>> {
    match specification {
        None | Some("") => Ok(None),
        Some(specification) => Accounts::of_host().map_of(specification),
    }
}

/// What layers of strangers may come to; zero is no bound.
/// What containers are limited to that do not say.
fn limit_defaults(options: &Options) -> Result<LimitDefaults> {
    let mut defaults = LimitDefaults::default();
    if let Some(text) = options.default_shm_size.as_deref() {
        let size = conex_units::size::binary(text).and_then(|size| i64::try_from(size).ok());
        let size = size.filter(|size| *size > 0);
        defaults.shm_size = size.with_context(|| format!("invalid default shm size: {text}"))?;
    }
    let limits = options.default_ulimits.iter().map(|text| Ok(text.parse()?));
    defaults.ulimits = limits.collect::<Result<_>>()?;
    Ok(defaults)
}

fn layer_limits(options: &Options) -> Result<Limits> {
    let size = match options.max_layer_size.as_deref() {
        Some(text) => {
            Some(conex_units::size::decimal(text).with_context(|| format!("invalid max layer size: {text}"))?)
        }
        None => None,
    };
    let number = |what: &str, number: Option<i64>| match number {
        Some(number) => {
            let number = u64::try_from(number).with_context(|| format!("invalid max layer {what}: {number}"))?;
            Ok::<_, anyhow::Error>(Some(number))
        }
        None => Ok(None),
    };
    let bound = |asked: Option<u64>, default: u64| match asked {
        Some(0) => u64::MAX,
        asked => asked.unwrap_or(default),
    };
    let default = Settings::LAYER_LIMITS;
    Ok(Limits {
        size: bound(size, default.size),
        members: bound(number("entries", options.max_layer_entries)?, default.members),
        ratio: bound(number("ratio", options.max_layer_ratio)?, default.ratio),
    })
}

/// How containers' output is kept where they do not say.
fn logging(options: &Options) -> Result<LogConfig> {
    let pairs = options.log_opts.iter().map(|option| {
        let (name, value) = option
            .split_once('=')
            .with_context(|| format!("invalid key/value pair format in driver options: {option}"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let config = LogConfig {
        kind: options.log_driver.clone().unwrap_or_else(|| "json-file".to_owned()),
        config: pairs.collect::<Result<_>>()?,
    };
    Settings::check_log(&config).context("failed to set log opts")?;
    Ok(config)
}

/// How long compressed layers are kept.
fn content_keep(word: Option<&str>) -> Result<Keep> {
    let Some(word) = word else {
        return Ok(Keep::default());
    };
    Keep::parse(word).with_context(|| format!("invalid content-keep: {word}: must be one of always, until-unpacked"))
}

/// What is done with unhealthy containers.
fn on_failure(word: Option<&str>) -> Result<OnFailure> {
    let Some(word) = word else {
        return Ok(OnFailure::default());
    };
    OnFailure::parse(word)
        .with_context(|| format!("invalid health-on-failure: {word}: must be one of none, restart, stop, kill"))
}

/// Transfers at a time; zero is no bound, as in Docker.
fn at_a_time(what: &str, number: Option<i64>) -> Result<Option<usize>> {
    // As many permits as a semaphore can have, which is more than an image can have layers.
    const ALL: usize = usize::MAX >> 3;
    match number {
        None => Ok(None),
        Some(0) => Ok(Some(ALL)),
        Some(number) => match usize::try_from(number) {
            Ok(number) => Ok(Some(number.min(ALL))),
            Err(_) => bail!("invalid max concurrent {what}: {number}"),
        },
    }
}

fn attempts(number: Option<i64>) -> Result<u32> {
    match number {
        None => Ok(Settings::TRANSFER_ATTEMPTS),
        Some(number) if number < 0 => bail!("invalid max download attempts: {number}"),
        Some(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("resolve {}", path.display()))
}

/// `conex-shim` stands beside the daemon, else in `PATH`.
fn find_shim() -> Result<PathBuf> {
    let beside = env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|dir| dir.join("conex-shim")));
    let in_path = env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    beside
        .into_iter()
        .chain(in_path.map(|dir| dir.join("conex-shim")))
        .find(|candidate| candidate.is_file())
        .context("conex-shim was found neither beside conexd nor in PATH")
}

fn start_log(options: &Options, settings: &Settings) -> Result<()> {
    let level = if options.debug {
        "debug,hyper=info,rustls=info"
    } else {
        "info"
    };
    let log = tracing_subscriber::fmt().with_env_filter(level).with_target(false);
    if options.background {
        let path = settings.data_root.join("conexd.log");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        log.with_ansi(false).with_writer(file).init();
    } else {
        log.with_ansi(false).with_writer(std::io::stderr).init();
    }
    Ok(())
}

async fn migrate(settings: Settings) -> Result<()> {
    let done = conex_engine::migrate(settings).await.context("migrate the storage")?;
    let (from, to) = (done.from, done.to);
    println!("{from} to {to}: {} images, {} containers", done.images, done.containers);
    Ok(())
}

async fn serve(settings: Settings, options: &Options) -> Result<()> {
    let hosts = settings
        .hosts
        .iter()
        .map(|host| Host::parse(host))
        .collect::<Result<Vec<_>>>()?;
    // Sockets are bound first: two daemons on one socket is the commonest mistake, and must not touch any state.
    let mut listeners = Vec::new();
    for host in &hosts {
        listeners.push(sockets::bind(host, options.group.as_deref()).await?);
    }
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;

    let outlive = settings.live_restore;
    let engine = Engine::open(settings).await.context("open the engine")?;
    let (stop, stopped) = watch::channel(false);
    let mut paths = Vec::new();
    let mut servers = Vec::new();
    for listener in listeners {
        let (engine, mut stopped) = (engine.clone(), stopped.clone());
        let until = async move {
            // The error means that the daemon ends as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        servers.push(match listener {
            Listener::Unix(listener, path) => {
                paths.push(path);
                tokio::spawn(conex_server::serve_unix(engine, listener, until))
            }
            Listener::Tcp(listener) => tokio::spawn(conex_server::serve_tcp(engine, listener, until)),
        });
    }
    tracing::info!(pid = std::process::id(), "API listens");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => tracing::info!("SIGHUP: the configuration is not reloaded yet"),
        }
    }
    for path in paths {
        remove(&path);
    }
    let _ = stop.send(true);
    if outlive && !shutdown::host_goes_down().await {
        tracing::info!("the daemon ends; containers go on");
    } else {
        tokio::select! {
            () = engine.stop_containers(shutdown::bound(options.shutdown_timeout)) => {}
            // Whoever asks again does not want to wait.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("the daemon ends, and its containers with it");
    }
    for server in servers {
        server.abort();
    }
    engine.close().await;
    Ok(())
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, "remove {}", path.display());
    }
}

/// The file with the daemon's process id; removed at the end.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self> {
        if let Ok(text) = fs::read_to_string(path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != std::process::id()
            && File::open(format!("/proc/{pid}/stat")).is_ok()
        {
            bail!("process with PID {pid} is still running: pidfile {}", path.display());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        fs::write(path, std::process::id().to_string()).with_context(|| format!("write pidfile {}", path.display()))?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Nothing is left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_bounds_unless_they_are_taken_away() {
        use clap::Parser;
        let limits = |flags: &[&str]| {
            let flags = ["conexd"].iter().chain(flags);
            layer_limits(&Options::try_parse_from(flags).unwrap())
        };
        assert_eq!(limits(&[]).unwrap(), Settings::LAYER_LIMITS);
        let off = ["--max-layer-size=0", "--max-layer-entries=0", "--max-layer-ratio=0"];
        assert_eq!(limits(&off).unwrap(), Limits::NONE);
        let some = [
            "--max-layer-size=2GB",
            "--max-layer-entries=5",
            "--max-layer-ratio=1000",
        ];
        let expected = Limits {
            size: 2_000_000_000,
            members: 5,
            ratio: 1000,
        };
        assert_eq!(limits(&some).unwrap(), expected);
        for wrong in [
            "--max-layer-size=much",
            "--max-layer-entries=-1",
            "--max-layer-ratio=-1",
        ] {
            assert!(
                limits(&[wrong])
                    .unwrap_err()
                    .to_string()
                    .starts_with("invalid max layer")
            );
        }
    }

    #[test]
    fn bounds_of_transfers_are_numbers_and_zero_is_none() {
        assert_eq!(at_a_time("uploads", None).unwrap(), None);
        assert_eq!(at_a_time("uploads", Some(2)).unwrap(), Some(2));
        assert!(at_a_time("uploads", Some(0)).unwrap().unwrap() > 1_000_000);
        let error = at_a_time("uploads", Some(-1)).unwrap_err();
        assert_eq!(error.to_string(), "invalid max concurrent uploads: -1");
        assert_eq!(attempts(None).unwrap(), 5);
        assert_eq!(
            attempts(Some(-2)).unwrap_err().to_string(),
            "invalid max download attempts: -2"
        );
    }
}
