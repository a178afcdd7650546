//! Where a container's output is kept, how much of it, and what its entries say of the container.
//!
//! Drivers and options have Docker's names; so have the words of refusals, which come at the creation and not, as some of
//! Docker's, at the first start.

mod remote;
mod tag;

use std::collections::BTreeMap;

use conex_api_types::LogConfig;
use conex_units::size;
use regex_lite::Regex;

use crate::config::Config;
use crate::invalid::Invalid;
pub use remote::{Address, Compression, Fluentd, Form, Format, Gelf, Remote, Splunk, Syslog, Tls};
use tag::Tag;
pub use tag::TagFacts;

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Files of JSON lines, as Docker writes them.
    JsonFile,
    /// Files that only the engine reads.
    Local,
    /// Nowhere.
    None,
    /// To a receiver elsewhere, by way of files that only the engine reads.
    Remote,
}

/// How output is kept.
#[derive(Debug, Clone)]
pub struct Logging {
    /// Where it goes.
    pub driver: Driver,
    /// Bytes of a file; `None` where it has no bound.
    pub max_size: Option<u64>,
    /// Files that are kept.
    pub max_files: u32,
    /// Whether older files are compressed.
    pub compress: bool,
    /// Who gets it, where it goes elsewhere.
    pub remote: Option<Remote>,
    /// Whether the container waits where the receiver elsewhere is so far behind that the files are full.
    pub awaits_receiver: bool,
    /// Whether clients can read it.
    pub is_readable: bool,
    labels: Choice,
    env: Choice,
    tag: Option<Tag>,
}

/// Which labels or variables stand in the entries.
#[derive(Debug, Clone, Default)]
struct Choice {
    names: Vec<String>,
    pattern: Option<Regex>,
}

/// Bytes of a file where nobody says how many.
const MAX_SIZE: u64 = 20_000_000;

/// Files where nobody says how many.
const MAX_FILES: u32 = 5;

/// Options that every driver has.
const COMMON: [&str; 6] = [
    "cache-compress",
    "cache-disabled",
    "cache-max-file",
    "cache-max-size",
    "max-buffer-size",
    "mode",
];

/// Options of `json-file` besides.
const JSON_FILE: [&str; 8] = [
    "compress",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-file",
    "max-size",
    "tag",
];

/// Options of `local` besides.
const LOCAL: [&str; 3] = ["compress", "max-file", "max-size"];

/// Drivers of Docker's for services of one vendor, and for Windows.
const ELSEWHERE: [&str; 3] = ["awslogs", "etwlogs", "gcplogs"];

/// The tag of entries that go elsewhere, where none is named.
const REMOTE_TAG: &str = "{{.ID}}";

impl Logging {
    /// What a configuration means; that of the daemon's default where it names no driver.
    pub fn of(config: &LogConfig) -> Result<Self, Invalid> {
        let driver = match config.kind.as_str() {
            "" | "json-file" => Driver::JsonFile,
            "local" => Driver::Local,
            "none" => Driver::None,
            "fluentd" | "gelf" | "journald" | "splunk" | "syslog" => Driver::Remote,
            other if ELSEWHERE.contains(&other) => {
                return Err(Invalid::Unsupported {
                    field: "LogConfig.Type",
                    what: format!("the log driver {other}"),
                });
            }
            other => {
                return Err(Invalid::Field(format!(
                    "error looking up logging plugin {other}: plugin {other:?} not found"
                )));
            }
        };
        let options = Options(&config.config);
        options.check_common()?;
        match driver {
            Driver::JsonFile => options.refuse_others(&JSON_FILE, "json-file log driver")?,
            Driver::Local => options.refuse_others(&LOCAL, "log driver local")?,
            Driver::None => options.refuse_others(&[], "none log driver")?,
            Driver::Remote => options.refuse_others(of_remote(&config.kind), &format!("{} log driver", config.kind))?,
        }
        let max_size = options.max_size(driver)?;
        let remote = match driver {
            Driver::Remote => Some(match config.kind.as_str() {
                "fluentd" => Remote::Fluentd(Fluentd::of(&options)?),
                "gelf" => Remote::Gelf(Gelf::of(&options)?),
                "journald" => Remote::journald(),
                "splunk" => Remote::Splunk(Splunk::of(&options)?),
                _ => Remote::Syslog(Syslog::of(&options)?),
            }),
            _ => None,
        };
        Ok(Self {
            driver,
            max_files: options.max_files(driver)?,
            compress: match driver {
                Driver::Remote => options.get("cache-compress").and_then(flag) == Some(true),
                _ => options.flag("compress", driver)?.unwrap_or(driver == Driver::Local),
            },
            max_size,
            // Where nobody says how, a receiver does not stop a container.
            awaits_receiver: driver == Driver::Remote && options.get("mode") == Some("blocking"),
            is_readable: match driver {
                Driver::JsonFile | Driver::Local => true,
                Driver::Remote => options.get("cache-disabled").and_then(flag) != Some(true),
                Driver::None => false,
            },
            remote,
            labels: options.choice("labels")?,
            env: options.choice("env")?,
            tag: options.get("tag").map(Tag::parse).transpose()?,
        })
    }

