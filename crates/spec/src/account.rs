//! Users and groups of the container's own `/etc/passwd` and `/etc/group` (passwd(5), group(5)).

use crate::plan::UserSpec;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        Some(Entry {
            name: fields[0],
            uid,
            gid,
            home: fields.get(5).copied().unwrap_or(""),
        })
    })
}

/// Name, id and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        Some((
            fields[0],
            fields.get(2)?.parse().ok()?,
            fields.get(3).copied().unwrap_or(""),
        ))
    })
}

/// Looks a user up in the texts of the two files; the error is in the words that clients are told.
pub fn resolve(user: &UserSpec, passwd: &str, group: &str) -> Result<Account, String> {
    match user {
        UserSpec::Ids { uid, gid, additional } => Ok(numbered((*uid, *gid), additional.clone(), passwd)),
        UserSpec::WithoutGroups { uid, gid } => Ok(numbered((*uid, *gid), Vec::new(), passwd)),
        UserSpec::Named { user, additional } => named(user, additional, passwd, group),
    }
}

fn numbered((uid, gid): (u32, u32), groups: Vec<u32>, passwd: &str) -> Account {
    let home = users(passwd)
        .find(|entry| entry.uid == uid)
        .map_or("/", |entry| entry.home);
    Account {
        uid,
        gid,
        groups,
        home: home_or_root(home),
    }
}

fn home_or_root(home: &str) -> String {
    if home.is_empty() {
        "/".to_owned()
    } else {
        home.to_owned()
    }
}

fn named(text: &str, additional: &[String], passwd: &str, group: &str) -> Result<Account, String> {
    let (user, group_text) = text.split_once(':').unwrap_or((text, ""));
    let user = if user.is_empty() { "0" } else { user };
    // A number that is also a name means the name; both mean an entry of the file before they mean themselves.
    let entry = users(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| users(passwd).find(|entry| user.parse() == Ok(entry.uid)));
    let mut account = match (&entry, user.parse::<u32>()) {
        (Some(entry), _) => Account {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            home: home_or_root(entry.home),
        },
        (None, Ok(uid)) if i32::try_from(uid).is_ok() => Account {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: "/".into(),
        },
        (None, Ok(_)) => return Err("uids and gids must be in range 0-2147483647".into()),
        (None, Err(_)) => {
            return Err(format!(
                "unable to find user {user}: no matching entries in passwd file"
            ));
        }
    };
    if group_text.is_empty() {
        // Supplementary groups come with the user's entry, unless a group was asked for.
        let name = entry.as_ref().map_or(user, |entry| entry.name);
        account.groups = groups(group)
            .filter(|(_, _, members)| members.split(',').any(|member| member == name))
            .map(|(_, gid, _)| gid)
            .collect();
    } else {
        account.gid = group_id(group_text, group)?;
    }
    for extra in additional {
        account.groups.push(group_id(extra, group)?);
    }
    // A program that drops its group would else be one of the others where a file denies its group more than those
    // (CVE-2022-36109).
    account.groups.retain(|gid| *gid != account.gid);
    account.groups.insert(0, account.gid);
    Ok(account)
}

fn group_id(text: &str, group: &str) -> Result<u32, String> {
    if let Some((_, gid, _)) = groups(group).find(|(name, gid, _)| *name == text || text.parse() == Ok(*gid)) {
        return Ok(gid);
    }
    match text.parse::<u32>() {
        Ok(gid) if i32::try_from(gid).is_ok() => Ok(gid),
        Ok(_) => Err("uids and gids must be in range 0-2147483647".into()),
        Err(_) => Err(format!(
            "unable to find group {text}: no matching entries in group file"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n\nbroken line\nworker:x:1000:1001:w:/home/worker:/bin/sh\nnohome:x:7:7\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,worker\nworker:x:1001:\naudio:x:29:worker\n";

    fn of(user: &str) -> Result<Account, String> {
        resolve(
            &UserSpec::Named {
                user: user.into(),
                additional: vec![],
            },
            PASSWD,
            GROUP,
        )
    }

    #[test]
    fn a_name_brings_its_groups_and_its_home() {
        let account = of("worker").unwrap();
        assert_eq!((account.uid, account.gid), (1000, 1001));
        assert_eq!(account.groups, [1001, 10, 29]);
        assert_eq!(account.home, "/home/worker");
        assert_eq!(of("1000").unwrap(), account);
    }

    #[test]
    fn nobody_means_root() {
        assert_eq!(
            of("").unwrap(),
            Account {
                uid: 0,
                gid: 0,
                groups: vec![0, 10],
                home: "/root".into()
            }
        );
    }

    #[test]
    fn a_number_without_entry_is_taken_as_it_is() {
        assert_eq!(
            of("4242:43").unwrap(),
            Account {
                uid: 4242,
                gid: 43,
                groups: vec![43],
                home: "/".into()
            }
        );
        assert_eq!(of("worker:audio").unwrap().gid, 29);
        assert_eq!(of("7").unwrap().home, "/");
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(
            of("ghost").unwrap_err(),
            "unable to find user ghost: no matching entries in passwd file"
        );
        assert_eq!(
            of("worker:ghost").unwrap_err(),
            "unable to find group ghost: no matching entries in group file"
        );
        assert!(of("4294967295").is_err());
    }

    #[test]
    fn additional_groups_are_names_or_numbers() {
        let user = UserSpec::Named {
            user: "root".into(),
            additional: vec!["audio".into(), "77".into()],
        };
        assert_eq!(resolve(&user, PASSWD, GROUP).unwrap().groups, [0, 10, 29, 77]);
    }
}
