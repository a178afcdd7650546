//! SELinux: contexts, and the two labels of a container, chosen by Docker's rules.
//!
//! ```text
//!   lxc_contexts   process = "system_u:system_r:container_t:s0"        file = "system_u:object_r:container_file_t:s0"
//!   categories     a pair that no other container has: c1,c2
//!   options        user:, role:, type:, level:, filetype:, disable     (--security-opt label=...)
//!   labels         system_u:system_r:container_t:s0:c1,c2              system_u:object_r:container_file_t:s0:c1,c2
//! ```

use std::fmt;

use crate::error::{Error, Result};

/// Categories that a level can have: those of the policies that distributions have (mcs(8)).
const CATEGORIES: u32 = 1024;

/// The categories of files of containers whose processes have no label; no other container has both.
const UNCONFINED: Categories = Categories(1022, 1023);

/// What a policy is called where `/etc/selinux/config` does not say (selinux_config(5)).
const DEFAULT_POLICY: &str = "targeted";

/// A security context: `user:role:type`, and `:level` where the policy has levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    user: String,
    role: String,
    kind: String,
    level: Option<String>,
}

impl Context {
    /// Reads a context; `None` where a part is missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let (user, role, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let level = parts.next();
        let is_whole = [&user, &role, &kind]
            .into_iter()
            .chain(&level)
            .all(|part| !part.is_empty());
        is_whole.then_some(Self {
            user,
            role,
            kind,
            level,
        })
    }

    /// The same with a pair of categories, where the policy has levels.
    fn with(mut self, categories: Categories) -> Self {
        if let Some(level) = &mut self.level {
            *level = categories.level();
        }
        self
    }

    /// The label of what several containers share.
    #[must_use]
    pub fn shared(mut self) -> Self {
        if let Some(level) = &mut self.level {
            "s0".clone_into(level);
        }
        self
    }

    /// The options that make another container have this context.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let mut options = vec![
            format!("user:{}", self.user),
            format!("role:{}", self.role),
            format!("type:{}", self.kind),
        ];
        options.extend(self.level.iter().map(|level| format!("level:{level}")));
        options
    }
}

impl fmt::Display for Context {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{}:{}", self.user, self.role, self.kind)?;
        match &self.level {
            Some(level) => write!(to, ":{level}"),
            None => Ok(()),
        }
    }
}

/// A pair of categories, the lower first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Categories(u32, u32);

impl Categories {
    /// The first pair from a seed on that is not taken; `None` where all are.
    pub fn pick(seed: u32, is_taken: impl Fn(Self) -> bool) -> Option<Self> {
        // Each pair has two numbers.
        let numbers = CATEGORIES * (CATEGORIES - 1);
        let begin = seed % numbers;
        let pairs = (begin..numbers).chain(0..begin).map(|number| {
            let (one, other) = (number / (CATEGORIES - 1), number % (CATEGORIES - 1));
            let other = if other < one { other } else { other + 1 };
            Self(one.min(other), one.max(other))
        });
        pairs.into_iter().find(|pair| *pair != UNCONFINED && !is_taken(*pair))
    }

    /// The pair that a label has, if it has one and nothing else.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        let level = Context::parse(label)?.level?;
        let (one, other) = level.strip_prefix("s0:")?.split_once(',')?;
        let category = |text: &str| {
            text.strip_prefix('c')?
                .parse()
                .ok()
                .filter(|number| *number < CATEGORIES)
        };
        let (one, other): (u32, u32) = (category(one)?, category(other)?);
        Some(Self(one.min(other), one.max(other)))
    }

    fn level(self) -> String {
        format!("s0:c{},c{}", self.0, self.1)
    }
}

/// The contexts of containers by the policy of the host (`contexts/lxc_contexts`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts {
    process: Context,
    file: Context,
    /// What containers may read and execute and nobody changes, if the policy has such a thing (`ro_file`).
    read_only: Option<Context>,
}

