//! `HostConfig.SecurityOpt`: parsed by Docker's rules.

use crate::apparmor::{DEFAULT_PROFILE, UNCONFINED};
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::seccomp::Profile;
use crate::selinux::DISABLE;

/// What the security options of a container say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SecurityOptions {
    /// Which system calls are let through.
    pub seccomp: SeccompChoice,
    /// Which profile of AppArmor confines it.
    pub apparmor: AppArmorChoice,
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
    /// Values of `label=`, which `crate::selinux` reads where there is SELinux; `disable` has an old form without `label=`.
    pub labels: Vec<String>,
    /// `writable-cgroups=true`.
    pub writable_cgroups: bool,
}

/// Which filter of system calls a container gets.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum SeccompChoice {
    /// Docker's default policy.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The client's own.
    Profile(Profile),
}

/// Which profile of AppArmor a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AppArmorChoice {
    /// The default one, or none for a privileged container.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// This one.
    Profile(String),
}

impl AppArmorChoice {
    /// The profile's name where the host has AppArmor. As under Docker, a privileged container may be confined by name.
    pub fn profile(&self, privileged: bool) -> &str {
        match self {
            AppArmorChoice::Default if privileged => UNCONFINED,
            AppArmorChoice::Default => DEFAULT_PROFILE,
            AppArmorChoice::Unconfined => UNCONFINED,
            AppArmorChoice::Profile(name) => name,
        }
    }
}

/// Parses the options. A profile of AppArmor is refused where the host has no AppArmor: Docker passes it over, and runs
/// unconfined what was to be confined.
pub fn parse(options: &[String], facts: &HostFacts) -> Result<SecurityOptions> {
    let mut parsed = SecurityOptions::default();
    for option in options {
        match option.as_str() {
            "no-new-privileges" => parsed.no_new_privileges = true,
            DISABLE => parsed.labels.push(DISABLE.to_string()),
            _ => parse_pair(option, facts, &mut parsed)?,
        }
    }
    Ok(parsed)
}

fn parse_pair(option: &str, facts: &HostFacts, parsed: &mut SecurityOptions) -> Result<()> {
    // The colon is the form of old clients.
    let Some((name, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
        return Err(Error::SecurityOptionForm {
            option: option.to_string(),
        });
    };
    match name {
        "seccomp" => parsed.seccomp = seccomp_choice(value)?,
        "no-new-privileges" => parsed.no_new_privileges = parse_bool(option, value)?,
        "writable-cgroups" => parsed.writable_cgroups = parse_bool(option, value)?,
        "apparmor" => parsed.apparmor = apparmor_choice(value, facts)?,
        "label" => parsed.labels.push(value.to_string()),
        _ => {
            return Err(Error::SecurityOption {
                option: option.to_string(),
            });
        }
    }
    Ok(())
}

fn apparmor_choice(value: &str, facts: &HostFacts) -> Result<AppArmorChoice> {
    match value {
        "" => Ok(AppArmorChoice::Default),
        UNCONFINED => Ok(AppArmorChoice::Unconfined),
        profile if facts.apparmor => Ok(AppArmorChoice::Profile(profile.to_string())),
        profile => Err(Error::NoAppArmor {
            profile: profile.to_string(),
        }),
    }
}

fn seccomp_choice(value: &str) -> Result<SeccompChoice> {
    match value {
        "unconfined" => Ok(SeccompChoice::Unconfined),
        "" | "builtin" => Ok(SeccompChoice::Default),
        json => {
            let profile = Profile::parse(json)?;
            if profile.notifies() {
                return Err(Error::Unsupported {
                    feature: "the seccomp action SCMP_ACT_NOTIFY".to_string(),
                });
            }
            Ok(SeccompChoice::Profile(profile))
        }
    }
}

/// The spellings of Go's `strconv.ParseBool`, which clients rely on.
fn parse_bool(option: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::SecurityOption {
            option: option.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(option: &str) -> Result<SecurityOptions> {
        parse(&[option.to_string()], &HostFacts::default())
    }

    #[test]
    fn the_forms_of_old_and_new_clients_are_understood() {
        assert!(one("no-new-privileges").unwrap().no_new_privileges);
        assert!(one("no-new-privileges:true").unwrap().no_new_privileges);
        assert!(!one("no-new-privileges=false").unwrap().no_new_privileges);
        assert_eq!(one("seccomp:unconfined").unwrap().seccomp, SeccompChoice::Unconfined);
        assert_eq!(one("seccomp=builtin").unwrap().seccomp, SeccompChoice::Default);
        for disabled in ["disable", "label=disable", "label:disable"] {
            assert_eq!(one(disabled).unwrap().labels, ["disable"]);
        }
        assert_eq!(one("label=level:s0:c1,c2").unwrap().labels, ["level:s0:c1,c2"]);
    }

    #[test]
    fn wrong_options_are_refused_in_the_words_of_docker() {
        assert_eq!(one("foo").unwrap_err().to_string(), "invalid --security-opt 1: \"foo\"");
        assert_eq!(
            one("foo=bar").unwrap_err().to_string(),
            "invalid --security-opt 2: \"foo=bar\""
        );
        assert!(
            one("seccomp={")
                .unwrap_err()
                .to_string()
                .starts_with("decoding seccomp profile failed: ")
        );
    }

    #[test]
    fn a_profile_of_apparmor_is_chosen_by_name() {
        let facts = HostFacts {
            apparmor: true,
            ..HostFacts::default()
        };
        let profile = |options: &[&str], privileged| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_string()).collect();
            let parsed = parse(&options, &facts).unwrap();
            parsed.apparmor.profile(privileged).to_string()
        };
        assert_eq!(profile(&[], false), "docker-default");
        assert_eq!(profile(&["apparmor="], false), "docker-default");
        assert_eq!(profile(&["apparmor=unconfined"], false), "unconfined");
        assert_eq!(profile(&["apparmor:mine"], false), "mine");
        assert_eq!(profile(&["apparmor=mine", "apparmor=other"], false), "other");
        assert_eq!(profile(&[], true), "unconfined");
        assert_eq!(profile(&["apparmor=mine"], true), "mine");
    }

    #[test]
    fn who_is_to_be_confined_does_not_run_where_nothing_confines() {
        assert_eq!(
            one("apparmor=mine").unwrap_err().to_string(),
            "the AppArmor profile \"mine\" cannot be applied: AppArmor is not enabled on this host"
        );
        assert!(one("apparmor=docker-default").is_err());
        assert!(one("apparmor=unconfined").is_ok());
        assert!(one("apparmor=").is_ok());
    }
}
