//! Images that are pushed to a registry with curl: Debian's busybox, and a large one for the benchmark of a pull.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, output, run};

/// Makes an image of busybox in `dir` and pushes it as `busybox:latest`.
pub(crate) fn push_busybox(dir: &Path, registry: &str) -> Outcome {
    let root = dir.join("rootfs");
    fs::create_dir_all(root.join("bin")).map_err(|error| format!("create {}: {error}", root.display()))?;
    fs::copy("/bin/busybox", root.join("bin/busybox")).map_err(|error| format!("copy /bin/busybox: {error}"))?;
    for applet in output(Command::new("/bin/busybox").arg("--list"))?.split_whitespace() {
        if applet != "busybox" {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).map_err(|error| error.to_string())?;
        }
    }
    push(dir, registry, "busybox", &[(root, ".")])
}

/// Parts of this machine that become a layer each.
const PARTS: [&str; 7] = [
    "usr/bin",
    "usr/sbin",
    "usr/include",
    "usr/lib/gcc",
    "usr/lib/python3",
    "usr/share/doc",
    "usr/lib/git-core",
];

/// Makes an image of parts of this machine, a layer each, and pushes it as `large:latest`.
pub(crate) fn push_large(registry: &str) -> Outcome {
    let dir = std::env::temp_dir().join(format!("conex-large-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(|error| format!("create {}: {error}", dir.display()))?;
    let parts: Vec<(PathBuf, &str)> = PARTS
        .iter()
        .filter(|part| Path::new("/").join(part).is_dir())
        .map(|part| (PathBuf::from("/"), *part))
        .collect();
    let pushed = push(&dir, registry, "large", &parts);
    fs::remove_dir_all(&dir).map_err(|error| format!("remove {}: {error}", dir.display()))?;
    pushed
}

/// Pushes an image with a layer of each part: a member of a directory.
fn push(dir: &Path, registry: &str, name: &str, parts: &[(PathBuf, &str)]) -> Outcome {
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (number, (root, member)) in parts.iter().enumerate() {
        let tar = dir.join(format!("layer{number}.tar"));
        run(Command::new("tar")
            .args(["--numeric-owner", "-C"])
            .arg(root)
            .arg("-cf")
            .arg(&tar)
            .arg(member))?;
        diff_ids.push(format!("\"{}\"", digest(&tar)?));
        run(Command::new("gzip").arg("-n").arg(&tar))?;
        let layer = dir.join(format!("layer{number}.tar.gz"));
        push_blob(registry, name, &layer)?;
        layers.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)?);
    }
    let config = dir.join("config.json");
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    write(
        &config,
        &format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":["sh"],"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        ),
    )?;
    push_blob(registry, name, &config)?;
    let manifest = dir.join("manifest.json");
    write(
        &manifest,
        &format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", &config)?,
            layers.join(",")
        ),
    )?;
    let url = format!("http://{registry}/v2/{name}/manifests/latest");
    let body = format!("@{}", manifest.display());
    let content_type = format!("Content-Type: {MANIFEST}");
    run(Command::new("curl").args(["-sSf", "-X", "PUT", "-H", &content_type, "--data-binary", &body, &url]))
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
}

fn digest(path: &Path) -> Outcome<String> {
    let text = output(Command::new("sha256sum").arg(path))?;
    Ok(format!("sha256:{}", text.split_whitespace().next().unwrap_or_default()))
}

fn descriptor(media_type: &str, path: &Path) -> Outcome<String> {
    let size = fs::metadata(path)
        .map_err(|error| format!("read {}: {error}", path.display()))?
        .len();
    Ok(format!(
        r#"{{"mediaType":"{media_type}","digest":"{}","size":{size}}}"#,
        digest(path)?
    ))
}

fn push_blob(registry: &str, name: &str, path: &Path) -> Outcome {
    let uploads = format!("http://{registry}/v2/{name}/blobs/uploads/");
    let answer = output(Command::new("curl").args(["-sSf", "-X", "POST", "-D", "-", "-o", "/dev/null", &uploads]))?;
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
    let location = location.ok_or("the registry names no place for the upload")?.trim();
    let url = format!("{location}&digest={}", digest(path)?);
    let body = format!("@{}", path.display());
    run(Command::new("curl").args([
        "-sSf",
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/octet-stream",
        "--data-binary",
        &body,
        &url,
    ]))
}
