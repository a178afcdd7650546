//! The manifests of an image as clients are told of them.

use conex_api_types as api;
use conex_image::{Image, ManifestKind, ManifestSummary};
use conex_reference::Platform;

use crate::engine::Inner;

impl Inner {
    /// All manifests under the names of an image.
    pub(super) fn manifests(&self, image: &Image) -> Vec<api::ImageManifestSummary> {
        let manifests = self.images.manifests(image).into_iter();
        manifests.map(|manifest| self.manifest(manifest)).collect()
    }

    fn manifest(&self, manifest: ManifestSummary) -> api::ImageManifestSummary {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let descriptor = manifest.descriptor;
        let mut summary = api::ImageManifestSummary {
            id: descriptor.digest.to_string(),
            descriptor: api::Descriptor {
                media_type: descriptor.media_type,
                digest: descriptor.digest.to_string(),
                size: descriptor.size,
            },
            size: api::ManifestSize {
                content: number(manifest.content),
                total: number(manifest.content),
            },
            ..api::ImageManifestSummary::default()
        };
        match manifest.kind {
            ManifestKind::Image { platform, image } => {
                let unpacked = image.as_ref().map_or(0, |image| number(image.size));
                summary.kind = "image".to_owned();
                summary.available = image.is_some();
                summary.size.total = summary.size.total.saturating_add(unpacked);
                summary.image_data = Some(api::ManifestImageData {
                    platform: told(&platform),
                    containers: image.map(|image| self.containers_of(&image.id)).unwrap_or_default(),
                    size: api::UnpackedSize { unpacked },
                });
            }
            ManifestKind::Attestation { of } => {
                summary.kind = "attestation".to_owned();
                summary.attestation_data = Some(api::AttestationData { of: of.to_string() });
            }
            ManifestKind::Unknown => summary.kind = "unknown".to_owned(),
        }
        summary
    }

    fn containers_of(&self, image: &str) -> Vec<String> {
        let containers = self.containers.all().into_iter();
        let of = containers.filter(|container| container.image == image);
        of.map(|container| container.id.clone()).collect()
    }
}

fn told(platform: &Platform) -> api::Platform {
    api::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..api::Platform::default()
    }
}
