//! What the image says where the client says nothing.

use std::collections::BTreeMap;

use conex_api_types::HealthConfig;

use crate::config::Config;
use crate::health;
use crate::invalid::Invalid;
use crate::mounts::clean;

/// The part of an image's configuration that containers inherit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageDefaults {
    /// Program.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments.
    pub cmd: Option<Vec<String>>,
    /// Environment.
    pub env: Vec<String>,
    /// User.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal of `stop`.
    pub stop_signal: String,
    /// Seconds of `stop`.
    pub stop_timeout: Option<i64>,
    /// Ports.
    pub exposed_ports: Vec<String>,
    /// Paths of volumes.
    pub volumes: Vec<String>,
    /// Health check.
    pub healthcheck: Option<HealthConfig>,
}

impl Config {
    /// Fills in the image's defaults. An entrypoint of the client's takes the image's command away with the image's
    /// entrypoint, as in Docker.
    pub fn merge(&mut self, image: ImageDefaults) -> Result<(), Invalid> {
        if self.entrypoint.as_ref().is_none_or(Vec::is_empty) && self.cmd.is_none() {
            self.cmd = image.cmd.filter(|parts| !parts.is_empty());
        }
        if self.entrypoint.is_none() {
            self.entrypoint = image.entrypoint.filter(|parts| !parts.is_empty());
        }
        // `--entrypoint ""` clears the image's.
        if self
            .entrypoint
            .as_ref()
            .is_some_and(|parts| parts.len() == 1 && parts[0].is_empty())
        {
            self.entrypoint = None;
        }
        if self.argv().is_empty() {
            return Err(Invalid::NoCommand);
        }
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let own = std::mem::take(&mut self.env);
        let replaced = |entry: &String| own.iter().any(|own| name(own) == name(entry));
        let inherited: Vec<String> = image.env.into_iter().filter(|entry| !replaced(entry)).collect();
        // A name without a value takes the image's away.
        self.env = own.into_iter().chain(inherited).collect();
        if self.user.is_empty() {
            self.user = image.user;
        }
        if self.working_dir.is_empty() {
            self.working_dir = image.working_dir;
        }
        if !self.working_dir.is_empty() {
            self.working_dir = clean(&self.working_dir);
        }
        for (label, value) in image.labels {
            self.labels.entry(label).or_insert(value);
        }
        if self.stop_signal.is_none() {
            self.stop_signal = Some(image.stop_signal).filter(|signal| !signal.is_empty());
        }
        self.stop_timeout = self.stop_timeout.or(image.stop_timeout);
        self.exposed_ports.extend(image.exposed_ports);
        self.volumes.extend(image.volumes);
        health::inherit(&mut self.healthcheck, image.healthcheck);
        health::check_label(self)?;
        self.mount_declared_volumes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split(' ').map(str::to_owned).collect())
    }

    fn image() -> ImageDefaults {
        ImageDefaults {
            entrypoint: words("/entry"),
            cmd: words("default args"),
            env: vec!["A=image".into(), "B=image".into()],
            user: "worker".into(),
            ..ImageDefaults::default()
        }
    }

    fn merged(config: Config) -> Config {
        let mut config = config;
        config.merge(image()).unwrap();
        config
    }

    #[test]
    fn the_image_says_what_the_client_does_not() {
        let config = merged(Config::default());
        assert_eq!(config.argv(), ["/entry", "default", "args"]);
        assert_eq!(config.user, "worker");
    }

    #[test]
    fn arguments_replace_the_command_only() {
        assert_eq!(
            merged(Config {
                cmd: words("mine"),
                ..Config::default()
            })
            .argv(),
            ["/entry", "mine"]
        );
    }

    #[test]
    fn an_entrypoint_replaces_both() {
        assert_eq!(
            merged(Config {
                entrypoint: words("/mine"),
                ..Config::default()
            })
            .argv(),
            ["/mine"]
        );
        let cleared = Config {
            entrypoint: Some(vec![String::new()]),
            cmd: words("sh"),
            ..Config::default()
        };
        assert_eq!(merged(cleared).argv(), ["sh"]);
    }

    #[test]
    fn the_clients_variables_win_and_one_without_value_goes() {
        let config = merged(Config {
            env: vec!["A=mine".into(), "B".into()],
            ..Config::default()
        });
        assert_eq!(config.env, ["A=mine", "B"]);
    }

    #[test]
    fn nothing_to_run_is_refused() {
        assert_eq!(
            Config::default().merge(ImageDefaults::default()),
            Err(Invalid::NoCommand)
        );
    }
}
