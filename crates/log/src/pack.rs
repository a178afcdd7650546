//! Compressing a file of a log that is not written any more.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::files::with_suffix;

/// Puts `<path>.gz` in a file's place, as old as the file was, so that readers find their way. A crash leaves the file, or
/// both; one that is there already is replaced.
///
/// # Errors
/// Of the file system; the file is as it was.
pub fn pack(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let written = file.metadata()?.modified()?;
    let temporary = with_suffix(path, ".gz.tmp");
    let packed = fill(&mut file, &temporary, FileTimes::new().set_modified(written));
    let published = packed.and_then(|()| fs::rename(&temporary, with_suffix(path, ".gz")));
    if let Err(error) = published {
        // What is left would be in nobody's way but the disk's.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::remove_file(path)
}

fn fill(file: &mut File, temporary: &Path, times: FileTimes) -> io::Result<()> {
    let mut encoder = GzEncoder::new(File::create(temporary)?, Compression::fast());
    io::copy(file, &mut encoder)?;
    let output = encoder.finish()?;
    output.set_times(times)
}
