//! `docker load`: archives of images, as `docker save` writes them, and OCI layouts.
//!
//! The order of an archive's members is anybody's, so its files are kept aside first, where no other load sees them; the
//! layers among them are unpacked from there, and all go at the end.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use conex_archive::{ArchiveError, Kind, TarReader};
use conex_content::{Aside, Content};
use conex_reference::{Digest, Reference};
use conex_registry::{Manifest, manifest};
use conex_stream::{ByteStream, ChunkReader};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::Deserialize;

use crate::config::ImageConfig;
use crate::error::{LayerError, LoadError, PullError};
use crate::image::Image;
use crate::images::Images;
use crate::layers::Wanted;
use crate::progress::{Progress, ProgressSink, Status};
use crate::pull::NewImage;

/// Largest JSON file of an archive that is parsed.
const LARGEST_JSON: u64 = 8 << 20;

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Images {
    /// Loads all images of an archive, compressed or not. They are on disk when this returns.
    pub async fn load(&self, body: ByteStream, sink: ProgressSink) -> Result<Vec<Arc<Image>>, LoadError> {
        let (chunks, feeding) = conex_stream::reader(body);
        let content = self.shared.content.clone();
        let reading = tokio::task::spawn_blocking(move || read_archive(chunks, &content));
        feeding.await;
        let files = reading
            .await
            .map_err(|error| LoadError::Read(io::Error::other(error)))??;
        let mut images = Vec::new();
        for saved in saved_images(&files)? {
            images.push(self.load_image(&files, saved, &sink).await?);
        }
        Ok(images)
    }

    async fn load_image(&self, files: &Files, saved: Saved, sink: &ProgressSink) -> Result<Arc<Image>, LoadError> {
        let config_file = files.find(&saved.config)?;
        let config_bytes = config_file.read().map_err(PullError::from)?;
        let config: ImageConfig = serde_json::from_slice(&config_bytes).map_err(|source| LoadError::Format {
            path: saved.config.clone(),
            source,
        })?;
        let diff_ids = config.rootfs.diff_ids.clone();
        if diff_ids.len() != saved.layers.len() || diff_ids.iter().any(|id| Digest::parse(id).is_err()) {
            return Err(PullError::Layers {
                diff_ids: diff_ids.len(),
                layers: saved.layers.len(),
            }
            .into());
        }
        let mut wanted = Vec::new();
        for (path, diff_id) in saved.layers.iter().zip(diff_ids) {
            wanted.push(wanted_layer(files.find(path)?, diff_id));
        }
        let mut names = Vec::new();
        for tag in saved.repo_tags.iter().flatten() {
            names.push(Reference::parse(tag)?.with_default_tag());
        }
        let held = self.bring_in(wanted, sink).await?;
        let id = config_file.digest().to_string();
        let image = NewImage {
            id: id.clone(),
            config,
            config_bytes,
            manifest: None,
            parent: None,
            names: names.iter().map(ToString::to_string).collect(),
            origins: Vec::new(),
        };
        self.record(image, held).await?;
        if names.is_empty() {
            sink(Progress {
                id: None,
                status: Status::LoadedId(id.clone()),
            });
        }
        for name in names {
            sink(Progress {
                id: None,
                status: Status::LoadedName(name.familiar()),
            });
        }
        let image = self.shared.index().image(&id);
        image.ok_or(LoadError::Image(PullError::Layer(LayerError::CutOff)))
    }
}

/// A layer whose archive is at hand.
fn wanted_layer(file: &Arc<Aside>, diff_id: String) -> Wanted {
    let file = file.clone();
    Wanted {
        short: Digest::parse(&diff_id).map_or_else(|_| file.digest().short(), |digest| digest.short()),
        blob: None,
        size: file.size(),
        diff_id,
        local: true,
        open: Box::new(move |_| {
            let file = file.clone();
            Box::pin(async move { Ok(file_stream(file)) })
        }),
    }
}

