//! An image of Debian's busybox, as `docker save` would write it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// A layer with these files, as an uncompressed archive. Names are taken as they are, whatever they are.
pub fn layer_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The configuration of an image with these uncompressed layers.
pub fn config_of(layers: &[&[u8]]) -> String {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("\"sha256:{}\"", hex(layer)))
        .collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"],"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    )
}

/// Writes `busybox.tar` into a directory; it loads as `busybox:latest`.
pub fn busybox_archive(dir: &Path) -> PathBuf {
    let path = dir.join("busybox.tar");
    fs::write(&path, archive_of("busybox", &busybox_layer())).unwrap();
    path
}

/// Writes `seeded.tar` into a directory; it loads as `seeded:latest`: busybox, and in a second layer `/seed`, which belongs to
/// 1000:1001, has mode 750 and contents, and is declared a volume.
pub fn seeded_archive(dir: &Path) -> PathBuf {
    let path = dir.join("seeded.tar");
    let config = r#"{"Cmd":["sh"],"Env":["PATH=/bin"],"Volumes":{"/seed":{}}}"#;
    let archive = archive_with("seeded", config, &[&busybox_layer(), &seed_layer()]);
    fs::write(&path, archive).unwrap();
    path
}

fn seed_layer() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode) in [("seed/", 0o750), ("seed/dir/", 0o755)] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_size(0);
        archive.append_data(&mut header, name, std::io::empty()).unwrap();
    }
    append(&mut archive, "seed/dir/file", b"contents\n", 0o644);
    let mut link = tar::Header::new_ustar();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "seed/link", "dir/file").unwrap();
    archive.into_inner().unwrap()
}

/// An archive that loads as `<name>:latest`, of one uncompressed layer.
pub fn archive_of(name: &str, layer: &[u8]) -> Vec<u8> {
    let config = r#"{"Cmd":["sh"],"Env":["PATH=/bin","FROM_IMAGE=yes"],"Labels":{"made":"here"}}"#;
    archive_with(name, config, &[layer])
}

/// An archive that loads as `<name>:latest`, of uncompressed layers, lowest first.
fn archive_with(name: &str, config: &str, layers: &[&[u8]]) -> Vec<u8> {
    let fields = format!(r#""created":"2026-01-01T00:00:00Z","config":{config},"history":[]"#);
    archive_from(&[&format!("{name}:latest")], &fields, layers)
}

/// Names, fields of the configuration, and layers of an image.
type ImageParts<'a> = (&'a [&'a str], &'a str, &'a [&'a [u8]]);

/// An archive that loads under these names, of uncompressed layers, lowest first, with these fields of a configuration.
pub fn archive_from(names: &[&str], fields: &str, layers: &[&[u8]]) -> Vec<u8> {
    archive_of_all(&[(names, fields, layers)])
}

/// An archive of several images, each as above. A layer that several have is in it once.
pub fn archive_of_all(images: &[ImageParts<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let (mut manifests, mut seen) = (Vec::new(), HashSet::new());
    for (names, fields, layers) in images {
        let diff_ids: Vec<String> = layers.iter().map(|layer| hex(layer)).collect();
        let joined = |form: &dyn Fn(&String) -> String| diff_ids.iter().map(form).collect::<Vec<_>>().join(",");
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux",{fields},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            joined(&|id| format!("\"sha256:{id}\""))
        );
        let config_name = format!("{}.json", hex(config.as_bytes()));
        for (id, layer) in diff_ids.iter().zip(*layers) {
            if seen.insert(id.clone()) {
                append(&mut archive, &format!("{id}/layer.tar"), layer, 0o644);
            }
        }
        append(&mut archive, &config_name, config.as_bytes(), 0o644);
        manifests.push(format!(
            r#"{{"Config":"{config_name}","RepoTags":{names:?},"Layers":[{}]}}"#,
            joined(&|id| format!("\"{id}/layer.tar\""))
        ));
    }
    let manifest = format!("[{}]", manifests.join(","));
    append(&mut archive, "manifest.json", manifest.as_bytes(), 0o644);
    archive.into_inner().unwrap()
}

/// A layer with busybox and its applets, as an uncompressed archive.
pub fn busybox_layer() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("/bin/busybox (Debian package busybox-static) is needed");
    let mut archive = tar::Builder::new(Vec::new());
    for (dir, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("sys", 0o755),
        ("dev", 0o755),
        ("tmp", 0o1777),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        archive
            .append_data(&mut header, format!("{dir}/"), std::io::empty())
            .unwrap();
    }
    append(&mut archive, "bin/busybox", &busybox, 0o755);
    append(
        &mut archive,
        "etc/passwd",
        b"root:x:0:0:root:/:/bin/sh\nworker:x:1000:1000::/home:/bin/sh\n",
        0o644,
    );
    append(
        &mut archive,
        "etc/group",
        b"root:x:0:\nworker:x:1000:\naudio:x:29:worker\n",
        0o644,
    );
    append(&mut archive, "etc/secret", b"secret\n", 0o600);
    let applets = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets)
        .unwrap()
        .split_whitespace()
        .filter(|applet| *applet != "busybox")
    {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        archive
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    archive.into_inner().unwrap()
}

fn append<W: std::io::Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes).unwrap();
}

/// Digits of the SHA-256 of these bytes.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
