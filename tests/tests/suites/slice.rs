//! As much of this machine's file system as some of its programs need.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parts of Python's library that no test uses and that are half of it.
const UNUSED: [&str; 9] = [
    "test",
    "idlelib",
    "tkinter",
    "lib2to3",
    "pydoc_data",
    "ensurepip",
    "distutils",
    "__pycache__",
    "unittest",
];

/// Files by their name in the archive.
#[derive(Default)]
pub(crate) struct Slice {
    files: BTreeMap<PathBuf, Source>,
}

enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
    Link(PathBuf),
}

impl Slice {
    /// Programs with the libraries that they load.
    pub(crate) fn of(programs: &[&str]) -> Self {
        let mut slice = Self::default();
        for program in programs {
            slice.add_program(Path::new(program));
        }
        slice
    }

    /// Debian's Python as `python` and `python3`, with its standard library.
    pub(crate) fn python() -> Self {
        let python = fs::canonicalize("/usr/bin/python3").expect("/usr/bin/python3 (Debian package python3) is needed");
        let mut slice = Self::of(&[python.to_str().unwrap()]);
        let library = Path::new("/usr/lib").join(python.file_name().unwrap());
        slice.add_tree(&library);
        for name in ["usr/bin/python", "usr/bin/python3"] {
            slice
                .files
                .insert(name.into(), Source::Link(python.file_name().unwrap().into()));
        }
        slice
    }

    /// With one more file.
    pub(crate) fn with_file(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.insert(name.into(), Source::Bytes(bytes.to_vec()));
        self
    }

    fn add_program(&mut self, program: &Path) {
        self.add_file(program);
        let said = Command::new("ldd").arg(program).output().expect("ldd(1) is needed");
        let said = String::from_utf8(said.stdout).unwrap();
        for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
            self.add_file(Path::new(library));
        }
    }

    fn add_tree(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().and_then(OsStr::to_str).unwrap();
            if UNUSED.contains(&name) || name.starts_with("config-") {
                continue;
            }
            if entry.is_dir() {
                self.add_tree(&entry);
            } else if entry.extension() == Some(OsStr::new("so")) {
                self.add_program(&entry);
            } else if entry.is_file() {
                self.add_file(&entry);
            }
        }
    }

    fn add_file(&mut self, path: &Path) {
        let name = path.strip_prefix("/").unwrap().to_owned();
        self.files.insert(name, Source::File(path.to_owned()));
    }

    /// All of it as an uncompressed archive.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, source) in &self.files {
            match source {
                Source::Bytes(bytes) => append(&mut archive, name, bytes, 0o644),
                Source::File(path) => {
                    let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
                    append(&mut archive, name, &fs::read(path).unwrap(), mode);
                }
                Source::Link(target) => {
                    let mut header = tar::Header::new_gnu();
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    archive.append_link(&mut header, name, target).unwrap();
                }
            }
        }
        archive.into_inner().unwrap()
    }
}

/// A layer of one program that a shell interprets.
pub(crate) fn script_layer(name: &str, script: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, Path::new(name), script.as_bytes(), 0o755);
    archive.into_inner().unwrap()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &Path, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes).unwrap();
}
