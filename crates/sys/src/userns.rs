//! User namespaces (user_namespaces(7)) and the ids that they map.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pipe::PipeFlags;
use rustix::process::{Gid, Uid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::process::{self, CloneRequest, Cloned, SingleThreaded};

/// `CLONE_NEWUSER` (clone(2)).
pub const NEW_USER: i32 = 0x1000_0000;

/// Ids in a row that a namespace maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdRange {
    /// The first, in the namespace.
    pub inside: u32,
    /// The first, on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    fn translate(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
        let offset = id.checked_sub(from).filter(|offset| *offset < count)?;
        to.checked_add(offset)
    }
}

/// Which ids of the host those of a namespace are; ranges do not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdMap {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

/// Users and groups that no range has, as the kernel shows them (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;

impl IdMap {
    /// The host's ids of an owner in the namespace; `None` where it has none there.
    #[must_use]
    pub fn outside(&self, (user, group): (u32, u32)) -> Option<(u32, u32)> {
        let out = |ranges: &[IdRange], id: u32| {
            let mut found = ranges.iter();
            found.find_map(|range| IdRange::translate(id, range.inside, range.outside, range.count))
        };
        Some((out(&self.users, user)?, out(&self.groups, group)?))
    }

    /// The namespace's ids of an owner on the host; those that are not mapped are the kernel's overflow ids.
    #[must_use]
    pub fn inside(&self, (user, group): (u32, u32)) -> (u32, u32) {
        let into = |ranges: &[IdRange], id: u32| {
            let mut found = ranges.iter();
            found.find_map(|range| IdRange::translate(id, range.outside, range.inside, range.count))
        };
        (
            into(&self.users, user).unwrap_or(OVERFLOW),
            into(&self.groups, group).unwrap_or(OVERFLOW),
        )
    }

    /// The map of a process's user namespace, as this process sees it.
    ///
    /// # Errors
    /// No such process, or maps that are not understood.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        let read = |kind: &str| parse(&fs::read_to_string(format!("/proc/{pid}/{kind}"))?);
        Ok(Self {
            users: read("uid_map")?,
            groups: read("gid_map")?,
        })
    }
}

fn parse(text: &str) -> io::Result<Vec<IdRange>> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok);
        Some(IdRange {
            inside: next()?,
            outside: next()?,
            count: next()?,
        })
    };
    let ranges: Option<Vec<_>> = text.lines().map(line).collect();
    ranges.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// As `uid_map` and `gid_map` want it: one write with all lines.
fn render(ranges: &[IdRange]) -> String {
    let line = |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
    ranges.iter().map(line).collect()
}

/// A user namespace, and a network namespace that belongs to it.
#[derive(Debug)]
pub struct Namespaces {
    /// The user namespace.
    pub user: OwnedFd,
    /// The network namespace.
    pub network: OwnedFd,
}

/// Makes namespaces by `program`, which is to carry out `unshare_and_wait`, and gives a new user namespace its `map`; without
/// one the program is to join one. A process of several threads can do neither (unshare(2), setns(2)).
///
/// # Errors
/// The program cannot be started or refuses, or the kernel refuses the map.
pub fn create(program: &Path, arguments: &[&str], map: Option<&IdMap>) -> io::Result<Namespaces> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take();
    let made = take(&mut child, map);
    // It ends at the end of its input.
    drop(input);
    let output = child.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    made.map_err(|error| match words.trim() {
        "" => error,
        words => io::Error::new(error.kind(), words.to_owned()),
    })
}

fn take(child: &mut std::process::Child, map: Option<&IdMap>) -> io::Result<Namespaces> {
    let Some(output) = &mut child.stdout else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    output.read_exact(&mut [0])?;
    let of = |name: &str| format!("/proc/{}/{name}", child.id());
    let open = |name: &str| File::open(of(name)).map(OwnedFd::from);
    if let Some(map) = map {
        fs::write(of("gid_map"), render(&map.groups))?;
        fs::write(of("uid_map"), render(&map.users))?;
    }
    Ok(Namespaces {
        user: open("ns/user")?,
        network: open("ns/net")?,
    })
}