impl Contexts {
    /// Reads the file: `key = "value"` a line, comments behind `#` or `;`. Neither `process` nor `file` may be missing, nor be
    /// no context.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        let pairs = lines.filter_map(|line| line.split_once('='));
        let value = |wanted: &str| {
            let found = pairs.clone().rfind(|(key, _)| key.trim() == wanted);
            found.and_then(|(_, value)| Context::parse(value.trim().trim_matches('"')))
        };
        Some(Self {
            process: value("process")?,
            file: value("file")?,
            read_only: value("ro_file"),
        })
    }

    /// The label of layers.
    #[must_use]
    pub fn of_layers(&self) -> Option<String> {
        self.read_only.as_ref().map(ToString::to_string)
    }
}

/// The policy that `/etc/selinux/config` names (`SELINUXTYPE=`, selinux_config(5)).
#[must_use]
pub fn policy_name(config: &str) -> &str {
    let values = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("SELINUXTYPE"));
    let mut values = values.filter_map(|rest| rest.trim_start().strip_prefix('=').map(str::trim));
    values.rfind(|name| !name.is_empty()).unwrap_or(DEFAULT_POLICY)
}

/// The labels of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes; `None` for what the policy makes of them.
    pub process: Option<String>,
    /// Of its files.
    pub mount: String,
}

impl Labels {
    /// The labels of a container with these categories, by the values of its `label=` options.
    ///
    /// # Errors
    /// An option that there is not, in Docker's words.
    pub fn choose(contexts: &Contexts, categories: Categories, options: &[String]) -> Result<Self> {
        let (mut process, mut file) = (
            contexts.process.clone().with(categories),
            contexts.file.clone().with(categories),
        );
        for option in options.iter().filter(|option| *option != NESTED) {
            if option == DISABLE {
                return Ok(Self {
                    process: None,
                    mount: contexts.file.clone().with(UNCONFINED).to_string(),
                });
            }
            let pair = option.split_once(':');
            let (part, value) = pair.ok_or_else(|| Error::LabelOption { option: option.clone() })?;
            let value = value.to_owned();
            match part {
                "user" => (process.user, file.user) = (value.clone(), value),
                "role" => process.role = value,
                "type" => process.kind = value,
                "level" => (process.level, file.level) = (Some(value.clone()), Some(value)),
                "filetype" => file.kind = value,
                other => {
                    return Err(Error::LabelPart { part: other.to_owned() });
                }
            }
        }
        Ok(Self {
            process: Some(process.to_string()),
            mount: file.to_string(),
        })
    }
}

/// The option that a container's processes have no label by.
pub const DISABLE: &str = "disable";

