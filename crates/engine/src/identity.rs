//! Who this engine is: an id of its own, as long as its data root lasts.

use std::fs;
use std::io;
use std::path::Path;

/// The id kept in a file (a UUID, RFC 9562), which is made where it is not there or not whole.
///
/// # Errors
/// The file cannot be read or made.
pub(crate) fn engine_id(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(id) if is_uuid(id.trim_end()) => return Ok(id.trim_end().to_owned()),
        // A host that lost power may have kept a part.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // random(4)
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let new = file.with_extension("new");
    fs::write(&new, &id)?;
    fs::rename(&new, file)?;
    Ok(id.trim_end().to_owned())
}

fn is_uuid(text: &str) -> bool {
    let groups = text.split('-').map(str::len);
    groups.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("engine-id");
        let id = engine_id(&file).unwrap();
        assert!(is_uuid(&id), "{id}");
        assert_eq!(engine_id(&file).unwrap(), id);
        fs::write(&file, &id[..20]).unwrap();
        let other = engine_id(&file).unwrap();
        assert!(is_uuid(&other) && other != id);
    }
}