/// Makes a user namespace with this map.
///
/// # Errors
/// The kernel refuses the namespace or the map.
pub fn make(proof: &SingleThreaded, map: &IdMap) -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let request = CloneRequest {
        namespaces: u64::from(NEW_USER.unsigned_abs()),
        ..CloneRequest::default()
    };
    match process::clone(proof, &request)? {
        Cloned::Child => {
            drop(writer);
            // It ends with its parent's end of the pipe, whatever becomes of that.
            let _ = rustix::io::read(&reader, &mut [0]);
            process::exit(0)
        }
        Cloned::Parent { pid, pidfd } => {
            let of = |name: &str| format!("/proc/{pid}/{name}");
            let made = fs::write(of("gid_map"), render(&map.groups))
                .and_then(|()| fs::write(of("uid_map"), render(&map.users)))
                .and_then(|()| File::open(of("ns/user")));
            drop(writer);
            process::wait(pidfd.as_fd())?;
            made.map(OwnedFd::from)
        }
    }
}

/// Makes a network namespace for this process, which has one thread, in a new user namespace or in the one at `user`; says so
/// on standard output and waits for the end of standard input.
///
/// # Errors
/// The kernel refuses.
pub fn unshare_and_wait(user: Option<&Path>) -> io::Result<()> {
    let mut made = UnshareFlags::NEWNET;
    match user {
        Some(path) => {
            let namespace = File::open(path)?;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))?;
            become_root(Groups::GivenUp)?;
        }
        None => made |= UnshareFlags::NEWUSER,
    }
    // SAFETY: what the process may do and what it sees of the network changes, nothing of its memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(made) }?;
    io::stdout().write_all(b"\n")?;
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

/// Moves this process, which has one thread, into a new user namespace that maps its own user and group alone, to `inside`:
/// all that one without rights on the host may map. Groups cannot be changed in it (user_namespaces(7)). Nobody outside may
/// look into the process afterwards.
///
/// # Errors
/// The kernel lets nobody without rights make user namespaces, or the process is in a chroot.
pub fn enter_alone(_proof: &SingleThreaded, inside: (u32, u32)) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: what the process may do changes, nothing of its memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?;
    // Files of a process that nobody may look into are the host's root's (proc(5)).
    process::set_dumpable(true)?;
    let map = |inside: u32, outside: u32| format!("{inside} {outside} 1\n");
    let mapped = fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", map(inside.0, uid)))
        .and_then(|()| fs::write("/proc/self/gid_map", map(inside.1, gid)));
    process::set_dumpable(false)?;
    mapped
}

/// Whether the user namespace of a process, by default of this one, lets nobody change groups (user_namespaces(7)).
#[must_use]
pub fn denies_groups(pid: Option<i32>) -> bool {
    let who = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    fs::read_to_string(format!("/proc/{who}/setgroups")).is_ok_and(|text| text.trim() == "deny")
}

/// What becomes of the groups that a process is in besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// It is in none any more.
    GivenUp,
    /// They stay, as the namespace denies their change.
    Kept,
}

/// Becomes root of the user namespace that the process is in, which maps it.
///
/// # Errors
/// The namespace has no root.
pub fn become_root(groups: Groups) -> io::Result<()> {
    if groups == Groups::GivenUp {
        rustix::thread::set_thread_groups(&[])?;
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> IdMap {
        let ranges = |text| parse(text).unwrap();
        IdMap {
            users: ranges("0 100000 1000\n1000 300000 10\n"),
            groups: ranges("         0     200000      65536\n"),
        }
    }

    #[test]
    fn ids_are_found_in_their_range_in_both_directions() {
        assert_eq!(map().outside((0, 0)), Some((100_000, 200_000)));
        assert_eq!(map().outside((1009, 65535)), Some((300_009, 265_535)));
        assert_eq!(map().outside((1010, 0)), None);
        assert_eq!(map().inside((300_000, 200_001)), (1000, 1));
        assert_eq!(map().inside((0, 0)), (OVERFLOW, OVERFLOW));
    }

    #[test]
    fn maps_are_rendered_as_they_are_read() {
        assert_eq!(parse(&render(&map().users)).unwrap(), map().users);
        assert!(parse("0 1").is_err());
        assert!(parse("0 x 1").is_err());
    }
}