    /// The name under which entries of a container go elsewhere.
    pub fn remote_tag(&self, facts: &TagFacts) -> String {
        let usual = Tag::parse(REMOTE_TAG).map(|tag| tag.of(facts)).unwrap_or_default();
        self.tag.as_ref().map_or(usual, |tag| tag.of(facts))
    }

    /// What each entry of a container says of it: chosen labels, chosen variables and the tag.
    pub fn attributes(&self, config: &Config, facts: &TagFacts) -> BTreeMap<String, String> {
        let labels = config
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut attributes: BTreeMap<String, String> = self.labels.among(labels).collect();
        let env = config.env.iter().filter_map(|entry| entry.split_once('='));
        attributes.extend(self.env.among(env));
        let tag = self.tag.as_ref().map(|tag| tag.of(facts)).filter(|tag| !tag.is_empty());
        attributes.extend(tag.map(|tag| ("tag".to_owned(), tag)));
        attributes
    }
}

/// Options of a driver that sends entries elsewhere, besides those of all.
fn of_remote(kind: &str) -> &'static [&'static str] {
    match kind {
        "fluentd" => &remote::fluentd::OPTIONS,
        "gelf" => &remote::gelf::OPTIONS,
        "journald" => &remote::journald::OPTIONS,
        "splunk" => &remote::splunk::OPTIONS,
        _ => &remote::syslog::OPTIONS,
    }
}

