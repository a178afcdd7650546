//! SELinux: which labels a container has, and what is labelled for it.
//!
//! ```text
//!   daemon starts   the contexts of containers are read, of the policy that the host has
//!   created         labels are chosen, with categories that no other container has, and recorded
//!   started         root file system, files and volumes get the one, processes the other
//! ```

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use conex_container::namespaces::joined;
use conex_container::{Config, Relabel};
use conex_spec::HostFacts;
use conex_spec::selinux::{Categories, Context, Contexts, DISABLE, Labels, policy_name};
use conex_sys::descriptor::proc_path;
use conex_sys::{path, selinux};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use crate::containers::{Container, disk_limits, plan};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Where policies are (selinux(8)).
const POLICIES: &str = "/etc/selinux";

/// Directories of the host that Docker does not label anew: a container that had them would take them from the host.
const NOT_RELABELLED: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// What labels containers.
#[derive(Debug)]
pub(crate) struct SeLinux {
    /// Those of the policy; `None` where nothing is labelled.
    contexts: Option<Contexts>,
    /// Held from the choice of categories for a container until it is one.
    choosing: Mutex<()>,
}

impl SeLinux {
    /// Reads what containers are labelled with, where that is wanted and the host has SELinux.
    ///
    /// # Errors
    /// The policy knows no containers: they would run without labels.
    pub(crate) fn open(is_wanted: bool, facts: &HostFacts) -> Result<Self> {
        if is_wanted && !facts.selinux {
            tracing::warn!("Docker could not enable SELinux on the host system");
        }
        let contexts = (is_wanted && facts.selinux).then(read_contexts).transpose()?;
        Ok(Self {
            contexts,
            choosing: Mutex::default(),
        })
    }

    /// Labels the directory of layers, and those that are in it already; what is unpacked there from now on has its directory's
    /// type. Overlays show other labels, but the kernel may hold a mapping of a file against that of the layer.
    ///
    /// # Errors
    /// The file system has no labels, or the policy not this one.
    pub(crate) fn label_layers(&self, layers: &Path) -> Result<()> {
        let Some(label) = self.contexts.as_ref().and_then(Contexts::of_layers) else {
            return Ok(());
        };
        selinux::label_tree_at(layers, &label).map_err(|error| {
            let words = format!("label {}: {}", layers.display(), conex_sys::words(&error));
            Error::new(ErrorKind::System, words).caused_by(error)
        })
    }

    /// Whether containers are labelled.
    pub(crate) fn is_enabled(&self) -> bool {
        self.contexts.is_some()
    }
}

fn read_contexts() -> Result<Contexts> {
    let config = fs::read_to_string(Path::new(POLICIES).join("config")).unwrap_or_default();
    let file = Path::new(POLICIES)
        .join(policy_name(&config))
        .join("contexts/lxc_contexts");
    let refused = |why: &dyn std::fmt::Display| {
        let words = format!(
            "selinux-enabled: {}: {why}: the policy knows no containers",
            file.display()
        );
        Error::new(ErrorKind::InvalidParameter, words)
    };
    let text = fs::read_to_string(&file).map_err(|error| refused(&error))?;
    Contexts::parse(&text).ok_or_else(|| refused(&"names no contexts of process and file"))
}

/// The labels of a new container; nothing where containers have none. What makes it share another's is added to its options.
/// No other's are chosen until what comes with it is dropped.
pub(crate) async fn choose<'a>(
    inner: &'a Inner,
    id: &str,
    config: &mut Config,
) -> Result<(Option<Labels>, Option<MutexGuard<'a, ()>>)> {
    let mut options = plan::security_options(inner, config)?.labels;
    let Some(contexts) = &inner.selinux.contexts else {
        refuse_disabled(&inner.host.facts, &options)?;
        return Ok((None, None));
    };
    if options.is_empty() {
        options = inherited(inner, config)?;
        let added = options.iter().filter(|option| *option != DISABLE);
        let added: Vec<String> = added.map(|option| format!("label={option}")).collect();
        if !added.is_empty() {
            config.host.security_opt.get_or_insert_default().extend(added);
        }
    }
    let held = inner.selinux.choosing.lock().await;
    let containers = inner.containers.all();
    let labels = containers.iter().filter_map(|other| other.labels.as_ref());
    let labels = labels.flat_map(|labels| labels.process.iter().chain([&labels.mount]));
    let taken: HashSet<Categories> = labels.filter_map(|label| Categories::of_label(label)).collect();
    let free = Categories::pick(disk_limits::seed(id), |pair| taken.contains(&pair));
    let free = free.ok_or_else(|| Error::new(ErrorKind::Conflict, "all pairs of SELinux categories are taken"))?;
    let labels = Labels::choose(contexts, free, &options).map_err(plan::invalid)?;
    Ok((Some(labels), Some(held)))
}

