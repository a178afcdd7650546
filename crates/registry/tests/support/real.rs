//! Debian's `docker-registry` on a free loopback port, storing in a directory of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::image::Pusher;
use super::tokens::TokenServer;

/// How the registry is asked for credentials.
pub(crate) enum Access<'a> {
    Open,
    /// One account, by htpasswd(1).
    Basic {
        username: &'a str,
        password: &'a str,
    },
    /// Tokens of this server.
    Bearer(&'a TokenServer),
}

/// How it is reached.
pub(crate) enum Protocol<'a> {
    Http,
    /// With this certificate and key, files in PEM.
    Https {
        certificate: &'a Path,
        key: &'a Path,
        /// Where clients have to show a certificate: authorities that it may be of.
        clients: Option<&'a Path>,
    },
}

/// The running registry; it ends, and its storage goes, when dropped.
pub(crate) struct RealRegistry {
    pub(crate) address: SocketAddr,
    child: Child,
    directory: PathBuf,
}

impl RealRegistry {
    /// Starts it in `directory`, which it makes, and waits until it answers.
    pub(crate) fn start(directory: &Path, access: &Access<'_>, protocol: &Protocol<'_>) -> Self {
        fs::create_dir_all(directory).unwrap();
        // Somebody else may take the port between our look and the registry's bind: then another one is tried.
        (0..5)
            .find_map(|_| Self::try_start(directory, access, protocol))
            .unwrap_or_else(|| panic!("docker-registry did not start: {}", log(directory)))
    }

    fn try_start(directory: &Path, access: &Access<'_>, protocol: &Protocol<'_>) -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = directory.join("config.yml");
        fs::write(&config, configuration(directory, address, access, protocol)).unwrap();
        let output = fs::File::create(directory.join("log")).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry (Debian package docker-registry) is needed: {error}"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            if TcpStream::connect(address).is_ok() {
                return Some(Self {
                    address,
                    child,
                    directory: directory.to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        end(&mut child);
        None
    }

    /// `127.0.0.1:port`, the domain of its images.
    pub(crate) fn domain(&self) -> String {
        self.address.to_string()
    }

    /// For uploads to a repository.
    pub(crate) fn pusher<'a>(&self, repository: &'a str, authorization: Option<&'a str>) -> Pusher<'a> {
        Pusher {
            address: self.address,
            repository,
            authorization,
        }
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        end(&mut self.child);
        // Only a test's scratch directory is lost if it stays.
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}

fn configuration(directory: &Path, address: SocketAddr, access: &Access<'_>, protocol: &Protocol<'_>) -> String {
    let storage = directory.join("storage");
    let mut text = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: {address}\n  secret: s\n",
        storage.display()
    );
    if let Protocol::Https {
        certificate,
        key,
        clients,
    } = protocol
    {
        text.push_str(&format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            certificate.display(),
            key.display()
        ));
        if let Some(clients) = clients {
            text.push_str(&format!("    clientcas: [{}]\n", clients.display()));
        }
    }
    match access {
        Access::Open => {}
        Access::Basic { username, password } => {
            let path = directory.join("htpasswd");
            fs::write(&path, htpasswd(username, password)).unwrap();
            text.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                path.display()
            ));
        }
        Access::Bearer(server) => {
            text.push_str(&format!(
                "auth:\n  token:\n    realm: {}\n    service: {}\n    issuer: {}\n    rootcertbundle: {}\n",
                server.realm(),
                server.service(),
                server.issuer(),
                server.certificate().display()
            ));
        }
    }
    text
}

fn htpasswd(username: &str, password: &str) -> String {
    let output = Command::new("htpasswd")
        .args(["-nbB", "-C", "4", username, password])
        .output()
        .unwrap_or_else(|error| panic!("htpasswd (Debian package apache2-utils) is needed: {error}"));
    assert!(
        output.status.success(),
        "htpasswd: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
