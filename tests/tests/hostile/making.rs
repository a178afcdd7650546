//! Images, archives and their compression, made for the tests.

use conex_tests::{compressed, config_of, layer_of, noise};

use crate::registries::image::{Content, Image, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};

/// An image of two layers, one by gzip and one by zstd.
pub(crate) fn image() -> Image {
    let noise = noise(20_000, 0);
    let first = layer_of(&[("first", &noise), ("second", b"x")]);
    let second = layer_of(&[("third", &noise[1..])]);
    Image {
        config: Content::new(OCI_CONFIG, config_of(&[&first, &second])),
        layers: vec![
            Content::new(OCI_LAYER_GZIP, compressed("gzip", &first)),
            Content::new(OCI_LAYER_ZSTD, compressed("zstd", &second)),
        ],
    }
}

/// An image of one layer: what is compressed, and how it came to be.
pub(crate) fn image_of(media_type: &str, blob: Vec<u8>, archive: &[u8]) -> Image {
    Image {
        config: Content::new(OCI_CONFIG, config_of(&[archive])),
        layers: vec![Content::new(media_type, blob)],
    }
}

/// One bit is another.
pub(crate) fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let length = bytes.len();
    bytes[bit / 8 % length] ^= 1 << (bit % 8);
    bytes
}

/// Bits of so many bytes, spread over them.
pub(crate) fn bits(length: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |number| (number * length * 8 / count) + (number * 5) % 8)
}

/// A member of this header with contents.
pub(crate) fn member(name: &str, kind: tar::EntryType, contents: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(contents.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(contents);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
