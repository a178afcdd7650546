//! Shares of the processors' caches and of the way to memory: `linux.intelRdt` (OCI runtime specification, "IntelRdt"), by
//! groups of the resctrl file system (the kernel's `Documentation/arch/x86/resctrl.rst`).
//!
//! ```text
//!   <mount of resctrl>/<closID, or the container's id>/
//!     schemata              what of which cache and bandwidth it may use
//!     tasks                 who is in it; children are where their parents are
//!     mon_data/mon_L3_*/    what it uses
//!     mon_groups/<id>/      the same of one container, where a class is shared
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxIntelRdt, Spec};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The group that a container's processes are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    directory: PathBuf,
    /// Whether it goes with the container. What was asked for by its name may have others in it, and stays, as in runc.
    is_own: bool,
    /// A group below that counts this container alone.
    monitor: Option<PathBuf>,
}

/// Makes the group that is asked for, or finds the one of its name. Nothing is left of one that cannot be made so.
fn obtain(root: &Path, id: &str, wanted: &LinuxIntelRdt) -> Result<Group> {
    let class = wanted.clos_id().as_deref().filter(|name| !name.is_empty());
    if let Some(name) = class.filter(|name| *name == "." || *name == ".." || name.contains('/')) {
        bail!("invalid intelRdt.ClosID {name:?}");
    }
    check_support(root, wanted)?;
    let whole = wanted.schemata().as_deref().unwrap_or_default();
    let lines = lines(
        wanted.l3_cache_schema().as_deref(),
        wanted.mem_bw_schema().as_deref(),
        whole,
    );
    let directory = root.join(class.unwrap_or(id));
    // Groups are made and filled in one go, as those who use the file system agree.
    let lock = File::open(root).with_context(|| format!("open {}", root.display()))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("lock the resctrl file system")?;
    let is_new = if class.is_some() && lines.is_empty() {
        false
    } else {
        make(&directory)?
    };
    let mut group = Group {
        directory,
        is_own: class.is_none(),
        monitor: None,
    };
    group.fill(id, wanted, (&lines, is_new)).inspect_err(|_| {
        if is_new {
            // The first error is the one to tell.
            let _ = fs::remove_dir(&group.directory);
        }
    })?;
    Ok(group)
}

fn check_support(root: &Path, wanted: &LinuxIntelRdt) -> Result<()> {
    if wanted.l3_cache_schema().is_some() && !has_cache(root) {
        bail!("intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled");
    }
    if wanted.mem_bw_schema().is_some() && !has_bandwidth(root) {
        bail!("intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled");
    }
    let counted = fs::read_to_string(root.join("info/L3_MON/mon_features")).unwrap_or_default();
    let counts = |feature: &str| counted.lines().any(|line| line == feature);
    let (occupancy, bandwidth) = (wanted.enable_cmt(), wanted.enable_mbm());
    if occupancy.unwrap_or(false) && !counts("llc_occupancy") {
        bail!("intelRdt.enableCMT is specified in config, but Intel RDT/CMT is not enabled");
    }
    if bandwidth.unwrap_or(false) && !counts("mbm_total_bytes") && !counts("mbm_local_bytes") {
        bail!("intelRdt.enableMBM is specified in config, but Intel RDT/MBM is not enabled");
    }
    if wanted.enable_monitoring().unwrap_or(false) && counted.is_empty() {
        bail!("intelRdt.enableMonitoring is specified in config, but Intel RDT monitoring is not enabled");
    }
    Ok(())
}

/// Whether caches can be shared out; code and data apart is one way.
fn has_cache(root: &Path) -> bool {
    ["info/L3", "info/L3CODE"].iter().any(|name| root.join(name).is_dir())
}

fn has_bandwidth(root: &Path) -> bool {
    root.join("info/MB").is_dir()
}

impl Group {
    fn fill(&mut self, id: &str, wanted: &LinuxIntelRdt, (lines, is_new): (&[String], bool)) -> Result<()> {
        // Other directories of the file system are no groups.
        if !self.directory.join("tasks").is_file() {
            bail!(
                "intelRdt.closID: no class of service {} (it must exist when no schema is given)",
                self.directory.display()
            );
        }
        if !lines.is_empty() {
            if is_new || self.is_own {
                self.set(lines)?;
            } else {
                self.compare(lines)?;
            }
        }
        if !self.is_own && is_monitored(wanted) {
            let monitor = self.directory.join("mon_groups").join(id);
            make(&monitor)?;
            self.monitor = Some(monitor);
        }
        Ok(())
    }

    /// The file system: groups are directories of its root.
    fn root(&self) -> &Path {
        self.directory.parent().unwrap_or(Path::new("/"))
    }