/// The option that shows a container the kernel's files of SELinux, so that it can label files and processes itself.
pub const NESTED: &str = "nested";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "# of the policy\nprocess = \"system_u:system_r:container_t:s0\"\ncontent = \"x\"\n\
        file = \"system_u:object_r:container_file_t:s0\"\nro_file=\"system_u:object_r:container_ro_file_t:s0\"\n";

    fn chosen(options: &[&str]) -> std::result::Result<(String, String), String> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let contexts = Contexts::parse(FILE).unwrap();
        let labels = Labels::choose(&contexts, Categories(1, 2), &options);
        let labels = labels.map_err(|error| error.to_string())?;
        Ok((labels.process.unwrap_or_default(), labels.mount))
    }

    fn both(process: &str, mount: &str) -> std::result::Result<(String, String), String> {
        Ok((process.to_owned(), mount.to_owned()))
    }

    #[test]
    fn a_container_has_the_types_of_the_policy_and_a_pair_of_categories() {
        assert_eq!(
            chosen(&[]),
            both(
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2"
            )
        );
    }

    #[test]
    fn options_change_a_part_as_under_docker() {
        let mount = "system_u:object_r:container_file_t:s0:c1,c2";
        assert_eq!(
            chosen(&["type:svirt_t", "role:r", "nested"]),
            both("system_u:r:svirt_t:s0:c1,c2", mount)
        );
        assert_eq!(
            chosen(&["level:s0:c100,c200", "user:u", "filetype:f_t"]),
            both("u:system_r:container_t:s0:c100,c200", "u:object_r:f_t:s0:c100,c200")
        );
        assert_eq!(
            chosen(&["disable"]),
            both("", "system_u:object_r:container_file_t:s0:c1022,c1023")
        );
    }

    #[test]
    fn wrong_options_are_refused_in_the_words_of_docker() {
        let words = "Bad label option \"foo\", valid options 'disable' or \n'user, role, level, type, filetype' followed by \
            ':' and a value";
        assert_eq!(chosen(&["foo"]), Err(words.to_owned()));
        assert_eq!(
            chosen(&["foo:bar"]),
            Err("Bad label option \"foo\", valid options 'disable, user, role, level, type, filetype'".to_owned())
        );
    }

    #[test]
    fn a_policy_without_levels_has_no_categories() {
        let contexts = Contexts::parse("process=u:r:p\nfile=\"u:r:f\"").unwrap();
        let labels = Labels::choose(&contexts, Categories(1, 2), &[]).unwrap();
        assert_eq!(
            (labels.process.as_deref(), labels.mount.as_str()),
            (Some("u:r:p"), "u:r:f")
        );
    }

    #[test]
    fn a_file_that_names_too_little_is_none() {
        for text in [
            "",
            "process = \"a:b:c\"",
            "process = \"a:b\"\nfile = \"a:b:c\"",
            "#file=a:b:c",
        ] {
            assert_eq!(Contexts::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_context_is_handed_on_by_options() {
        let context = Context::parse("u:r:t:s0:c3,c4").unwrap();
        let options = ["user:u", "role:r", "type:t", "level:s0:c3,c4"];
        assert_eq!(context.options(), options);
        assert_eq!(chosen(&options).unwrap().0, "u:r:t:s0:c3,c4");
        assert_eq!(context.shared().to_string(), "u:r:t:s0");
    }

    #[test]
    fn the_policy_is_named_or_targeted() {
        assert_eq!(policy_name("SELINUX=enforcing\n SELINUXTYPE = mls \n"), "mls");
        assert_eq!(policy_name("#SELINUXTYPE=x\nSELINUXTYPE=\n"), "targeted");
    }

    #[test]
    fn every_pair_can_be_had_once_but_that_of_the_unconfined() {
        let taken = std::cell::RefCell::new(std::collections::HashSet::new());
        // Not all half a million: those of the last seeds, where the search begins again.
        for seed in (0..200).map(|number| u32::MAX - number * 7) {
            let pair = Categories::pick(seed, |pair| taken.borrow().contains(&pair)).unwrap();
            assert!(pair.0 < pair.1 && pair.1 < CATEGORIES && taken.borrow_mut().insert(pair));
        }
        assert_eq!(Categories::pick(0, |_| true), None);
        assert_eq!(Categories::pick(0, |pair| pair != UNCONFINED), None);
    }

    proptest! {
        #[test]
        fn a_pair_is_found_again_in_its_label(seed: u32) {
            let pair = Categories::pick(seed, |_| false).unwrap();
            let label = Context::parse("u:r:t:s0").unwrap().with(pair).to_string();
            prop_assert_eq!(Categories::of_label(&label), Some(pair));
        }

        #[test]
        fn no_text_crashes_the_parsers(text in ".*", option in ".*") {
            let _ = (Contexts::parse(&text), policy_name(&text), Categories::of_label(&text));
            if let Some(context) = Context::parse(&text) {
                prop_assert_eq!(context.to_string(), text);
            }
            let contexts = Contexts::parse(FILE).unwrap();
            let _ = Labels::choose(&contexts, Categories(1, 2), &[option]);
        }
    }
}
