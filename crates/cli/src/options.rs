//! The command line.

use clap::Parser;

use crate::commands::Command;

/// A container engine that takes Docker's place.
#[derive(Debug, Parser)]
#[command(name = "conex", version, about, disable_help_subcommand = true)]
pub(crate) struct Options {
    /// Daemon socket: unix:///path or tcp://address:port [default: $CONEX_HOST, $DOCKER_HOST, unix:///run/conex.sock]
    #[arg(short = 'H', long, global = true, value_name = "HOST")]
    pub(crate) host: Option<String>,

    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_two_flags_of_a_command_are_the_same() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_help_of_a_verb_says_what_the_list_of_verbs_says_and_its_flags() {
        let help = |line: &[&str]| Options::try_parse_from(line).unwrap_err().to_string();
        let words = "Create a container from an image and run it";
        assert!(help(&["conex", "--help"]).contains(words));
        let of_run = help(&["conex", "run", "--help"]);
        assert!(of_run.starts_with(words), "{of_run}");
        assert!(of_run.contains("--detach-keys"), "{of_run}");
        assert!(of_run.contains("--host"), "{of_run}");
        let of_system = help(&["conex", "system", "--help"]);
        assert!(of_system.contains("Look for damage"), "{of_system}");
    }

    #[test]
    fn the_host_may_stand_before_or_after_the_verb() {
        for line in [["conex", "-H", "unix:///x", "ps"], ["conex", "ps", "-H", "unix:///x"]] {
            assert_eq!(
                Options::try_parse_from(line).unwrap().host.as_deref(),
                Some("unix:///x")
            );
        }
    }
}
