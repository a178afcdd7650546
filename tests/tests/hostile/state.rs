//! What a store has, to be compared.

use std::fs;
use std::path::Path;

use conex_tests::{Said, Sandbox, eventually};

/// What the layout lists, and what is to replace it.
const INDEX: [&str; 2] = ["content/index.json", "content/index.json.new"];

/// Everything of the data-root that belongs to images, with sizes, and what is told of them. [`INDEX`] is left out: it follows
/// the names a moment later.
#[derive(Debug)]
pub(crate) struct State {
    files: Vec<(String, u64)>,
    images: String,
    usage: String,
}

pub(crate) fn state(sandbox: &Sandbox) -> State {
    let data = sandbox.dir().join("data");
    let mut files = Vec::new();
    for part in ["content", "layers", "trash"] {
        walk(&data.join(part), &data, &mut files);
    }
    files.sort();
    State {
        files,
        images: sandbox.request("GET", "/v1.50/images/json?all=1&digests=1", "").1,
        usage: sandbox.request("GET", "/v1.50/system/df?type=image", "").1,
    }
}

fn walk(path: &Path, root: &Path, files: &mut Vec<(String, u64)>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        // What is being deleted may go meanwhile.
        let Ok(data) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        let name = entry.path().strip_prefix(root).unwrap().display().to_string();
        if INDEX.contains(&name.as_str()) {
            continue;
        }
        files.push((name, if data.is_dir() { 0 } else { data.len() }));
        if data.is_dir() {
            walk(&entry.path(), root, files);
        }
    }
}

/// The store is what it was, once what was discarded is deleted and the layout's index has followed.
pub(crate) fn assert_unchanged(sandbox: &Sandbox, before: &State, after: &str) {
    let data = sandbox.dir().join("data");
    eventually("nothing in the trash", || {
        fs::read_dir(data.join("trash")).unwrap().count() == 0
    });
    eventually("no index half done", || !data.join(INDEX[1]).exists());
    let now = state(sandbox);
    let more: Vec<_> = now.files.iter().filter(|file| !before.files.contains(file)).collect();
    let less: Vec<_> = before.files.iter().filter(|file| !now.files.contains(file)).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "after {after}: more {more:?}, less {less:?}"
    );
    assert_eq!(now.images, before.images, "after {after}");
    assert_eq!(now.usage, before.usage, "after {after}");
}

/// Something that fails and says all of these words, and leaves the store as it was.
pub(crate) fn refused(sandbox: &Sandbox, before: &State, what: &str, said: &Said, words: &[&str]) {
    assert_ne!(said.code, 0, "{what}: {said:?}");
    let text = format!("{}{}", said.out, said.err);
    for words in words {
        assert!(text.contains(words), "{what}: {words:?} is not in {text}");
    }
    assert_unchanged(sandbox, before, what);
}