impl Choice {
    fn among<'a>(
        &'a self,
        all: impl Iterator<Item = (&'a str, &'a str)> + 'a,
    ) -> impl Iterator<Item = (String, String)> + 'a {
        let is_chosen = |name: &str| {
            let matches = |pattern: &Regex| pattern.is_match(name);
            self.names.iter().any(|chosen| chosen == name) || self.pattern.as_ref().is_some_and(matches)
        };
        all.filter(move |(name, _)| is_chosen(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

/// The options of a configuration.
struct Options<'a>(&'a BTreeMap<String, String>);

impl Options<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn refuse_others(&self, known: &[&str], of: &str) -> Result<(), Invalid> {
        let is_known = |option: &&String| known.contains(&option.as_str()) || COMMON.contains(&option.as_str());
        match self.0.keys().find(|option| !is_known(option)) {
            Some(option) => Err(Invalid::Field(format!("unknown log opt '{option}' for {of}"))),
            None => Ok(()),
        }
    }

    /// What each driver has. Entries are written to files of this host in either mode, so that no buffer has to be bounded;
    /// a cache is for drivers that send them elsewhere.
    fn check_common(&self) -> Result<(), Invalid> {
        let mode = self.get("mode").unwrap_or_default();
        if !matches!(mode, "" | "blocking" | "non-blocking") {
            return Err(Invalid::Field(format!("logger: logging mode not supported: {mode}")));
        }
        if let Some(text) = self.get("max-buffer-size") {
            if mode != "non-blocking" {
                return Err(Invalid::field(
                    "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
                ));
            }
            size::binary(text).ok_or_else(|| {
                Invalid::Field(format!("error parsing option max-buffer-size: invalid size: '{text}'"))
            })?;
        }
        for name in ["cache-disabled", "cache-compress"] {
            if let Some(text) = self.get(name)
                && flag(text).is_none()
            {
                return Err(Invalid::Field(format!("invalid value for option {name}: {text}")));
            }
        }
        for (name, is_right) in [
            (
                "cache-max-size",
                self.get("cache-max-size")
                    .is_none_or(|text| size::binary(text).is_some()),
            ),
            (
                "cache-max-file",
                self.get("cache-max-file")
                    .is_none_or(|text| text.parse::<u32>().is_ok()),
            ),
        ] {
            if !is_right {
                let text = self.get(name).unwrap_or_default();
                return Err(Invalid::Field(format!("invalid value for option {name}: {text}")));
            }
        }
        Ok(())
    }

    fn max_size(&self, driver: Driver) -> Result<Option<u64>, Invalid> {
        if driver == Driver::Remote {
            return Ok(Some(
                self.get("cache-max-size").and_then(size::binary).unwrap_or(MAX_SIZE),
            ));
        }
        let Some(text) = self.get("max-size") else {
            return Ok(Some(MAX_SIZE));
        };
        if text == "-1" {
            return Ok(None);
        }
        let (parsed, within) = match driver {
            Driver::Local => (size::binary(text), format!("invalid value for max-size: {text}: ")),
            _ => (size::decimal(text), String::new()),
        };
        match parsed {
            Some(0) => Err(Invalid::Field(format!("{within}max-size must be a positive number"))),
            Some(bytes) => Ok(Some(bytes)),
            None => Err(Invalid::Field(format!("{within}invalid size: '{text}'"))),
        }
    }

    /// As in Docker, a size alone is that of one file.
    fn max_files(&self, driver: Driver) -> Result<u32, Invalid> {
        if driver == Driver::Remote {
            let files = self.get("cache-max-file").and_then(|text| text.parse().ok());
            return Ok(files.unwrap_or(MAX_FILES));
        }
        let Some(text) = self.get("max-file") else {
            let is_alone = driver == Driver::JsonFile && self.get("max-size").is_some();
            return Ok(if is_alone { 1 } else { MAX_FILES });
        };
        let within = match driver {
            Driver::Local => format!("invalid value for max-file: {text}: "),
            _ => String::new(),
        };
        match text.parse::<i64>() {
            Ok(number) if number < 1 => Err(Invalid::Field(format!("{within}max-file cannot be less than 1"))),
            Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
            Err(_) => Err(Invalid::Field(format!(
                "{within}strconv.Atoi: parsing {text:?}: invalid syntax"
            ))),
        }
    }

    fn flag(&self, name: &str, driver: Driver) -> Result<Option<bool>, Invalid> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let within = match driver {
            Driver::Local => format!("invalid value for {name}: {text}: "),
            _ => String::new(),
        };
        let words = || Invalid::Field(format!("{within}strconv.ParseBool: parsing {text:?}: invalid syntax"));
        flag(text).ok_or_else(words).map(Some)
    }

    fn choice(&self, name: &str) -> Result<Choice, Invalid> {
        let names = self.get(name).unwrap_or_default().split(',');
        let pattern = self.get(&format!("{name}-regex")).filter(|pattern| !pattern.is_empty());
        let pattern = pattern.map(|pattern| {
            Regex::new(pattern).map_err(|error| Invalid::Field(format!("error parsing regexp: {error}: `{pattern}`")))
        });
        Ok(Choice {
            names: names.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            pattern: pattern.transpose()?,
        })
    }
}

