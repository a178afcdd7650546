//! Tags of entries: text with fields of the container in it, `{{.Name}}/{{.ID}}`, the part of Go's templates that tags are
//! made of.

use crate::invalid::Invalid;

/// A tag that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    FullId,
    Name,
    ImageId,
    ImageFullId,
    ImageName,
    Command,
    DaemonName,
    Hostname,
}

/// What a tag may tell.
#[derive(Debug, Clone, Default)]
pub struct TagFacts {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image's id, `sha256:...`.
    pub image_id: String,
    /// The name that the image was asked for by.
    pub image_name: String,
    /// The program and its arguments.
    pub command: String,
    /// The host's name.
    pub hostname: String,
}

impl Tag {
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |why: &str| Invalid::Field(format!("template: log-tag:1: {why}"));
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, action)) = rest.split_once("{{") {
            let (action, after) = action.split_once("}}").ok_or_else(|| refuse("unclosed action"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let name = action.trim();
            let field = name.strip_prefix('.').and_then(field);
            let field = field.ok_or_else(|| refuse(&format!("can't evaluate {name} in type *logger.Info")))?;
            pieces.push(Piece::Field(field));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    pub(super) fn of(&self, facts: &TagFacts) -> String {
        let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(Field::Id) => short(&facts.id),
            Piece::Field(Field::FullId) => facts.id.clone(),
            Piece::Field(Field::Name) => facts.name.clone(),
            Piece::Field(Field::ImageId) => short(&facts.image_id),
            Piece::Field(Field::ImageFullId) => facts.image_id.clone(),
            Piece::Field(Field::ImageName) => facts.image_name.clone(),
            Piece::Field(Field::Command) => facts.command.clone(),
            // As in Docker, whose log shippers know it.
            Piece::Field(Field::DaemonName) => "docker".to_owned(),
            Piece::Field(Field::Hostname) => facts.hostname.clone(),
        });
        pieces.collect()
    }
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "ID" => Field::Id,
        "FullID" | "ContainerID" => Field::FullId,
        "Name" => Field::Name,
        "ImageID" => Field::ImageId,
        "ImageFullID" | "ContainerImageID" => Field::ImageFullId,
        "ImageName" | "ContainerImageName" => Field::ImageName,
        "Command" => Field::Command,
        "DaemonName" => Field::DaemonName,
        "Hostname" => Field::Hostname,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn fields_stand_for_what_they_are() {
        let facts = TagFacts {
            id: "0123456789abcdef".into(),
            name: "box".into(),
            image_id: "sha256:fedcba9876543210".into(),
            image_name: "busybox:1".into(),
            command: "sh -c true".into(),
            hostname: "host".into(),
        };
        let tag = |text: &str| Tag::parse(text).unwrap().of(&facts);
        assert_eq!(tag("{{.Name}}/{{ .ID }} x"), "box/0123456789ab x");
        assert_eq!(
            tag("{{.ImageName}}|{{.ImageID}}|{{.ImageFullID}}|{{.FullID}}|{{.Command}}|{{.DaemonName}}|{{.Hostname}}"),
            "busybox:1|fedcba987654|sha256:fedcba9876543210|0123456789abcdef|sh -c true|docker|host"
        );
        assert_eq!((tag("plain").as_str(), tag("").as_str()), ("plain", ""));
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in ["{{", "{{.Nosuch}}", "{{Name}}", "{{.Name | upper}}", "a{{}}"] {
            assert!(Tag::parse(text).is_err(), "{text}");
        }
    }
}
