//! The command line, with runc's flags.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use conex_spec::oci::CgroupDriver;

/// Options before the command.
#[derive(Debug, Clone)]
pub(crate) struct Global {
    /// Where state stands.
    pub(crate) root: PathBuf,
    /// File that errors are appended to, besides standard error.
    pub(crate) log: Option<PathBuf>,
    /// Whether the log is JSON, one object per line.
    pub(crate) json_log: bool,
    /// Whether what is done is logged as well.
    pub(crate) debug: bool,
    /// Whether control groups may be denied; `None` goes by who calls.
    pub(crate) rootless: Option<bool>,
    /// Who makes the cgroups of new containers; those that there are remember it.
    pub(crate) cgroups: CgroupDriver,
}

impl Default for Global {
    fn default() -> Self {
        Global {
            root: default_root(),
            log: None,
            json_log: false,
            debug: false,
            rootless: None,
            cgroups: CgroupDriver::Files,
        }
    }
}

/// A flag of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flag {
    /// Without a value; long name and letter.
    Switch(&'static str, Option<char>),
    /// With a value, possibly repeated.
    Value(&'static str, Option<char>),
}

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Anywhere.
    Mixed,
    /// Before the given number of positional arguments; what follows belongs to another program.
    UpTo(usize),
}

/// A command's arguments taken apart.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub(crate) positional: Vec<String>,
}

const GLOBAL: [Flag; 10] = [
    Flag::Value("root", None),
    Flag::Value("log", None),
    Flag::Value("log-format", None),
    Flag::Value("criu", None),
    Flag::Value("rootless", None),
    Flag::Switch("debug", None),
    Flag::Switch("systemd-cgroup", None),
    Flag::Switch("help", Some('h')),
    Flag::Switch("version", Some('v')),
    Flag::Switch("v", None),
];

/// Where state stands unless it is said: one who is not root has a directory of his own (`XDG_RUNTIME_DIR`).
fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    match own.filter(|_| !rustix::process::geteuid().is_root()) {
        Some(directory) => PathBuf::from(directory).join("conex-runtime"),
        None => PathBuf::from("/run/conex-runtime"),
    }
}

impl Global {
    /// Parses what stands before the command; returns it, the command and its arguments.
    pub(crate) fn parse(arguments: &[String]) -> Result<(Global, String, Vec<String>)> {
        let parsed = Parsed::parse(arguments, &GLOBAL, Order::UpTo(1))?;
        if parsed.is_set("version") || parsed.is_set("v") {
            return Ok((Global::default(), "version".to_string(), Vec::new()));
        }
        if parsed.value("criu").is_some() {
            bail!("--criu is not supported: there is no checkpoint and restore");
        }
        let rootless = match parsed.value("rootless") {
            None | Some("auto" | "") => None,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
            Some(other) => bail!("invalid value {other:?} for flag --rootless"),
        };
        let json_log = match parsed.value("log-format") {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => bail!("invalid log-format: {other:?}"),
        };
        let mut positional = parsed.positional.iter();
        let command = positional.next().cloned().unwrap_or_else(|| "help".to_string());
        let default = Global::default();
        let global = Global {
            root: parsed.value("root").map_or(default.root, PathBuf::from),
            log: parsed.value("log").map(PathBuf::from),
            json_log,
            debug: parsed.is_set("debug"),
            rootless,
            cgroups: if parsed.is_set("systemd-cgroup") {
                CgroupDriver::Systemd
            } else {
                CgroupDriver::Files
            },
        };
        Ok((global, command, positional.cloned().collect()))
    }
}

impl Parsed {
    /// Takes arguments apart. Long names are understood with one dash too, as runc's parser does.
    pub(crate) fn parse(arguments: &[String], flags: &[Flag], order: Order) -> Result<Parsed> {
        let mut parsed = Parsed::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let enough = matches!(order, Order::UpTo(count) if parsed.positional.len() >= count);
            if enough || argument == "-" || !argument.starts_with('-') {
                parsed.positional.push(argument.clone());
                continue;
            }
            if argument == "--" {
                parsed.positional.extend(rest.by_ref().cloned());
                break;
            }
            let text = argument.trim_start_matches('-');
            let (name, attached) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (text, None),
            };
            match find(flags, name).with_context(|| format!("flag provided but not defined: {argument}"))? {
                Flag::Switch(long, _) => match attached.as_deref() {
                    None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => {
                        parsed.flags.push((long, String::new()));
                    }
                    Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {}
                    Some(other) => bail!("invalid boolean value {other:?} for -{long}"),
                },
                Flag::Value(long, _) => {
                    let value = attached.or_else(|| rest.next().cloned());
                    parsed.flags.push((
                        long,
                        value.with_context(|| format!("flag needs an argument: {argument}"))?,
                    ));
                }
            }
        }
        Ok(parsed)
    }

    /// Whether a switch is set.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.flags.iter().any(|(known, _)| *known == name)
    }

    /// The last value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }

    /// All values of a flag.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The only positional argument.
    pub(crate) fn only(&self, what: &str) -> Result<&str> {
        match &self.positional[..] {
            [one] => Ok(one),
            others => bail!("exactly 1 argument ({what}) is required, {} given", others.len()),
        }
    }
}

fn find(flags: &[Flag], name: &str) -> Option<Flag> {
    flags.iter().copied().find(|flag| {
        let (Flag::Switch(long, letter) | Flag::Value(long, letter)) = flag;
        *long == name || letter.is_some_and(|letter| name.len() == 1 && name.starts_with(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn globals_end_at_the_command() {
        let (global, command, rest) =
            Global::parse(&list("--root /x --log=/l --log-format json create -b . id")).unwrap();
        assert_eq!(
            (global.root, global.log, global.json_log),
            ("/x".into(), Some("/l".into()), true)
        );
        assert_eq!((command.as_str(), rest), ("create", list("-b . id")));
    }

    #[test]
    fn the_driver_of_cgroups_is_chosen_before_the_command() {
        let driver = |line: &str| Global::parse(&list(line)).unwrap().0.cgroups;
        assert_eq!(driver("--systemd-cgroup create id"), CgroupDriver::Systemd);
        assert_eq!(driver("--systemd-cgroup=false create id"), CgroupDriver::Files);
        assert_eq!(driver("create id"), CgroupDriver::Files);
    }

    #[test]
    fn flags_of_another_program_are_its_own() {
        let flags = [Flag::Switch("tty", Some('t')), Flag::Value("env", Some('e'))];
        let parsed = Parsed::parse(&list("-t -e A=1 --env=B=2 id ls -l"), &flags, Order::UpTo(1)).unwrap();
        assert!(parsed.is_set("tty"));
        assert_eq!(parsed.values("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(parsed.positional, list("id ls -l"));
    }

    #[test]
    fn a_switch_is_true_or_false_and_nothing_else() {
        let flags = [Flag::Switch("keep", None)];
        let set = |line: &str| Parsed::parse(&list(line), &flags, Order::Mixed).map(|parsed| parsed.is_set("keep"));
        assert!(set("--keep=true").unwrap() && !set("--keep=f").unwrap());
        assert!(
            set("--keep=maybe")
                .unwrap_err()
                .to_string()
                .starts_with("invalid boolean value")
        );
    }

    #[test]
    fn what_a_global_flag_cannot_do_is_said() {
        for (line, words) in [
            ("--rootless=perhaps list", "invalid value"),
            ("--criu /bin/criu list", "is not supported"),
        ] {
            let error = Global::parse(&list(line)).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(Parsed::parse(&list("--nope"), &[], Order::Mixed).is_err());
    }
}
