//! What Docker's command line has stored for registries: `config.json` in `$DOCKER_CONFIG` or `~/.docker`, and the helper
//! programs that it names.
//!
//! ```text
//!   credHelpers, by registry     `docker-credential-<name> get`
//!   credsStore, for all others   likewise
//!   auths                        in the file itself
//! ```

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

/// The name under which credentials of Docker Hub are stored.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The name of a helper's user that has an identity token in the place of a password.
const TOKEN: &str = "<token>";

/// `X-Registry-Auth` for the registry of an image; nothing where nothing is stored for it. What cannot be read is told on
/// standard error and counts as nothing, as with Docker: many images are for everybody.
pub(crate) fn for_image(image: &str) -> Option<String> {
    let registry = registry_of(image);
    let found = config_dir().map_or(Ok(None), |dir| stored(&dir.join("config.json"), registry));
    found.unwrap_or_else(|error| {
        eprintln!("WARNING: the credentials for {registry} cannot be read: {error}");
        None
    })
}

fn config_dir() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let own = set("DOCKER_CONFIG").map(PathBuf::from);
    own.or_else(|| set("HOME").map(|home| Path::new(&home).join(".docker")))
}

/// A first part is a registry where it cannot be anything else.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some(("docker.io" | "index.docker.io", _)) => DOCKER_HUB,
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

fn stored(file: &Path, registry: &str) -> io::Result<Option<String>> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let config: Value = serde_json::from_slice(&bytes)?;
    let helper = config["credHelpers"][registry]
        .as_str()
        .or(config["credsStore"].as_str());
    match helper.filter(|helper| !helper.is_empty()) {
        Some(helper) => from_helper(Path::new(&format!("docker-credential-{helper}")), registry),
        None => Ok(from_file(&config["auths"], registry)),
    }
}

fn from_file(auths: &Value, registry: &str) -> Option<String> {
    let auths = auths.as_object()?;
    let by_host = || {
        auths
            .iter()
            .find(|(name, _)| host(name) == host(registry))
            .map(|(_, entry)| entry)
    };
    let entry = auths.get(registry).or_else(by_host)?;
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let decoded = STANDARD
        .decode(text("auth"))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|decoded| decoded.split_once(':')) {
        Some((username, password)) => (username, password.trim_end_matches('\0')),
        None => (text("username"), text("password")),
    };
    let is_there = !username.is_empty() || !text("identitytoken").is_empty() || !text("registrytoken").is_empty();
    is_there.then(|| {
        encoded(&json!({
            "username": username,
            "password": password,
            "identitytoken": text("identitytoken"),
            "registrytoken": text("registrytoken"),
            "serveraddress": registry,
        }))
    })
}

/// What is left of `https://host/v1/`.
fn host(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    name.split('/').next().unwrap_or(name)
}

/// Asks a helper program (docker-credential-helpers, "Development").
fn from_helper(program: &Path, registry: &str) -> io::Result<Option<String>> {
    let name = program.display();
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(registry.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("credentials not found") {
        return Ok(None);
    }
    if !output.status.success() {
        return Err(io::Error::other(format!("{name}: {}", said.trim())));
    }
    let answer: Value = serde_json::from_str(&said)?;
    let (username, secret) = (&answer["Username"], &answer["Secret"]);
    Ok(Some(if username == TOKEN {
        encoded(&json!({ "identitytoken": secret, "serveraddress": registry }))
    } else {
        encoded(&json!({ "username": username, "password": secret, "serveraddress": registry }))
    }))
}

fn encoded(credentials: &Value) -> String {
    URL_SAFE.encode(credentials.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn decoded(text: &str) -> Value {
        serde_json::from_slice(&URL_SAFE.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn a_registry_is_what_cannot_be_a_name_on_docker_hub() {
        for (image, registry) in [
            ("busybox", DOCKER_HUB),
            ("library/busybox:1", DOCKER_HUB),
            ("docker.io/library/busybox", DOCKER_HUB),
            ("localhost/a", "localhost"),
            ("ghcr.io/a/b", "ghcr.io"),
            ("reg:5000/a", "reg:5000"),
        ] {
            assert_eq!(registry_of(image), registry, "{image}");
        }
    }

    #[test]
    fn the_file_has_names_of_registries_as_hosts_or_as_urls() {
        let auths = json!({
            "https://reg.example/v1/": {"auth": STANDARD.encode("me:pa:ss")},
            "other": {"identitytoken": "t", "auth": STANDARD.encode("00000:")},
            "empty": {},
        });
        let found = decoded(&from_file(&auths, "reg.example").unwrap());
        assert_eq!(
            (&found["username"], &found["password"], &found["serveraddress"]),
            (&json!("me"), &json!("pa:ss"), &json!("reg.example"))
        );
        assert_eq!(decoded(&from_file(&auths, "other").unwrap())["identitytoken"], "t");
        assert_eq!(from_file(&auths, "empty"), None);
        assert_eq!(from_file(&auths, "nobody"), None);
        assert_eq!(from_file(&Value::Null, "nobody"), None);
    }

    #[test]
    fn helpers_tell_what_they_know() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("helper");
        let script = "#!/bin/sh\n\
            read host\n\
            case $host in\n\
            one) echo '{\"ServerURL\":\"one\",\"Username\":\"me\",\"Secret\":\"s\"}';;\n\
            token) echo '{\"ServerURL\":\"token\",\"Username\":\"<token>\",\"Secret\":\"s\"}';;\n\
            nobody) echo 'credentials not found in native keychain'; exit 1;;\n\
            *) echo 'the keychain is locked'; exit 1;;\n\
            esac\n";
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let ask = |registry: &str| from_helper(&helper, registry);
        let one = decoded(&ask("one").unwrap().unwrap());
        assert_eq!((&one["username"], &one["password"]), (&json!("me"), &json!("s")));
        let token = decoded(&ask("token").unwrap().unwrap());
        assert_eq!(
            (&token["identitytoken"], &token["username"]),
            (&json!("s"), &Value::Null)
        );
        assert_eq!(ask("nobody").unwrap(), None);
        let file = dir.path().join("config.json");
        fs::write(&file, r#"{"credsStore": "there-is-no-such-helper"}"#).unwrap();
        let error = stored(&file, "a").unwrap_err().to_string();
        assert!(
            error.starts_with("docker-credential-there-is-no-such-helper: "),
            "{error}"
        );
        assert!(
            ask("locked")
                .unwrap_err()
                .to_string()
                .contains("the keychain is locked")
        );
    }

    #[test]
    fn no_file_is_no_credentials_and_a_broken_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        assert_eq!(stored(&file, "a").unwrap(), None);
        fs::write(&file, "{").unwrap();
        assert!(stored(&file, "a").is_err());
    }
}
