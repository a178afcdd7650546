//! Units of systemd as places of control groups (systemd.slice(5), systemd.scope(5)).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A scope of systemd that a container's control group is made by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Unit that it is in, for example `system.slice`.
    pub slice: String,
    /// Its own name, for example `docker-<id>.scope`.
    pub name: String,
    /// Id of the container, for its description.
    pub container: String,
}

/// Ends the names of slices.
const SLICE: &str = ".slice";

impl Scope {
    /// The slice that is taken where none is named, as by runc.
    pub const DEFAULT_SLICE: &str = "system.slice";

    /// The scope `<prefix>-<name>.scope`; without a prefix `<name>.scope`.
    ///
    /// # Errors
    /// The slice's name is none, or the unit would not be a scope.
    pub fn new(slice: &str, prefix: &str, name: &str, container: &str) -> Result<Self> {
        expand_slice(slice)?;
        let name = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        if name.contains('/') || name.ends_with(".slice.scope") {
            return Err(Error::ScopeName { name });
        }
        Ok(Self {
            slice: slice.to_owned(),
            name,
            container: container.to_owned(),
        })
    }

    /// Reads `linux.cgroupsPath` as runc does for this driver: `slice:prefix:name`, each of which may be empty.
    ///
    /// # Errors
    /// It has another form, or a name in it is none.
    pub fn parse(path: &str, container: &str) -> Result<Self> {
        if path.is_empty() {
            return Self::new(Self::DEFAULT_SLICE, "runc", container, container);
        }
        let [slice, prefix, name] = path.split(':').collect::<Vec<_>>()[..] else {
            return Err(Error::ScopePath { path: path.to_owned() });
        };
        let slice = if slice.is_empty() { Self::DEFAULT_SLICE } else { slice };
        Self::new(slice, prefix, name, container)
    }

    /// Path of its control group below each hierarchy's root.
    ///
    /// # Errors
    /// The slice's name is none.
    pub fn path(&self) -> Result<PathBuf> {
        expand_slice(&self.slice).map(|path| path.join(&self.name))
    }
}

/// Path of a slice: each dash in its name leads into one that is named by what stands before it, so that `a-b.slice` is
/// `/a.slice/a-b.slice`; `-.slice` is the root (systemd.slice(5)).
fn expand_slice(slice: &str) -> Result<PathBuf> {
    let invalid = || Error::SliceName { name: slice.to_owned() };
    let name = slice.strip_suffix(SLICE).ok_or_else(invalid)?;
    if name == "-" {
        return Ok(PathBuf::from("/"));
    }
    if name.contains('/') || name.split('-').any(str::is_empty) {
        return Err(invalid());
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let mut path = PathBuf::from("/");
    path.extend(ends.map(|end| format!("{}{SLICE}", &name[..end])));
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn dashes_lead_into_slices() {
        let path = |slice: &str| expand_slice(slice).unwrap();
        assert_eq!(path("system.slice"), Path::new("/system.slice"));
        assert_eq!(
            path("a-b-c.slice"),
            Path::new("/a.slice/a-b.slice/a-b-c.slice"),
            "each is in that of the shorter name"
        );
        assert_eq!(path("-.slice"), Path::new("/"));
        for none in [
            "",
            ".slice",
            "system",
            "a--b.slice",
            "-a.slice",
            "a-.slice",
            "a/b.slice",
            "x.scope",
        ] {
            let refused = expand_slice(none).unwrap_err().to_string();
            assert_eq!(refused, format!("invalid slice name: {none}"));
        }
    }

    #[test]
    fn a_path_is_read_as_runc_reads_it() {
        let read = |path: &str| {
            let scope = Scope::parse(path, "0123").unwrap();
            (scope.name.clone(), scope.path().unwrap())
        };
        let expected = |name: &str, path: &str| (name.to_owned(), PathBuf::from(path));
        assert_eq!(
            read("machine.slice:libpod:abc"),
            expected("libpod-abc.scope", "/machine.slice/libpod-abc.scope")
        );
        assert_eq!(read(""), expected("runc-0123.scope", "/system.slice/runc-0123.scope"));
        assert_eq!(read(":docker:abc").1, Path::new("/system.slice/docker-abc.scope"));
        assert_eq!(
            read("user-k.slice::abc"),
            expected("abc.scope", "/user.slice/user-k.slice/abc.scope")
        );
    }

    #[test]
    fn a_path_of_another_form_is_refused() {
        let refused = |path: &str| Scope::parse(path, "0123").unwrap_err().to_string();
        assert_eq!(
            refused("/docker/0123"),
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/docker/0123\" instead"
        );
        assert_eq!(refused("machine:libpod:abc"), "invalid slice name: machine");
        assert!(refused("a.slice:b:c/d").contains("cannot be the name of a scope"));
        assert!(refused("a.slice::b.slice").contains("cannot be the name of a scope"));
    }
}
