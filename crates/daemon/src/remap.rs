//! `userns-remap`: from a user and a group of the host to the ids that containers have there (subuid(5), subgid(5)).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use conex_engine::{IdMap, IdRange};

/// The user that `default` means, as in Docker.
const DEFAULT: &str = "dockremap";

/// Most lines of `uid_map` that the kernel takes (user_namespaces(7)).
const MOST_RANGES: usize = 340;

/// Where users, groups and their subordinate ids stand: `/etc`.
#[derive(Debug, Clone)]
pub(crate) struct Accounts(PathBuf);

impl Accounts {
    /// Those of the host.
    pub(crate) fn of_host() -> Self {
        Self(PathBuf::from("/etc"))
    }

    /// The ids that `user[:group]` has for containers, each a name or a number; `None` for root, who cannot be mapped to
    /// himself. The group is looked up and has no part in the map: subordinate groups, too, are the user's.
    ///
    /// # Errors
    /// In Docker's words: nobody of that name, no ranges, or ranges that make no map.
    pub(crate) fn map_of(&self, specification: &str) -> Result<Option<IdMap>> {
        let parts: Vec<&str> = specification.split(':').collect();
        let (user, group) = match parts[..] {
            [user] => (user, None),
            [user, group] => (user, Some(group)),
            _ => bail!("Invalid user/group specification in --userns-remap: {specification:?}"),
        };
        let (name, uid) = self.user(user)?;
        match group {
            Some(group) => self.group(group)?,
            None if user.parse::<u32>().is_ok() => self.group(user)?,
            None => self.named_group(&name)?,
        }
        if name == "root" {
            return Ok(None);
        }
        Ok(Some(IdMap {
            users: self.ranges("subuid", &name, uid)?,
            groups: self.ranges("subgid", &name, uid)?,
        }))
    }

    /// The ids that are there to be allotted, which are those of a user that need not exist; `None` where it has none, or
    /// none that make sense.
    pub(crate) fn pool_of(&self, name: &str) -> Option<IdMap> {
        let number = self.find("passwd", |entry, _| entry == name).ok().flatten();
        let uid = number.map_or(u32::MAX, |(_, uid)| uid);
        Some(IdMap {
            users: self.ranges("subuid", name, uid).ok()?,
            groups: self.ranges("subgid", name, uid).ok()?,
        })
    }

    /// Name and id of a user.
    fn user(&self, text: &str) -> Result<(String, u32)> {
        if let Ok(uid) = text.parse::<u32>() {
            let found = self.find("passwd", |_, id| id == uid)?;
            return found
                .with_context(|| format!("Uid {uid} has no entry in /etc/passwd: no matching entries in passwd file"));
        }
        let name = if text == "default" { DEFAULT } else { text };
        let found = self.find("passwd", |entry, _| entry == name)?;
        found.with_context(|| match text {
            "default" => format!(
                "userns-remap \"default\": there is no user {DEFAULT:?}; make one (useradd --system {DEFAULT}) and give it \
                 ranges in /etc/subuid and /etc/subgid"
            ),
            _ => format!("Error during uid lookup for {name:?}: no matching entries in passwd file"),
        })
    }

    fn group(&self, text: &str) -> Result<()> {
        let Ok(gid) = text.parse::<u32>() else {
            let found = self.find("group", |entry, _| entry == text)?;
            let words = || format!("Error during groupname lookup for {text:?}: no matching entries in group file");
            return found.map(drop).with_context(words);
        };
        let found = self.find("group", |_, id| id == gid)?;
        let words = || format!("Gid {gid} has no entry in /etc/group: no matching entries in group file");
        found.map(drop).with_context(words)
    }

    /// The group that is called as the user is.
    fn named_group(&self, name: &str) -> Result<()> {
        let found = self.find("group", |entry, _| entry == name)?;
        let words = || format!("Error during gid lookup for {name:?}: no matching entries in group file");
        found.map(drop).with_context(words)
    }

