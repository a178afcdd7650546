//! What makes the directory an OCI image layout (OCI image specification, image-layout.md).

use std::fs;
use std::io;
use std::path::Path;

use crate::store::{Content, ContentError, file};

/// Contents of `oci-layout`.
const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Name of the file that lists what the layout has.
const INDEX: &str = "index.json";

/// Its name while it is written.
pub(crate) const NEW_INDEX: &str = "index.json.new";

/// Makes the directory a layout, and discards an index that was being written when an earlier life ended.
pub(crate) fn open(root: &Path) -> Result<(), ContentError> {
    let unfinished = root.join(NEW_INDEX);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.map_err(file("remove", &unfinished))?,
    }
    mark(root)
}

/// Says that the directory is a layout, where it does not say so.
fn mark(root: &Path) -> Result<(), ContentError> {
    let path = root.join("oci-layout");
    if fs::read(&path).is_ok_and(|found| found == MARK) {
        return Ok(());
    }
    fs::write(&path, MARK).map_err(file("write", &path))
}

impl Content {
    /// Puts another `index.json` in the place of the one that is there, by rename. It is not synced: whoever it is derived
    /// by writes it again after a crash.
    pub fn write_index(&self, bytes: &[u8]) -> Result<(), ContentError> {
        let (new, path) = (self.shared.root.join(NEW_INDEX), self.shared.root.join(INDEX));
        fs::write(&new, bytes).map_err(file("write", &new))?;
        fs::rename(&new, &path).map_err(file("publish", &path))
    }

    /// `index.json` as it is; `None` where there is none.
    pub fn read_index(&self) -> Result<Option<Vec<u8>>, ContentError> {
        let path = self.shared.root.join(INDEX);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(file("read", &path)),
        }
    }

    /// Whether the directory says that it is a layout.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        fs::read(self.shared.root.join("oci-layout")).is_ok_and(|found| found == MARK)
    }

    /// Says once more that this is a layout, where it does not say so any more.
    pub fn mark_layout(&self) -> Result<(), ContentError> {
        mark(&self.shared.root)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn an_index_takes_the_place_of_another_whole() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::open(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("oci-layout")).unwrap(), MARK);
        assert_eq!(content.read_index().unwrap(), None);
        content.write_index(b"one").unwrap();
        content.write_index(b"two").unwrap();
        assert_eq!(content.read_index().unwrap().unwrap(), b"two");
        assert!(content.is_marked());
        fs::write(dir.path().join("oci-layout"), "x").unwrap();
        assert!(!content.is_marked());
        content.mark_layout().unwrap();
        assert_eq!(fs::read(dir.path().join("oci-layout")).unwrap(), MARK);
    }
}
