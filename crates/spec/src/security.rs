//! `HostConfig.SecurityOpt`: parsed by Docker's rules.

use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::seccomp::Profile;

/// What the security options of a container say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SecurityOptions {
    /// Which system calls are let through.
    pub seccomp: SeccompChoice,
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
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

/// Parses the options. What a security module would have to enforce is passed over where the host does not have the module,
/// as Docker does, and refused where it has.
pub fn parse(options: &[String], facts: &HostFacts) -> Result<SecurityOptions> {
    let mut parsed = SecurityOptions::default();
    for option in options {
        match option.as_str() {
            "no-new-privileges" => parsed.no_new_privileges = true,
            // The old form of `label=disable`.
            "disable" => {}
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
        "apparmor" if facts.apparmor && value != "unconfined" => {
            return Err(Error::Unsupported {
                feature: format!("the AppArmor profile {value:?}"),
            });
        }
        "label" if facts.selinux && value != "disable" => {
            return Err(Error::Unsupported {
                feature: format!("the SELinux label {value:?}"),
            });
        }
        "apparmor" | "label" => {}
        _ => {
            return Err(Error::SecurityOption {
                option: option.to_string(),
            });
        }
    }
    Ok(())
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
        assert_eq!(one("label=disable").unwrap(), SecurityOptions::default());
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
    fn a_profile_of_a_module_that_the_host_lacks_is_passed_over() {
        assert!(one("apparmor=mine").is_ok());
        let facts = HostFacts {
            apparmor: true,
            ..HostFacts::default()
        };
        assert!(parse(&["apparmor=mine".to_string()], &facts).is_err());
    }
}
