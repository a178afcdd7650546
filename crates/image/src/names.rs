//! What names mean: the images that stand under them, one for each platform.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use conex_metadata::{Changes, Table};
use conex_reference::Digest;
use serde::{Deserialize, Serialize};

use crate::records::VERSION;
use crate::tag::encode;

/// The images under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// Digest of the manifest or index that a registry has under the name, where the images came by one.
    pub(crate) target: Option<Digest>,
    /// Their ids, of one platform each; what got the name last goes first. Never empty in the store.
    pub(crate) images: Vec<String>,
}

impl Meaning {
    /// One image and nothing else.
    pub(crate) fn of(image: &str) -> Self {
        Self {
            target: None,
            images: vec![image.to_owned()],
        }
    }

    /// The same without an image.
    pub(crate) fn without(&self, image: &str) -> Self {
        let others = self.images.iter().filter(|other| *other != image);
        Self {
            target: self.target,
            images: others.cloned().collect(),
        }
    }

    /// Reads what is stored: a record, or the id of an image, as names were stored before they could mean several.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        match std::str::from_utf8(bytes) {
            Ok(id) if id.starts_with("sha256:") => Ok(Self::of(id)),
            _ => serde_json::from_slice::<NameRecord>(bytes).map(|record| Self {
                target: record.target,
                images: record.images,
            }),
        }
    }

    fn encode(&self) -> Vec<u8> {
        encode(&NameRecord {
            version: VERSION,
            target: self.target,
            images: self.images.clone(),
        })
    }
}

/// A name as the metadata store has it.
#[derive(Serialize, Deserialize)]
struct NameRecord {
    /// Version of this shape.
    version: u32,
    #[serde(default)]
    target: Option<Digest>,
    images: Vec<String>,
}

/// The change that gives a name this meaning; one without images is the name's end.
pub(crate) fn change(changes: Changes, name: &str, meaning: &Meaning) -> Changes {
    if meaning.images.is_empty() {
        changes.delete(Table::Tags, name)
    } else {
        changes.put(Table::Tags, name, meaning.encode())
    }
}

/// All names in their complete form, both ways round.
#[derive(Debug, Default)]
pub(crate) struct Names {
    meanings: BTreeMap<String, Meaning>,
    of_image: HashMap<String, BTreeSet<String>>,
}

impl Names {
    pub(crate) fn get(&self, name: &str) -> Option<&Meaning> {
        self.meanings.get(name)
    }

    /// Gives a name a meaning; one without images ends it.
    pub(crate) fn set(&mut self, name: String, meaning: Meaning) {
        if let Some(old) = self.meanings.remove(&name) {
            for image in &old.images {
                if let Some(names) = self.of_image.get_mut(image) {
                    names.remove(&name);
                    if names.is_empty() {
                        self.of_image.remove(image);
                    }
                }
            }
        }
        if meaning.images.is_empty() {
            return;
        }
        for image in &meaning.images {
            let names = self.of_image.entry(image.clone()).or_default();
            names.insert(name.clone());
        }
        self.meanings.insert(name, meaning);
    }

    /// The names of an image, in order.
    pub(crate) fn of_image<'a>(&'a self, image: &str) -> impl Iterator<Item = &'a String> + Clone + use<'a> {
        self.of_image.get(image).into_iter().flatten()
    }

    /// Whether the image shares a name with another.
    pub(crate) fn is_shared(&self, image: &str) -> bool {
        let meanings = self.of_image(image).filter_map(|name| self.meanings.get(name));
        meanings.into_iter().any(|meaning| meaning.images.len() > 1)
    }

    /// All names, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Meaning)> {
        self.meanings.iter()
    }

    /// Whether a name came by this manifest or index.
    pub(crate) fn has_target(&self, digest: &Digest) -> bool {
        self.meanings.values().any(|meaning| meaning.target == Some(*digest))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn names_are_known_by_their_images_and_images_by_their_names() {
        let mut names = Names::default();
        let both = Meaning {
            target: Some(Digest::of(b"index")),
            images: vec!["arm".to_owned(), "amd".to_owned()],
        };
        names.set("a:1".to_owned(), both.clone());
        names.set("b:1".to_owned(), Meaning::of("amd"));
        let of = |names: &Names, image| names.of_image(image).cloned().collect::<Vec<_>>();
        assert_eq!(of(&names, "amd"), ["a:1", "b:1"]);
        assert_eq!(of(&names, "arm"), ["a:1"]);
        assert!(names.has_target(&Digest::of(b"index")));
        names.set("a:1".to_owned(), both.without("amd"));
        assert_eq!(
            (of(&names, "amd"), of(&names, "arm")),
            (vec!["b:1".to_owned()], vec!["a:1".to_owned()])
        );
        names.set("a:1".to_owned(), both.without("amd").without("arm"));
        assert_eq!(names.get("a:1"), None);
        assert!(of(&names, "arm").is_empty() && !names.has_target(&Digest::of(b"index")));
    }

    #[test]
    fn a_meaning_reads_as_it_was_written_and_as_ids_were() {
        let meaning = Meaning {
            target: Some(Digest::of(b"index")),
            images: vec!["sha256:a".to_owned(), "sha256:b".to_owned()],
        };
        assert_eq!(Meaning::decode(&meaning.encode()).unwrap(), meaning);
        assert_eq!(Meaning::decode(b"sha256:a").unwrap(), Meaning::of("sha256:a"));
        assert!(Meaning::decode(b"nothing").is_err());
    }
}
