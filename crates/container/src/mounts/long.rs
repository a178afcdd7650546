//! `--mount`: the long form, with a field for everything.

use conex_api_types::{BindOptions, Mount, VolumeOptions};

use super::{MountChoice, Submounts, VolumeChoice, clean, parse_propagation};
use crate::invalid::Invalid;

pub(super) fn parse(mount: &Mount) -> Result<MountChoice, Invalid> {
    let kind = mount.kind.as_str();
    if !matches!(kind, "bind" | "volume" | "tmpfs" | "image" | "cluster" | "npipe") {
        return Err(wrong(mount, "mount type unknown"));
    }
    if mount.target.is_empty() {
        return Err(wrong(mount, "field Target must not be empty"));
    }
    absolute(mount, &mount.target)?;
    let target = clean(&mount.target);
    if target == "/" {
        return Err(wrong(mount, "invalid specification: destination can't be '/'"));
    }
    for (field, owner, is_given) in [
        ("BindOptions", "bind", mount.bind_options.is_some()),
        ("VolumeOptions", "volume", mount.volume_options.is_some()),
        ("TmpfsOptions", "tmpfs", mount.tmpfs_options.is_some()),
    ] {
        if is_given && kind != owner {
            let words = format!("{field} must not be specified on mount type \"{kind}\"");
            return Err(Invalid::Field(words));
        }
    }
    match kind {
        "bind" => bind(mount, target),
        "volume" => volume(mount, target),
        "tmpfs" => tmpfs(mount, target),
        other => Err(Invalid::Unsupported {
            field: "Mounts",
            what: format!("the mount type {other:?}"),
        }),
    }
}

fn wrong(mount: &Mount, reason: &str) -> Invalid {
    Invalid::Field(format!("invalid mount config for type {:?}: {reason}", mount.kind))
}

fn absolute(mount: &Mount, path: &str) -> Result<(), Invalid> {
    if path.starts_with('/') {
        return Ok(());
    }
    let reason = format!("invalid mount path: '{path}' mount path must be absolute");
    Err(wrong(mount, &reason))
}

fn bind(mount: &Mount, target: String) -> Result<MountChoice, Invalid> {
    if mount.source.is_empty() {
        return Err(wrong(mount, "field Source must not be empty"));
    }
    absolute(mount, &mount.source)?;
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = parse_propagation(&options.propagation)
        .ok_or_else(|| Invalid::Field(format!("invalid propagation mode: {}", options.propagation)))?;
    Ok(MountChoice::Bind {
        source: mount.source.clone(),
        target,
        read_only: mount.read_only,
        submounts: submounts(mount.read_only, &options)?,
        recursive: !options.non_recursive,
        create: options.create_mountpoint,
        propagation,
        mode: String::new(),
    })
}

fn submounts(read_only: bool, options: &BindOptions) -> Result<Submounts, Invalid> {
    let conflict = |what: &str| Err(Invalid::Field(format!("mount options conflict: {what}")));
    match (options.read_only_non_recursive, options.read_only_force_recursive) {
        (_, true) if !read_only => conflict("!ReadOnly && BindOptions.ReadOnlyForceRecursive"),
        (true, true) => conflict("ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"),
        (true, false) => Ok(Submounts::Unchanged),
        (false, true) => Ok(Submounts::ForcedReadOnly),
        (false, false) => Ok(Submounts::ReadOnly),
    }
}

fn volume(mount: &Mount, target: String) -> Result<MountChoice, Invalid> {
    let VolumeOptions {
        no_copy,
        labels,
        driver_config,
        subpath,
    } = mount.volume_options.clone().unwrap_or_default();
    let anonymous = mount.source.is_empty();
    if anonymous && !subpath.is_empty() {
        return Err(wrong(mount, "must not set Subpath when using anonymous volumes"));
    }
    if subpath.starts_with('/') || subpath.split('/').any(|part| part == "..") {
        return Err(wrong(mount, "subpath must be a relative path within the volume"));
    }
    let driver = driver_config.unwrap_or_default();
    Ok(MountChoice::Volume(VolumeChoice {
        name: mount.source.clone(),
        target,
        read_only: mount.read_only,
        no_copy,
        anonymous,
        subpath,
        driver: driver.name,
        options: driver.options.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        mode: "z".to_owned(),
    }))
}

fn tmpfs(mount: &Mount, target: String) -> Result<MountChoice, Invalid> {
    if !mount.source.is_empty() {
        return Err(wrong(mount, "field Source must not be specified"));
    }
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    let mut exec = false;
    for option in options.options.iter().flatten() {
        match option.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["exec"] => exec = true,
            ["noexec"] => exec = false,
            _ => {
                let name = option.first().map_or("", String::as_str);
                return Err(wrong(mount, &format!("invalid option: {name}")));
            }
        }
    }
    Ok(MountChoice::Tmpfs {
        target,
        size: options.size_bytes,
        mode: options.mode,
        read_only: mount.read_only,
        exec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<MountChoice, String> {
        parse(&serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_volume_has_options() {
        let choice = parsed(
            r#"{"Type":"volume","Source":"v","Target":"/a/","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"Subpath":"s",
                "Labels":{"a":"b"},"DriverConfig":{"Name":"local","Options":{"type":"tmpfs"}}}}"#,
        );
        let Ok(MountChoice::Volume(volume)) = choice else {
            panic!()
        };
        assert_eq!(
            (volume.name.as_str(), volume.target.as_str(), volume.subpath.as_str()),
            ("v", "/a", "s")
        );
        assert!(volume.read_only && volume.no_copy && !volume.anonymous);
        assert_eq!(volume.options["type"], "tmpfs");
    }

    #[test]
    fn a_tmpfs_may_be_executable() {
        let choice = parsed(r#"{"Type":"tmpfs","Target":"/a","TmpfsOptions":{"Options":[["exec"]]}}"#);
        assert!(matches!(choice, Ok(MountChoice::Tmpfs { exec: true, .. })));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_dockers_words() {
        for (json, words) in [
            (
                r#"{"Type":"bogus","Target":"/x"}"#,
                "invalid mount config for type \"bogus\": mount type unknown",
            ),
            (
                r#"{"Type":"volume"}"#,
                "invalid mount config for type \"volume\": field Target must not be empty",
            ),
            (
                r#"{"Type":"volume","Target":"rel"}"#,
                "invalid mount config for type \"volume\": invalid mount path: 'rel' mount path must be absolute",
            ),
            (
                r#"{"Type":"volume","Source":"v","Target":"/x","BindOptions":{}}"#,
                "BindOptions must not be specified on mount type \"volume\"",
            ),
            (
                r#"{"Type":"tmpfs","Source":"v","Target":"/x"}"#,
                "invalid mount config for type \"tmpfs\": field Source must not be specified",
            ),
            (
                r#"{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Options":[["size","1m"]]}}"#,
                "invalid mount config for type \"tmpfs\": invalid option: size",
            ),
        ] {
            assert_eq!(parsed(json).unwrap_err(), words);
        }
    }
}
