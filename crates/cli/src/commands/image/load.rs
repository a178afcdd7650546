//! `conex load`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use conex_client::{Archive, Client};
use tokio::sync::mpsc;

use crate::commands::image::platform;
use crate::failure::Failure;
use crate::progress;

/// Most that is read at a time.
const CHUNK: usize = 256 * 1024;

/// Loads images from an archive.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Archive, in place of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Only the images of this platform: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Say only what was loaded
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    /// Prints what was loaded.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let platform = self.platform.as_deref().map(platform::to_json).transpose()?;
        let archive = Archive::from_stream(read(self.open()?));
        let lines = client.load(archive, self.quiet, platform.as_deref()).await?;
        let tty = progress::stdout_is_terminal();
        progress::print(lines, &mut io::stdout(), tty).await?;
        Ok(0)
    }

    fn open(&self) -> Result<Box<dyn Read + Send>, Failure> {
        match &self.input {
            Some(path) => {
                let file =
                    File::open(path).map_err(|error| Failure::local(&format!("open {}", path.display()), &error));
                Ok(Box::new(file?))
            }
            None if io::stdin().is_terminal() => Err(Failure::new(1, "requested load from stdin, but stdin is empty")),
            None => Ok(Box::new(io::stdin())),
        }
    }
}

/// A thread reads while another piece is sent.
pub(crate) fn read(
    mut from: Box<dyn Read + Send>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + Sync {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let piece = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) => Err(error),
            };
            let last = piece.is_err();
            if sender.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    })
}
