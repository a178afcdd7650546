//! `conex save`.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use conex_client::{Client, SaveOptions};

use crate::commands::image::platform;
use crate::failure::Failure;

/// Writes images as an archive.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// File to write, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only the image of this platform: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Leave out the layers of this image, which whoever loads the archive has
    #[arg(long, value_name = "IMAGE")]
    since: Option<String>,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

impl Save {
    /// Writes the archive; a file is there only once it is whole.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let platform = self.platform.as_deref().map(platform::to_json).transpose()?;
        let options = SaveOptions {
            images: &self.images,
            platform: platform.as_deref(),
            since: self.since.as_deref(),
        };
        if self.output.is_none() && io::stdout().is_terminal() {
            let words = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
            return Err(Failure::new(1, words));
        }
        let mut archive = client.save(options).await?;
        let mut target = Target::open(self.output.as_deref())?;
        while let Some(bytes) = archive.next().await? {
            target.write(&bytes)?;
        }
        target.finish()?;
        Ok(0)
    }
}

/// Where the archive goes.
enum Target<'a> {
    Output,
    /// Written beside what it replaces.
    File {
        path: &'a Path,
        unfinished: PathBuf,
        file: File,
    },
}

impl<'a> Target<'a> {
    fn open(path: Option<&'a Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Output) };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let unfinished = path.with_file_name(name);
        let file = File::create(&unfinished);
        let file = file.map_err(|error| Failure::local(&format!("create {}", unfinished.display()), &error))?;
        Ok(Self::File { path, unfinished, file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match self {
            Self::Output => io::stdout().write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
        };
        written.map_err(|error| Failure::local("write the archive", &error))
    }

    fn finish(&self) -> Result<(), Failure> {
        let done = match self {
            Self::Output => io::stdout().flush(),
            Self::File { path, unfinished, .. } => fs::rename(unfinished, path),
        };
        done.map_err(|error| Failure::local("finish the archive", &error))
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if let Self::File { unfinished, .. } = self {
            // Nothing is there once it has its name.
            let _ = fs::remove_file(unfinished);
        }
    }
}
