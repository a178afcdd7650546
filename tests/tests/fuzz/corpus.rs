//! Inputs that are kept, as text: hexadecimal digits; `00*512` is a byte so many times.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// All of a target's, in the order of their names.
pub(crate) fn load(target: &str) -> Vec<Vec<u8>> {
    let directory = directory(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    paths
        .iter()
        .map(|path| parse(&fs::read_to_string(path).unwrap()))
        .collect()
}

pub(crate) fn save(target: &str, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory(target).join(format!("{name}.hex"));
    fs::create_dir_all(directory(target)).unwrap();
    fs::write(&path, render(bytes)).unwrap();
    path
}

fn parse(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let pairs = digits.as_bytes().chunks(2);
        let part: Vec<u8> = pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        bytes.extend(part.repeat(times.parse().unwrap()));
    }
    bytes
}

fn render(bytes: &[u8]) -> String {
    let (mut text, mut column, mut rest) = (String::new(), 0, bytes);
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|byte| *byte == first).count();
        let (word, used) = if run >= 4 {
            (format!("{first:02x}*{run}"), run)
        } else {
            let same = |at: usize| rest.len() >= at + 4 && rest[at..at + 4].iter().all(|byte| *byte == rest[at]);
            let used = (1..rest.len().min(32))
                .find(|at| same(*at))
                .unwrap_or(rest.len().min(32));
            let word = rest[..used].iter().fold(String::new(), |mut word, byte| {
                let _ = write!(word, "{byte:02x}");
                word
            });
            (word, used)
        };
        if column + word.len() > 100 {
            text.push('\n');
            column = 0;
        }
        let _ = write!(text, "{}{word}", if column == 0 { "" } else { " " });
        column += word.len() + 1;
        rest = &rest[used..];
    }
    text.push('\n');
    text
}

#[test]
fn what_is_kept_is_read_back() {
    for bytes in [
        &b""[..],
        b"\x00\xff",
        &[0; 1024],
        &[7, 7, 7, 7, 7, 1, 2, 3, 0, 0, 0, 0],
        &(0..=255).collect::<Vec<u8>>(),
    ] {
        assert_eq!(parse(&render(bytes)), bytes);
    }
}
