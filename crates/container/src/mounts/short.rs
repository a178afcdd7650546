//! `-v`: `target`, `name:target[:options]`, `/source:target[:options]`.

use super::{BindPropagation, MountChoice, Submounts, VolumeChoice, parse_propagation, volume_target};
use crate::invalid::Invalid;

/// Options of `-v`, of each kind at most one.
#[derive(Debug, Default)]
struct Options {
    read_only: Option<bool>,
    propagation: Option<BindPropagation>,
    recursive: Option<bool>,
    no_copy: Option<()>,
    label: Option<()>,
    consistency: Option<()>,
}

pub(super) fn parse(text: &str, driver: &str) -> Result<MountChoice, Invalid> {
    let mut parts = text.split(':');
    let specification = (parts.next(), parts.next(), parts.next(), parts.next());
    let (source, target, mode) = match specification {
        (Some(target), None, ..) if !target.is_empty() => ("", target, ""),
        (Some(source), Some(target), mode, None) if !source.is_empty() => (source, target, mode.unwrap_or("")),
        _ => return Err(Invalid::Field(format!("invalid volume specification: '{text}'"))),
    };
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let target = volume_target(target, kind, text)?;
    let options = parse_options(mode)?;
    let must_not = |field: &str| {
        Err(Invalid::Field(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{kind}\": field {field} must not be \
             specified"
        )))
    };
    if source.starts_with('/') {
        if options.no_copy.is_some() {
            return must_not("VolumeOptions");
        }
        return Ok(MountChoice::Bind {
            source: source.to_owned(),
            target,
            read_only: options.read_only.unwrap_or(false),
            submounts: Submounts::ReadOnly,
            recursive: options.recursive.unwrap_or(true),
            create: true,
            propagation: options.propagation.unwrap_or_default(),
            mode: mode.to_owned(),
        });
    }
    if options.propagation.is_some() || options.recursive.is_some() {
        return must_not("BindOptions");
    }
    Ok(MountChoice::Volume(VolumeChoice {
        name: source.to_owned(),
        target,
        read_only: options.read_only.unwrap_or(false),
        no_copy: options.no_copy.is_some(),
        anonymous: source.is_empty(),
        driver: driver.to_owned(),
        mode: if mode.is_empty() { "z" } else { mode }.to_owned(),
        ..VolumeChoice::default()
    }))
}

fn parse_options(mode: &str) -> Result<Options, Invalid> {
    let mut options = Options::default();
    for option in mode.split(',').filter(|_| !mode.is_empty()) {
        let is_first = match option {
            "ro" => options.read_only.replace(true).is_none(),
            "rw" => options.read_only.replace(false).is_none(),
            "rbind" => options.recursive.replace(true).is_none(),
            "bind" => options.recursive.replace(false).is_none(),
            "nocopy" => options.no_copy.replace(()).is_none(),
            // Read again where SELinux is (`MountChoice::relabel`).
            "z" | "Z" => options.label.replace(()).is_none(),
            // It has no meaning on Linux.
            "consistent" | "cached" | "delegated" | "default" => options.consistency.replace(()).is_none(),
            "" => false,
            other => match parse_propagation(other) {
                Some(propagation) => options.propagation.replace(propagation).is_none(),
                None => false,
            },
        };
        if !is_first {
            return Err(Invalid::Field(format!("invalid mode: {mode}")));
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn volume(text: &str) -> VolumeChoice {
        match parse(text, "") {
            Ok(MountChoice::Volume(volume)) => volume,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        parse(text, "").unwrap_err().to_string()
    }

    #[test]
    fn a_path_of_the_host_is_bound() {
        let MountChoice::Bind {
            source,
            target,
            read_only,
            propagation,
            ..
        } = parse("/a:/b:ro,rslave", "").unwrap()
        else {
            panic!()
        };
        assert_eq!((source.as_str(), target.as_str(), read_only), ("/a", "/b", true));
        assert_eq!(propagation, BindPropagation::Slave);
    }

    #[test]
    fn a_name_is_a_volume_and_so_is_nothing() {
        let named = volume("name:/b:nocopy,ro");
        assert_eq!((named.name.as_str(), named.target.as_str()), ("name", "/b"));
        assert!(named.read_only && named.no_copy && !named.anonymous);
        let unnamed = volume("/b/");
        assert_eq!((unnamed.name.as_str(), unnamed.target.as_str()), ("", "/b"));
        assert!(unnamed.anonymous);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_dockers_words() {
        assert_eq!(refusal("one:/x:ro,rw"), "invalid mode: ro,rw");
        assert_eq!(refusal("one:/x:bad"), "invalid mode: bad");
        assert_eq!(refusal(":/x"), "invalid volume specification: ':/x'");
        assert_eq!(
            refusal("one:/"),
            "invalid volume specification: 'one:/': invalid mount config for type \"volume\": invalid specification: \
             destination can't be '/'"
        );
        assert_eq!(
            refusal("one:x"),
            "invalid volume specification: 'one:x': invalid mount config for type \"volume\": invalid mount path: 'x' mount \
             path must be absolute"
        );
        assert_eq!(
            refusal("one:/x:rslave"),
            "invalid volume specification: 'one:/x:rslave': invalid mount config for type \"volume\": field BindOptions must \
             not be specified"
        );
        assert!(refusal("/a:/b:nocopy").contains("field VolumeOptions must not be specified"));
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text in ".*") {
            let _ = parse(&text, "");
        }
    }
}