    /// The first entry of a file with names in the first and ids in the third field (passwd(5), group(5)).
    fn find(&self, file: &str, wanted: impl Fn(&str, u32) -> bool) -> Result<Option<(String, u32)>> {
        let text = read(&self.0.join(file))?;
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            Some((name.to_owned(), id))
        };
        Ok(text.lines().filter_map(entry).find(|(name, id)| wanted(name, *id)))
    }

    /// A user's ranges, one behind the other in the namespace, in the order of the file.
    fn ranges(&self, file: &str, name: &str, uid: u32) -> Result<Vec<IdRange>> {
        let path = self.0.join(file);
        let (text, uid) = (read(&path)?, uid.to_string());
        let mut ranges: Vec<IdRange> = Vec::new();
        let mut inside = 0_u32;
        for line in text.lines() {
            let [owner, first, count] = line.split(':').map(str::trim).collect::<Vec<_>>()[..] else {
                continue;
            };
            if owner != name && owner != uid {
                continue;
            }
            let wrong = || {
                format!(
                    "Can't create ID mappings: {}: {line:?} is no range of ids",
                    path.display()
                )
            };
            let outside: u32 = first.parse().with_context(wrong)?;
            let count: u32 = count.parse().with_context(wrong)?;
            outside.checked_add(count).filter(|_| count > 0).with_context(wrong)?;
            ranges.push(IdRange { inside, outside, count });
            inside = inside.checked_add(count).with_context(wrong)?;
        }
        let cannot = |why: String| Err(anyhow::anyhow!("Can't create ID mappings: {why}"));
        if ranges.is_empty() {
            return cannot(format!("no {file} ranges found for user {name:?}"));
        }
        if ranges.len() > MOST_RANGES {
            return cannot(format!(
                "user {name:?} has more than {MOST_RANGES} ranges in {}",
                path.display()
            ));
        }
        if ranges.iter().any(|range| range.outside == 0) {
            return cannot(format!(
                "the ranges of user {name:?} in {} have root's id",
                path.display()
            ));
        }
        let overlap = |one: &IdRange, other: &IdRange| {
            one.outside < other.outside + other.count && other.outside < one.outside + one.count
        };
        let mut later = ranges.iter().enumerate();
        if later.any(|(index, one)| ranges[index + 1..].iter().any(|other| overlap(one, other))) {
            return cannot(format!("the ranges of user {name:?} in {} overlap", path.display()));
        }
        Ok(ranges)
    }
}

/// A file that is not there has no entries.
fn read(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(subuid: &str) -> (tempfile::TempDir, Accounts) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write(
            "passwd",
            "root:x:0:0::/:/bin/sh\nmapped:x:700:701::/:/bin/sh\nlonely:x:702:702::/:/bin/sh\n",
        );
        write("group", "root:x:0:\nmapped:x:701:\nother:x:700:\n");
        write("subuid", subuid);
        write("subgid", "mapped:200000:65536\n");
        let accounts = Accounts(dir.path().to_owned());
        (dir, accounts)
    }

    fn refused(accounts: &Accounts, specification: &str) -> String {
        format!("{:#}", accounts.map_of(specification).unwrap_err())
    }

    #[test]
    fn ranges_of_a_user_stand_one_behind_the_other() {
        let (_dir, accounts) = accounts("mapped:100000:1000\nother:5:5\n700:300000:10\n# a comment\n");
        let map = accounts.map_of("mapped").unwrap().unwrap();
        let range = |inside, outside, count| IdRange { inside, outside, count };
        assert_eq!(map.users, [range(0, 100_000, 1000), range(1000, 300_000, 10)]);
        assert_eq!(map.groups, [range(0, 200_000, 65536)]);
        for same in ["700", "700:other", "mapped:701", "mapped:mapped"] {
            assert_eq!(accounts.map_of(same).unwrap().as_ref(), Some(&map), "{same}");
        }
        assert_eq!(accounts.map_of("root").unwrap(), None);
        assert_eq!(accounts.map_of("0:0").unwrap(), None);
    }

    #[test]
    fn who_is_not_there_is_refused_by_name() {
        let (_dir, accounts) = accounts("mapped:100000:65536\n");
        for (specification, words) in [
            ("nosuch", "Error during uid lookup for \"nosuch\""),
            ("99", "Uid 99 has no entry in /etc/passwd"),
            ("702", "Gid 702 has no entry in /etc/group"),
            ("lonely", "Error during gid lookup for \"lonely\""),
            ("mapped:nosuch", "Error during groupname lookup for \"nosuch\""),
            ("mapped:99", "Gid 99 has no entry in /etc/group"),
            ("a:b:c", "Invalid user/group specification in --userns-remap: \"a:b:c\""),
            ("", "Error during uid lookup for \"\""),
            ("default", "there is no user \"dockremap\""),
            ("lonely:root", "no subuid ranges found for user \"lonely\""),
        ] {
            let said = refused(&accounts, specification);
            assert!(said.contains(words), "{specification}: {said}");
        }
    }

    #[test]
    fn ranges_that_make_no_map_are_refused() {
        for (subuid, words) in [
            ("", "no subuid ranges found for user \"mapped\""),
            ("mapped:100000:0", "is no range of ids"),
            ("mapped:x:10", "is no range of ids"),
            ("mapped:4294967295:10", "is no range of ids"),
            ("mapped:0:10", "have root's id"),
            ("mapped:100000:10\nmapped:100009:10", "overlap"),
        ] {
            let (_dir, accounts) = accounts(subuid);
            let said = refused(&accounts, "mapped");
            assert!(said.contains(words), "{subuid:?}: {said}");
        }
    }
}