/// A flag as Go reads one (`strconv.ParseBool`).
fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Fills in what a client leaves to the daemon: the driver, and options of the daemon's where it is the same.
pub fn fill_in(own: &mut LogConfig, default: &LogConfig) {
    if own.kind.is_empty() {
        own.kind.clone_from(&default.kind);
    }
    if own.kind == default.kind {
        for (option, value) in &default.config {
            own.config.entry(option.clone()).or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn config(kind: &str, options: &[(&str, &str)]) -> LogConfig {
        LogConfig {
            kind: kind.to_owned(),
            config: options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn bounds(kind: &str, options: &[(&str, &str)]) -> (Option<u64>, u32, bool) {
        let logging = Logging::of(&config(kind, options)).unwrap();
        (logging.max_size, logging.max_files, logging.compress)
    }

    #[test]
    fn logs_are_bounded_where_nobody_says_otherwise() {
        assert_eq!(bounds("", &[]), (Some(20_000_000), 5, false));
        assert_eq!(
            bounds("json-file", &[("max-size", "10m")]),
            (Some(10_000_000), 1, false)
        );
        assert_eq!(bounds("json-file", &[("max-file", "2")]), (Some(20_000_000), 2, false));
        assert_eq!(bounds("json-file", &[("max-size", "-1")]).0, None);
        let whole = [("max-size", "1.5kb"), ("max-file", "9"), ("compress", "true")];
        assert_eq!(bounds("json-file", &whole), (Some(1500), 9, true));
        assert_eq!(bounds("local", &[("max-size", "1m")]), (Some(1 << 20), 5, true));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a flat table")]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let refusal =
            |kind: &str, options: &[(&str, &str)]| Logging::of(&config(kind, options)).unwrap_err().to_string();
        for (kind, options, words) in [
            ("json-file", [("max-size", "x")], "invalid size: 'x'"),
            ("json-file", [("max-size", "0")], "max-size must be a positive number"),
            ("json-file", [("max-file", "0")], "max-file cannot be less than 1"),
            (
                "json-file",
                [("max-file", "x")],
                r#"strconv.Atoi: parsing "x": invalid syntax"#,
            ),
            (
                "json-file",
                [("compress", "x")],
                r#"strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
            (
                "json-file",
                [("nosuch", "x")],
                "unknown log opt 'nosuch' for json-file log driver",
            ),
            ("json-file", [("mode", "x")], "logger: logging mode not supported: x"),
            (
                "json-file",
                [("max-buffer-size", "1m")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                [("cache-disabled", "x")],
                "invalid value for option cache-disabled: x",
            ),
            ("local", [("tag", "x")], "unknown log opt 'tag' for log driver local"),
            (
                "local",
                [("max-size", "x")],
                "invalid value for max-size: x: invalid size: 'x'",
            ),
            (
                "none",
                [("max-size", "1")],
                "unknown log opt 'max-size' for none log driver",
            ),
            (
                "nosuch",
                [("a", "b")],
                r#"error looking up logging plugin nosuch: plugin "nosuch" not found"#,
            ),
        ] {
            assert_eq!(refusal(kind, &options), words);
        }
        let options = [("mode", "non-blocking"), ("max-buffer-size", "x")];
        assert_eq!(
            refusal("json-file", &options),
            "error parsing option max-buffer-size: invalid size: 'x'"
        );
        assert!(refusal("json-file", &[("labels-regex", "(")]).starts_with("error parsing regexp: "));
        assert!(refusal("awslogs", &[]).contains("awslogs"));
        assert_eq!(
            refusal("syslog", &[("nosuch", "x")]),
            "unknown log opt 'nosuch' for syslog log driver"
        );
    }

    #[test]
    fn entries_say_what_is_chosen_of_labels_and_variables() {
        let options = [
            ("labels", "a,nosuch"),
            ("labels-regex", "^com\\."),
            ("env", "B"),
            ("env-regex", "X$"),
            ("tag", "{{.Name}}"),
        ];
        let logging = Logging::of(&config("json-file", &options)).unwrap();
        let pairs = |pairs: &[(&str, &str)]| config("", pairs).config;
        let container = Config {
            labels: pairs(&[("a", "1"), ("b", "2"), ("com.x", "3")]),
            env: vec!["B=4=5".into(), "C=6".into(), "MAX=7".into(), "BARE".into()],
            ..Config::default()
        };
        let facts = TagFacts {
            name: "box".into(),
            ..TagFacts::default()
        };
        assert_eq!(
            logging.attributes(&container, &facts),
            pairs(&[("B", "4=5"), ("MAX", "7"), ("a", "1"), ("com.x", "3"), ("tag", "box")])
        );
    }

    #[test]
    fn what_is_kept_here_can_be_read_and_a_cache_unless_it_is_not_wanted() {
        let readable = |kind: &str, options: &[(&str, &str)]| Logging::of(&config(kind, options)).unwrap().is_readable;
        let disabled = [("cache-disabled", "true")];
        assert!(readable("json-file", &disabled) && readable("local", &disabled));
        assert!(readable("syslog", &[]) && !readable("syslog", &disabled) && !readable("none", &[]));
    }

    #[test]
    fn the_daemons_options_are_for_its_own_driver() {
        let default = config("json-file", &[("max-size", "1m"), ("max-file", "2")]);
        let filled = |mut own: LogConfig| {
            fill_in(&mut own, &default);
            own
        };
        assert_eq!(filled(config("", &[])), default);
        assert_eq!(
            filled(config("json-file", &[("max-size", "3m")])),
            config("json-file", &[("max-size", "3m"), ("max-file", "2")])
        );
        assert_eq!(filled(config("local", &[])), config("local", &[]));
    }
}
