//! Where a later process goes below the container's cgroup (`exec --cgroup`).

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};
use conex_cgroup::Layout;

/// The container's directories, each replaced by the one below it that is asked for: `path` for all hierarchies, or
/// `controller[,controller]:path` for those of version 1 one by one. They have to exist.
pub(crate) fn directories(layout: &Layout, own: &[PathBuf], asked: &[&str]) -> Result<Vec<PathBuf>> {
    let mut directories = own.to_vec();
    let mut named = Vec::new();
    for argument in asked {
        match argument.split_once(':') {
            None if asked.len() > 1 => {
                bail!("invalid --cgroup argument: {argument} (missing <controller>: prefix)")
            }
            None => {
                for directory in &mut directories {
                    *directory = directory.join(below(argument)?);
                }
            }
            Some((_, path)) if path.contains(':') => bail!("invalid --cgroup argument: {argument}"),
            Some((controllers, path)) => {
                for controller in controllers.split(',') {
                    if named.contains(&controller) {
                        bail!("invalid --cgroup argument(s): controller {controller} specified multiple times");
                    }
                    named.push(controller);
                    let Some(index) = position(layout, own, controller) else {
                        bail!("unknown controller {controller} in SubCgroupPaths");
                    };
                    directories[index] = own[index].join(below(path)?);
                }
            }
        }
    }
    Ok(directories)
}

/// Which of a container's directories is in a controller's hierarchy.
fn position(layout: &Layout, own: &[PathBuf], controller: &str) -> Option<usize> {
    let Layout::V1(controllers) = layout else { return None };
    let point = controllers.get(controller)?;
    own.iter().position(|directory| directory.starts_with(point))
}

/// A path that does not lead out of where it begins.
fn below(path: &str) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => bail!("{path} is not a sub cgroup path"),
            _ => {}
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(asked: &[&str]) -> Result<Vec<PathBuf>, String> {
        let point = |name: &str| (name.to_owned(), PathBuf::from(format!("/c/{name}")));
        let layout = Layout::V1([point("memory"), point("pids"), point("rdma")].into());
        let own = ["/c/memory/box", "/c/pids/box"].map(PathBuf::from);
        directories(&layout, &own, asked).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_is_below_the_containers_own() {
        let paths = |texts: [&str; 2]| Ok(texts.map(PathBuf::from).to_vec());
        assert_eq!(asked(&["a/../b"]), paths(["/c/memory/box/b", "/c/pids/box/b"]));
        assert_eq!(asked(&["/"]), paths(["/c/memory/box", "/c/pids/box"]));
        assert_eq!(asked(&["pids:a"]), paths(["/c/memory/box", "/c/pids/box/a"]));
        assert_eq!(asked(&["pids,memory:a"]), paths(["/c/memory/box/a", "/c/pids/box/a"]));
    }

    #[test]
    fn what_names_no_such_path_is_refused_in_the_words_of_runc() {
        for (given, words) in [
            (&["../b"][..], "../b is not a sub cgroup path"),
            (&["a", "pids:b"], "missing <controller>: prefix"),
            (&["pids:a:b"], "invalid --cgroup argument: pids:a:b"),
            (&["pids:a", "pids:b"], "controller pids specified multiple times"),
            (&["rdma:a"], "unknown controller rdma"),
            (&["nosuch:a"], "unknown controller nosuch"),
        ] {
            let error = asked(given).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
