//! An image of Debian's busybox, pushed to a registry with curl.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{Outcome, output, run};

/// Makes the image in `dir` and pushes it as `busybox:latest`.
pub(crate) fn push(dir: &Path, registry: &str) -> Outcome {
    let root = dir.join("rootfs");
    fs::create_dir_all(root.join("bin")).map_err(|error| format!("create {}: {error}", root.display()))?;
    fs::copy("/bin/busybox", root.join("bin/busybox")).map_err(|error| format!("copy /bin/busybox: {error}"))?;
    for applet in output(Command::new("/bin/busybox").arg("--list"))?.split_whitespace() {
        if applet != "busybox" {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).map_err(|error| error.to_string())?;
        }
    }
    let (tar, layer) = (dir.join("layer.tar"), dir.join("layer.tar.gz"));
    run(Command::new("tar")
        .args(["--numeric-owner", "-C"])
        .arg(&root)
        .arg("-cf")
        .arg(&tar)
        .arg("."))?;
    let compressed = Command::new("gzip")
        .arg("-nc")
        .arg(&tar)
        .output()
        .map_err(|error| format!("gzip: {error}"))?;
    fs::write(&layer, compressed.stdout).map_err(|error| format!("write {}: {error}", layer.display()))?;

    let config = dir.join("config.json");
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    write(
        &config,
        &format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":["sh"],"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            digest(&tar)?
        ),
    )?;
    for blob in [&config, &layer] {
        push_blob(registry, blob)?;
    }
    let manifest = dir.join("manifest.json");
    write(
        &manifest,
        &format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", &config)?,
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)?
        ),
    )?;
    let url = format!("http://{registry}/v2/busybox/manifests/latest");
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

fn push_blob(registry: &str, path: &Path) -> Outcome {
    let uploads = format!("http://{registry}/v2/busybox/blobs/uploads/");
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
