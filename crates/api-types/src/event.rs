//! `GET /events`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMessage {
    /// The action, for clients older than API 1.22; containers and images only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The object's id, for the same clients; a prune is of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The container's image, for the same clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `container`, `image`, `network`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `start`, `die`, `exec_create: sh`.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Actor {
    /// The object's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name, image, labels, exit code and the like.
    pub attributes: HashMap<String, String>,
}

impl EventMessage {
    /// An event at a time in nanoseconds since 1970.
    pub fn new(kind: &str, action: &str, id: &str, attributes: HashMap<String, String>, nanoseconds: i128) -> Self {
        let old = matches!(kind, "container" | "image");
        let time_nano = i64::try_from(nanoseconds).unwrap_or(i64::MAX);
        Self {
            status: old.then(|| action.to_owned()),
            id: (old && !id.is_empty()).then(|| id.to_owned()),
            from: if kind == "container" {
                attributes.get("image").cloned()
            } else {
                None
            },
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: Actor {
                id: id.to_owned(),
                attributes,
            },
            scope: "local".to_owned(),
            time: time_nano / 1_000_000_000,
            time_nano,
        }
    }
}