/// A file as a stream, read on blocking threads.
fn file_stream(aside: Arc<Aside>) -> BoxStream<'static, Result<Bytes, LayerError>> {
    let failed = |error: io::Error| {
        LayerError::Extract(conex_archive::ExtractError::Archive(conex_archive::ArchiveError::Read(
            error,
        )))
    };
    let chunks = stream::unfold(None, move |file: Option<std::fs::File>| {
        let aside = aside.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut file = match file {
                    Some(file) => file,
                    None => aside.open().map_err(io::Error::other)?,
                };
                let mut chunk = vec![0; 128 * 1024];
                let count = file.read(&mut chunk)?;
                chunk.truncate(count);
                Ok((chunk, file))
            });
            match read.await.map_err(io::Error::other).and_then(|read| read) {
                Ok((chunk, _)) if chunk.is_empty() => None,
                Ok((chunk, file)) => Some((Ok(Bytes::from(chunk)), Some(file))),
                Err(error) => Some((Err(failed(error)), None)),
            }
        }
    });
    chunks.boxed()
}

/// The files of an archive.
#[derive(Default)]
struct Files {
    by_path: HashMap<String, Arc<Aside>>,
    /// Symbolic links: old archives share layers by them.
    links: HashMap<String, String>,
}

impl Files {
    fn find(&self, path: &str) -> Result<&Arc<Aside>, LoadError> {
        let path = self.links.get(path).map_or(path, String::as_str);
        self.by_path
            .get(path)
            .ok_or_else(|| LoadError::Missing { path: path.to_owned() })
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, LoadError> {
        let file = self.find(path)?;
        if file.size() > LARGEST_JSON {
            return Err(LoadError::Missing { path: path.to_owned() });
        }
        let bytes = file.read().map_err(PullError::from)?;
        serde_json::from_slice(&bytes).map_err(|source| LoadError::Format {
            path: path.to_owned(),
            source,
        })
    }
}

fn read_archive(chunks: ChunkReader, content: &Content) -> Result<Files, LoadError> {
    let source = BufReader::with_capacity(64 * 1024, chunks);
    read_members(conex_archive::decompressed(source).map_err(LoadError::Read)?, content)
}

fn read_members(source: impl BufRead, content: &Content) -> Result<Files, LoadError> {
    let mut archive = TarReader::new(source);
    let mut files = Files::default();
    while let Some(entry) = archive.next_entry()? {
        let path = clean(&entry.path);
        match entry.kind {
            Kind::File if entry.sparse.is_some() => {
                let what = "a sparse file".to_owned();
                return Err(ArchiveError::Unsupported { path, what }.into());
            }
            Kind::File => {
                let mut ingest = content.ingest().map_err(PullError::from)?;
                let mut block = vec![0; 128 * 1024];
                loop {
                    match archive.read(&mut block).map_err(LoadError::Read)? {
                        0 => break,
                        count => ingest.append(&block[..count]).map_err(PullError::from)?,
                    }
                }
                files.by_path.insert(path, Arc::new(ingest.keep_aside()));
            }
            Kind::Symlink | Kind::HardLink => {
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                files.links.insert(path.clone(), resolve(&path, &target));
            }
            _ => {}
        }
    }
    Ok(files)
}

fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.trim_start_matches("./").trim_matches('/').to_owned()
}

/// A link's target, relative to the archive.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// `index.json` of an OCI layout.
#[derive(Deserialize)]
struct LayoutIndex {
    manifests: Vec<LayoutEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutEntry {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

fn saved_images(files: &Files) -> Result<Vec<Saved>, LoadError> {
    if files.by_path.contains_key("manifest.json") {
        return files.json("manifest.json");
    }
    if !files.by_path.contains_key("index.json") {
        return Err(LoadError::NoManifest);
    }
    layout(files)
}

/// The images of an OCI layout (OCI image layout specification).
fn layout(files: &Files) -> Result<Vec<Saved>, LoadError> {
    let index: LayoutIndex = files.json("index.json")?;
    let mut images = Vec::new();
    for entry in index.manifests {
        let path = blob_path(&entry.digest);
        let bytes = files.find(&path)?.read().map_err(PullError::from)?;
        if let Manifest::Image { config, layers } =
            manifest::parse(&entry.media_type, &bytes).map_err(PullError::from)?
        {
            images.push(Saved {
                config: blob_path(&config.digest),
                repo_tags: entry
                    .annotations
                    .get("io.containerd.image.name")
                    .map(|name| vec![name.clone()]),
                layers: layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
            });
        }
    }
    Ok(images)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