    /// Gives the group other shares.
    fn set(&self, lines: &[String]) -> Result<()> {
        let schemata = self.directory.join("schemata");
        fs::write(&schemata, lines.join("\n") + "\n").with_context(|| {
            // The kernel tells more of the last failure in a file.
            let reason = fs::read_to_string(self.root().join("info/last_cmd_status")).unwrap_or_default();
            format!("write {lines:?} to {}: {}", schemata.display(), reason.trim())
        })
    }

    /// Gives the group other shares of these kinds, and leaves the rest as it is. All who are in a class have them.
    pub(crate) fn update(&self, l3_cache: Option<&str>, bandwidth: Option<&str>) -> Result<()> {
        if l3_cache.is_some() && !has_cache(self.root()) {
            bail!("Intel RDT/CAT: l3 cache schema is not enabled");
        }
        if bandwidth.is_some() && !has_bandwidth(self.root()) {
            bail!("Intel RDT/MBA: memory bandwidth schema is not enabled");
        }
        self.set(&lines(l3_cache, bandwidth, &[]))
    }

    /// A class that is there must be as it is asked for.
    fn compare(&self, lines: &[String]) -> Result<()> {
        let schemata = self.directory.join("schemata");
        let text = fs::read_to_string(&schemata).with_context(|| format!("read {}", schemata.display()))?;
        let there = parse(text.lines());
        // The kernel rounds bandwidth up to its steps.
        let step = number(&self.root().join("info/MB"), "bandwidth_gran").filter(|step| *step > 0);
        for (share, value) in parse(lines.iter().map(String::as_str)) {
            let bandwidth = step.zip(value.parse::<u64>().ok()).filter(|_| share.0 == "MB");
            let rounded = bandwidth.map(|(step, value)| value.next_multiple_of(step).to_string());
            let is_there = |value: Option<&String>| value.is_some() && there.get(&share) == value;
            if !is_there(Some(&value)) && !is_there(rounded.as_ref()) {
                let (resource, domain) = share;
                bail!(
                    "intelRdt: {} has no {resource}:{domain}={value}, and others may rely on what it has",
                    schemata.display()
                );
            }
        }
        Ok(())
    }

    /// Takes it away, where it is the container's own.
    pub(crate) fn remove(&self) -> Result<()> {
        let own = Some(&self.directory).filter(|_| self.is_own);
        for directory in self.monitor.iter().chain(own) {
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", directory.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What it has and uses, in the shape of runc's (`types.IntelRdt`).
    pub(crate) fn document(&self) -> Value {
        let root = self.root();
        let mut document = json!({});
        for (directory, suffix) in [(root, "_root"), (&self.directory, "")] {
            let schemata = fs::read_to_string(directory.join("schemata")).unwrap_or_default();
            for (resource, name) in [("L3:", "l3_cache_schema"), ("MB:", "mem_bw_schema")] {
                if let Some(line) = schemata.lines().map(str::trim).find(|line| line.starts_with(resource)) {
                    document[format!("{name}{suffix}")] = json!(line);
                }
            }
        }
        if let Ok(mask) = fs::read_to_string(root.join("info/L3/cbm_mask")) {
            document["l3_cache_info"] = numbers(&root.join("info/L3"), &["min_cbm_bits", "num_closids"]);
            document["l3_cache_info"]["cbm_mask"] = json!(mask.trim());
        }
        if has_bandwidth(root) {
            let files = ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"];
            document["mem_bw_info"] = numbers(&root.join("info/MB"), &files);
        }
        let counted = self.monitor.as_ref().unwrap_or(&self.directory).join("mon_data");
        for (name, files) in [
            ("mbm_stats", ["mbm_total_bytes", "mbm_local_bytes"].as_slice()),
            ("cmt_stats", &["llc_occupancy"]),
        ] {
            let nodes: Vec<Value> = domains(&counted)
                .iter()
                .map(|domain| numbers(domain, files))
                .filter(|node| node.as_object().is_some_and(|node| !node.is_empty()))
                .collect();
            if !nodes.is_empty() {
                document[name] = json!(nodes);
            }
        }
        document
    }
}

/// The group that a bundle asks for.
pub(crate) fn share(spec: &Spec, id: &str) -> Result<Option<Group>> {
    let wanted = spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref());
    let Some(wanted) = wanted else { return Ok(None) };
    // Whoever runs the host mounts it.
    let mounted = conex_sys::mountns::find("resctrl").context("read the table of mounts")?;
    let root = mounted.context("intelRdt is specified in config, but Intel RDT is not supported or enabled")?;
    obtain(&root, id, wanted).map(Some)
}

/// Runs `act` as one of the group, where there is one: the processes that it starts stay there.
pub(crate) fn within<T>(group: Option<&Group>, act: impl FnOnce() -> T) -> Result<T> {
    let Some(group) = group else { return Ok(act()) };
    for directory in std::iter::once(&group.directory).chain(&group.monitor) {
        enter(directory)?;
    }
    let outcome = act();
    // Whoever is in no group is in that of the root. Staying hurts nobody, and what was started must not be lost for it.
    let _ = enter(group.root());
    Ok(outcome)
}

/// The lines of `schemata`: what `memBwSchema` says of bandwidth is said there alone, and what is given whole comes last.
fn lines(l3_cache: Option<&str>, bandwidth: Option<&str>, whole: &[String]) -> Vec<String> {
    let bandwidth = bandwidth.filter(|schema| !schema.is_empty());
    let of = |schema: &str| -> Vec<String> {
        let lines = schema.lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(String::from).collect()
    };
    let mut lines = of(l3_cache.unwrap_or_default());
    lines.retain(|line| bandwidth.is_none() || !line.starts_with("MB:"));
    lines.extend(of(bandwidth.unwrap_or_default()));
    lines.extend(whole.iter().flat_map(|line| of(line)));
    lines
}

fn is_monitored(wanted: &LinuxIntelRdt) -> bool {
    let asked = [wanted.enable_cmt(), wanted.enable_mbm(), wanted.enable_monitoring()];
    asked.iter().any(|asked| asked.unwrap_or(false))
}

/// Makes a group; returns whether it was not there.
fn make(directory: &Path) -> Result<bool> {
    match fs::create_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("make the resctrl group {}", directory.display())),
    }
}

