//! `conex tag`.

use clap::Args;
use conex_client::Client;

use crate::failure::Failure;

/// Gives an image another name.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Image
    source: String,
    /// Its further name
    target: String,
}

impl Tag {
    /// Says nothing.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let (repository, tag) = match split(&self.target) {
            (repository, "") => (repository, "latest"),
            both => both,
        };
        client.tag_image(&self.source, repository, tag).await?;
        Ok(0)
    }
}

/// Repository and tag of a name; the tag is empty where there is none.
pub(crate) fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        // A colon before the last slash is that of a port.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    }
}
