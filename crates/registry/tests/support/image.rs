//! An image as a registry has it: blobs and manifests, and the way to push them.

use std::net::SocketAddr;

use conex_reference::Digest;

use super::http::{Received, send};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Some content with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
}

impl Content {
    pub(crate) fn new(media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            bytes: bytes.into(),
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    fn descriptor(&self, more: &str) -> String {
        let (media_type, digest, size) = (&self.media_type, self.digest(), self.bytes.len());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
    }
}

/// One image: its configuration and layers, bytes as they travel.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) config: Content,
    pub(crate) layers: Vec<Content>,
}

impl Image {
    /// An image whose configuration is only as much as a registry looks at. Tests that unpack bring a real one.
    pub(crate) fn of_layers(layers: &[&[u8]]) -> Self {
        let config = Content::new(
            OCI_CONFIG,
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
        );
        Self {
            config,
            layers: layers
                .iter()
                .map(|bytes| Content::new(OCI_LAYER_GZIP, *bytes))
                .collect(),
        }
    }

    /// Its manifest, in the type that belongs to that of the configuration.
    pub(crate) fn manifest(&self) -> Content {
        let media_type = if self.config.media_type == DOCKER_CONFIG {
            DOCKER_MANIFEST
        } else {
            OCI_MANIFEST
        };
        let layers: Vec<String> = self.layers.iter().map(|layer| layer.descriptor("")).collect();
        let (config, layers) = (self.config.descriptor(""), layers.join(","));
        let json = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config},"layers":[{layers}]}}"#);
        Content::new(media_type, json)
    }
}

/// An index of manifests, each with `os`, `architecture` and `variant` (empty for none).
pub(crate) fn index(media_type: &str, entries: &[(&Content, &str, &str, &str)]) -> Content {
    let entry = |(manifest, os, architecture, variant): &(&Content, &str, &str, &str)| {
        let variant = if variant.is_empty() {
            String::new()
        } else {
            format!(r#","variant":"{variant}""#)
        };
        manifest.descriptor(&format!(
            r#","platform":{{"os":"{os}","architecture":"{architecture}"{variant}}}"#
        ))
    };
    let entries: Vec<String> = entries.iter().map(entry).collect();
    let entries = entries.join(",");
    Content::new(
        media_type,
        format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{entries}]}}"#),
    )
}

/// Uploads to a registry of plain HTTP, as `docker push` does, in the steps of the distribution specification.
pub(crate) struct Pusher<'a> {
    pub(crate) address: SocketAddr,
    /// Within the registry: `library/busybox`.
    pub(crate) repository: &'a str,
    /// The value of `Authorization`, where one is wanted.
    pub(crate) authorization: Option<&'a str>,
}

impl Pusher<'_> {
    /// Configuration, layers and manifest, the last under this tag (or digest).
    pub(crate) fn image(&self, image: &Image, tag: &str) -> Content {
        self.blob(&image.config);
        image.layers.iter().for_each(|layer| self.blob(layer));
        let manifest = image.manifest();
        self.manifest(&manifest, tag);
        manifest
    }

    pub(crate) fn blob(&self, content: &Content) {
        let (status, headers, body) = self.send("POST", &format!("/v2/{}/blobs/uploads/", self.repository), "", &[]);
        assert_eq!(status, 202, "begin an upload: {}", String::from_utf8_lossy(&body));
        let location = &headers.iter().find(|(name, _)| name == "location").unwrap().1;
        let target = location
            .strip_prefix(&format!("http://{}", self.address))
            .unwrap_or(location);
        let separator = if target.contains('?') { '&' } else { '?' };
        let target = format!("{target}{separator}digest={}", content.digest());
        let (status, _, body) = self.send("PUT", &target, "application/octet-stream", &content.bytes);
        assert_eq!(
            status,
            201,
            "upload {}: {}",
            content.digest(),
            String::from_utf8_lossy(&body)
        );
    }

    pub(crate) fn manifest(&self, manifest: &Content, tag: &str) {
        let target = format!("/v2/{}/manifests/{tag}", self.repository);
        let (status, _, body) = self.send("PUT", &target, &manifest.media_type, &manifest.bytes);
        assert_eq!(status, 201, "put manifest {tag}: {}", String::from_utf8_lossy(&body));
    }

    fn send(&self, method: &str, target: &str, content_type: &str, body: &[u8]) -> Received {
        let mut headers = vec![("Content-Type", content_type)];
        headers.extend(self.authorization.map(|authorization| ("Authorization", authorization)));
        headers.retain(|(_, value)| !value.is_empty());
        send(self.address, method, target, &headers, body).unwrap()
    }
}
