//! The sockets that the API is served on.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, UnixListener};

/// Where to listen, parsed from `-H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://address:port`.
    Tcp(String),
}

impl Host {
    /// Parses one `-H`; bare paths and `tcp://` without address are taken as `dockerd` takes them.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp", address)) => {
                let address = address.trim_end_matches('/');
                match address.rsplit_once(':') {
                    Some((host, port)) if port.parse::<u16>().is_ok() => Ok(Self::Tcp(format!(
                        "{}:{port}",
                        if host.is_empty() { "127.0.0.1" } else { host }
                    ))),
                    _ => bail!("Invalid bind address format: {text}"),
                }
            }
            Some(("fd", _)) => bail!("socket activation (-H {text}) is not supported yet"),
            _ => bail!("Invalid bind address format: {text}"),
        }
    }
}

/// A bound socket.
pub(crate) enum Listener {
    /// UNIX, with the path that is removed at the end.
    Unix(UnixListener, PathBuf),
    /// TCP.
    Tcp(TcpListener),
}

/// Binds one socket. A UNIX socket that nobody listens on is replaced; one that answers is another daemon's.
pub(crate) async fn bind(host: &Host, group: Option<&str>) -> Result<Listener> {
    match host {
        Host::Unix(path) => bind_unix(path, group),
        Host::Tcp(address) => {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("listen on tcp {address}"))?;
            Ok(Listener::Tcp(listener))
        }
    }
}

fn bind_unix(path: &Path, group: Option<&str>) -> Result<Listener> {
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        if StdUnixStream::connect(path).is_ok() {
            bail!(
                "can't create unix socket {}: address already in use: another daemon answers there",
                path.display()
            );
        }
        fs::remove_file(path).with_context(|| format!("remove stale socket {}", path.display()))?;
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let listener = UnixListener::bind(path).with_context(|| format!("can't create unix socket {}", path.display()))?;
    own(path, group)?;
    Ok(Listener::Unix(listener, path.to_path_buf()))
}

/// Gives the socket to the group and nobody else. Docker's default group is `docker`, used where it exists.
fn own(path: &Path, group: Option<&str>) -> Result<()> {
    let gid = match group {
        Some(name) => Some(group_id(name)?.with_context(|| format!("group {name} not found"))?),
        None => group_id("docker")?,
    };
    if let Some(gid) = gid {
        std::os::unix::fs::chown(path, None, Some(gid)).with_context(|| format!("chown {}", path.display()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).with_context(|| format!("chmod {}", path.display()))
}

fn group_id(name: &str) -> Result<Option<u32>> {
    if let Ok(gid) = name.parse() {
        return Ok(Some(gid));
    }
    let Ok(text) = fs::read_to_string("/etc/group") else {
        return Ok(None);
    };
    let entry = text
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name));
    Ok(entry.and_then(|fields| fields.get(2)?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_parsed_as_dockerd_parses_them() {
        assert_eq!(
            Host::parse("unix:///run/x.sock").unwrap(),
            Host::Unix("/run/x.sock".into())
        );
        assert_eq!(Host::parse("tcp://:2375").unwrap(), Host::Tcp("127.0.0.1:2375".into()));
        assert_eq!(Host::parse("tcp://0.0.0.0:1/").unwrap(), Host::Tcp("0.0.0.0:1".into()));
        for wrong in ["unix://relative", "tcp://x", "/run/x.sock", "ftp://x:1", "fd://"] {
            assert!(Host::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::Unix(dir.path().join("s"));
        let first = bind(&host, Some("0")).await.unwrap();
        assert!(bind(&host, Some("0")).await.is_err());
        drop(first);
        assert!(bind(&host, Some("0")).await.is_ok());
    }
}