/// Docker passes labels over which nothing applies. On a host that confines by them, who asks for one is told.
fn refuse_disabled(facts: &HostFacts, options: &[String]) -> Result<()> {
    match options.iter().find(|option| *option != DISABLE) {
        Some(option) if facts.selinux => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "the SELinux label option {option:?} cannot be applied: the daemon was started without selinux-enabled"
            ),
        )),
        _ => Ok(()),
    }
}

/// What a container's namespaces say about its label, where nobody else does.
fn inherited(inner: &Inner, config: &Config) -> Result<Vec<String>> {
    let host = &config.host;
    if host.privileged || host.ipc_mode == "host" || host.pid_mode == "host" {
        return Ok(vec![DISABLE.to_owned()]);
    }
    let mut found: Option<Vec<String>> = None;
    for other in [&host.ipc_mode, &host.pid_mode]
        .into_iter()
        .filter_map(|mode| joined(mode))
    {
        let other = inner.containers.find(other)?;
        let label = other.labels.as_ref().and_then(|labels| labels.process.as_deref());
        let options = label.and_then(Context::parse).map(|context| context.options());
        let options = options.unwrap_or_default();
        if found.as_ref().is_some_and(|found| *found != options) {
            let words = "--ipc and --pid containers SELinux labels aren't the same";
            return Err(Error::new(ErrorKind::InvalidParameter, words));
        }
        found = Some(options);
    }
    Ok(found.unwrap_or_default())
}

/// Refuses to start what was to be confined where nothing confines any more.
pub(crate) fn check(engine: &Inner, container: &Container) -> Result<()> {
    if container.process_label().is_some() && !engine.host.facts.selinux {
        return Err(plan::invalid(conex_spec::Error::NoSeLinux));
    }
    Ok(())
}

/// The label of a container's files, where the host has SELinux.
pub(crate) fn mount_label<'a>(engine: &Inner, container: &'a Container) -> Option<&'a str> {
    let labels = container.labels.as_ref().filter(|_| engine.host.facts.selinux);
    labels.map(|labels| labels.mount.as_str())
}

impl Container {
    /// The label of its processes. A privileged one has none, whatever it was made with.
    pub(crate) fn process_label(&self) -> Option<&str> {
        let labels = self.labels.as_ref().filter(|_| !self.config.host.privileged);
        labels.and_then(|labels| labels.process.as_deref())
    }
}

/// Labels what is mounted into a container from a path of the host, or `tree` of it, for that container or for all.
pub(crate) fn relabel(source: &Path, tree: Option<&OwnedFd>, (label, for_whom): (&str, Relabel)) -> Result<()> {
    let shared = Context::parse(label).filter(|_| for_whom == Relabel::ForAll);
    let label = shared.map_or_else(|| label.to_owned(), |context| context.shared().to_string());
    let refused = |kind, why: &dyn std::fmt::Display| {
        let words = format!("error setting label on mount source '{}': {why}", source.display());
        Error::new(kind, words)
    };
    let failed = |error: std::io::Error| refused(ErrorKind::System, &conex_sys::words(&error)).caused_by(error);
    if let Some(tree) = tree {
        return selinux::label_tree(tree.as_fd(), &label).map_err(failed);
    }
    let opened = path::open_place(source).map_err(failed)?;
    // What it is, whatever links lead there.
    let real = fs::read_link(proc_path(opened.as_fd())).map_err(failed)?;
    let is_home = std::env::var_os("HOME").is_some_and(|home| Path::new(&home) == real);
    if is_home || NOT_RELABELLED.iter().any(|path| Path::new(path) == real) {
        let why = format!("SELinux relabeling of {} is not allowed", real.display());
        return Err(refused(ErrorKind::InvalidParameter, &why));
    }
    selinux::label_tree(opened.as_fd(), &label).map_err(failed)
}

/// Labels as they are recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LabelsRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    mount: String,
}

impl From<&Labels> for LabelsRecord {
    fn from(labels: &Labels) -> Self {
        Self {
            process: labels.process.clone(),
            mount: labels.mount.clone(),
        }
    }
}

impl From<LabelsRecord> for Labels {
    fn from(record: LabelsRecord) -> Self {
        Self {
            process: record.process,
            mount: record.mount,
        }
    }
}
