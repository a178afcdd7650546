//! Managers of containers with this runtime and with runc: the same commands, and the same outcome of each.

use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

/// A name, and a command a line: the code that it exits with, and its words as a shell would part them.
pub(crate) type Scenario<'a> = (&'a str, &'a str);

/// A shell that says when it is there, and what it is told; in a command it is the word `TRAPS`.
const TRAPS: &str = "trap 'echo got TERM; exit 3' TERM; trap 'echo got HUP' HUP; echo up; while :; do sleep 0.05; done";

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Exit code.
    pub(crate) code: i32,
    /// Standard output, without what differs from container to container.
    pub(crate) output: String,
    /// Standard error, likewise.
    pub(crate) errors: String,
}

/// A manager with one runtime.
pub(crate) trait Manager {
    /// What a command comes to, told without what is the manager's or the runtime's own: names, paths, the runtime's way of
    /// saying who it is.
    fn told(&self, words: &[&str]) -> Told;
}

/// Carries a scenario out with our runtime and with runc. Whatever comes out differently, or with another code than the one
/// that is expected, is described in what is returned.
pub(crate) fn compare((name, commands): Scenario<'_>, [ours, theirs]: [&dyn Manager; 2]) -> Vec<String> {
    let lines: Vec<&str> = commands
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert!(!lines.is_empty(), "{name} has no commands");
    let mut wrong = Vec::new();
    for line in &lines {
        let words = words(line);
        let (code, words) = words.split_first().unwrap();
        let code: i32 = code.parse().unwrap_or_else(|_| panic!("{name}: no exit code: {line}"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let [ours, theirs] = [ours.told(&words), theirs.told(&words)];
        if ours != theirs || ours.code != code {
            wrong.push(format!("{name}: {line}\n  ours   {ours:?}\n  runc's {theirs:?}"));
        }
    }
    eprintln!("{name}: {} of {}", lines.len() - wrong.len(), lines.len());
    wrong
}

/// Words that white space parts, but for what stands between quotation marks; nothing else means anything.
fn words(line: &str) -> Vec<String> {
    let mut letters = line.chars().peekable();
    let mut words = Vec::new();
    while letters.peek().is_some() {
        let word = word(&mut letters);
        words.push(if word == "TRAPS" { TRAPS.to_owned() } else { word });
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
    }
    words
}

fn word(letters: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace()) {
        if !"'\"".contains(letter) {
            word.push(letter);
            continue;
        }
        loop {
            match letters.next() {
                Some(quoted) if quoted == letter => break,
                Some(quoted) => word.push(quoted),
                None => panic!("the quotation {word} does not end"),
            }
        }
    }
    word
}

/// A text with `ID` in the place of each id of a container or an image.
pub(crate) fn without_ids(text: &str) -> String {
    let is_id = |word: &str| [12, 64].contains(&word.len()) && word.chars().all(|letter| letter.is_ascii_hexdigit());
    let parts = text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric());
    let told = parts.map(|part| {
        let plain = part.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        if is_id(plain) {
            part.replace(plain, "ID")
        } else {
            part.to_owned()
        }
    });
    told.collect()
}

/// Removes a parent of containers' cgroups that have ended, with what a manager left below it.
pub(crate) fn remove_cgroup(name: &str) {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let parent = hierarchy.path().join(name);
        for below in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            // Files of a cgroup are no directories, and go with it.
            let _ = std::fs::remove_dir(below.path());
        }
        // Not every hierarchy was used.
        let _ = std::fs::remove_dir(parent);
    }
    let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(name));
}