/// Moves the calling thread.
fn enter(group: &Path) -> Result<()> {
    let tasks = group.join("tasks");
    fs::write(&tasks, rustix::thread::gettid().as_raw_nonzero().to_string())
        .with_context(|| format!("write to {}", tasks.display()))
}

/// Values by resource and domain, in a form that can be compared: the kernel pads names and masks.
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<(String, String), String> {
    let mut shares = BTreeMap::new();
    for (resource, values) in lines.filter_map(|line| line.split_once(':')) {
        for (domain, value) in values.split(';').filter_map(|one| one.split_once('=')) {
            let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
            shares.insert((resource.trim().to_owned(), domain.trim().to_owned()), value);
        }
    }
    shares
}

/// The directories of what is counted, one of each cache.
fn domains(counted: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(counted).into_iter().flatten().flatten();
    let mut domains: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    domains.sort();
    domains
}

/// What files say that hold a number each. One that says something else ("Unavailable") is left out.
fn numbers(directory: &Path, files: &[&str]) -> Value {
    let known = files
        .iter()
        .filter_map(|file| Some(((*file).to_owned(), json!(number(directory, file)?))));
    Value::Object(known.collect())
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory in the file system's place. The kernel fills a group that is made and takes its files along when it is
    /// removed; here, a group is filled beforehand and only said to be new.
    fn file_system(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("conex-resctrl-{name}-{}", std::process::id()));
        for resource in ["L3", "MB", "L3_MON"] {
            fs::create_dir_all(root.join("info").join(resource)).unwrap();
        }
        fs::write(root.join("info/L3_MON/mon_features"), "llc_occupancy\n").unwrap();
        fs::write(root.join("tasks"), "").unwrap();
        root
    }

    fn wanted(shares: &Value) -> LinuxIntelRdt {
        let text = json!({"ociVersion": "1.2.0", "linux": {"intelRdt": shares}}).to_string();
        let (spec, _) = crate::bundle::specification(&text).unwrap();
        spec.linux().clone().unwrap().intel_rdt().clone().unwrap()
    }

    fn fill(group: &Path, schemata: &str) {
        fs::create_dir_all(group.join("mon_groups")).unwrap();
        fs::write(group.join("tasks"), "").unwrap();
        fs::write(group.join("schemata"), schemata).unwrap();
    }

    #[test]
    fn bandwidth_is_taken_from_its_own_field() {
        let of = |l3_cache, bandwidth| lines(Some(l3_cache), bandwidth, &[]);
        assert_eq!(of("L3:0=f0\nMB:0=10", Some("MB:0=20")), ["L3:0=f0", "MB:0=20"]);
        assert_eq!(of("L3:0=f0\nMB:0=10", None), ["L3:0=f0", "MB:0=10"]);
        let whole = ["L2:0=1".to_owned(), "MB:0=30".to_owned()];
        assert_eq!(lines(Some("L3:0=f0"), None, &whole), ["L3:0=f0", "L2:0=1", "MB:0=30"]);
    }

    #[test]
    fn a_container_has_a_group_of_its_own_that_starts_its_processes_and_goes_with_it() {
        let root = file_system("own");
        fill(&root.join("one"), "");
        fs::create_dir_all(root.join("one/mon_data/mon_L3_00")).unwrap();
        fs::write(root.join("one/mon_data/mon_L3_00/llc_occupancy"), "4096\n").unwrap();
        fs::write(root.join("one/mon_data/mon_L3_00/mbm_total_bytes"), "Unavailable\n").unwrap();
        let group = obtain(
            &root,
            "one",
            &wanted(&json!({"l3CacheSchema": "L3:0=f0", "memBwSchema": "MB:0=20"})),
        )
        .unwrap();
        assert_eq!(
            fs::read_to_string(root.join("one/schemata")).unwrap(),
            "L3:0=f0\nMB:0=20\n"
        );
        let me = rustix::thread::gettid().as_raw_nonzero().to_string();
        let inside = within(Some(&group), || fs::read_to_string(root.join("one/tasks")).unwrap()).unwrap();
        assert_eq!(inside, me);
        assert_eq!(
            fs::read_to_string(root.join("tasks")).unwrap(),
            me,
            "it is back where it was"
        );
        let document = group.document();
        assert_eq!(
            (&document["l3_cache_schema"], &document["mem_bw_schema"]),
            (&json!("L3:0=f0"), &json!("MB:0=20"))
        );
        assert_eq!(document["cmt_stats"], json!([{"llc_occupancy": 4096}]));
        assert_eq!(document.get("mbm_stats"), None, "nobody counts it");
        group.update(None, Some("MB:0=30")).unwrap();
        assert_eq!(fs::read_to_string(root.join("one/schemata")).unwrap(), "MB:0=30\n");
        fs::remove_dir_all(root.join("one")).unwrap();
        fs::create_dir(root.join("one")).unwrap();
        group.remove().unwrap();
        assert!(!root.join("one").exists());
        group.remove().unwrap();
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_class_must_be_as_it_is_asked_for_and_stays() {
        let root = file_system("class");
        fill(&root.join("gold"), "    L3:0=00f0;1=00ff\n    MB:0= 20;1=100\n");
        let same = json!({"closID": "gold", "l3CacheSchema": "L3:0=F0", "memBwSchema": "MB:1=100"});
        let group = obtain(&root, "one", &wanted(&same)).unwrap();
        group.remove().unwrap();
        assert!(root.join("gold/tasks").exists());
        // Whoever asks for 15 is given 20 where steps are of 10.
        fs::write(root.join("info/MB/bandwidth_gran"), "10\n").unwrap();
        let rounded = json!({"closID": "gold", "memBwSchema": "MB:0=15"});
        obtain(&root, "one", &wanted(&rounded)).unwrap();
        let less = json!({"closID": "gold", "memBwSchema": "MB:0=25"});
        obtain(&root, "one", &wanted(&less)).unwrap_err();
        let other = json!({"closID": "gold", "l3CacheSchema": "L3:0=f"});
        let error = obtain(&root, "one", &wanted(&other)).unwrap_err().to_string();
        assert!(error.contains("has no L3:0=f,"), "{error}");
        assert!(
            fs::read_to_string(root.join("gold/schemata"))
                .unwrap()
                .contains("L3:0=00f0")
        );
        let counted = json!({"closID": "gold", "enableCMT": true});
        let group = obtain(&root, "one", &wanted(&counted)).unwrap();
        assert!(
            root.join("gold/mon_groups/one").is_dir(),
            "counted apart from others of the class"
        );
        group.remove().unwrap();
        assert!(!root.join("gold/mon_groups/one").exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused_and_leaves_no_group() {
        let root = file_system("refused");
        for (text, expected) in [
            (json!({"closID": "../up"}), "invalid intelRdt.ClosID \"../up\""),
            (json!({"closID": "none"}), "no class of service"),
            (
                json!({"closID": "info", "memBwSchema": "MB:0=1"}),
                "no class of service",
            ),
            (json!({"enableMBM": true}), "Intel RDT/MBM is not enabled"),
            // A new group has no `tasks` here, as if the kernel had not made it.
            (
                json!({"closID": "new", "l3CacheSchema": "L3:0=f"}),
                "no class of service",
            ),
        ] {
            let error = obtain(&root, "one", &wanted(&text)).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        fs::remove_dir(root.join("info/MB")).unwrap();
        let error = obtain(&root, "one", &wanted(&json!({"memBwSchema": "MB:0=1"}))).unwrap_err();
        assert!(error.to_string().contains("Intel RDT/MBA is not enabled"), "{error}");
        let mut left: Vec<_> = fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["info", "tasks"]);
        fs::remove_dir_all(root).unwrap();
    }
}
