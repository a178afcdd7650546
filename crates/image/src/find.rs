//! Images by name, digest, id, or the beginning of an id.

use std::sync::Arc;

use conex_reference::{AnyReference, Platform, Reference};
use tokio::sync::OwnedRwLockReadGuard;

use crate::error::FindError;
use crate::image::Image;
use crate::images::Images;
use crate::index::Index;
use crate::names::Meaning;

/// What a client's text named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A name, in its complete form.
    Name(Reference),
    /// An image, by its id or the beginning of it.
    Id(String),
}

impl Named {
    /// The image that is meant, of a platform where one is wanted. `text` is what the client wrote.
    pub(crate) fn chosen(&self, index: &Index, text: &str, wanted: Option<&Platform>) -> Result<String, FindError> {
        let meaning = self.meaning(index);
        let chosen = match wanted {
            None => index.preferred(&meaning),
            Some(wanted) => index.suited(&meaning, wanted),
        };
        match (chosen, wanted, meaning.images.as_slice()) {
            (Some(id), ..) => Ok(id.clone()),
            (None, Some(wanted), [only]) if index.images.contains_key(only) => Err(FindError::OtherPlatform {
                name: text.to_owned(),
                built_for: index.images[only].platform().to_string(),
                wanted: wanted.to_string(),
            }),
            (None, Some(wanted), [_, _, ..]) => Err(FindError::NoPlatform {
                name: text.to_owned(),
                wanted: wanted.to_string(),
            }),
            _ => Err(no_such_image(text)),
        }
    }

    /// All images that are meant, and what they came by.
    pub(crate) fn meaning(&self, index: &Index) -> Meaning {
        match self {
            Self::Name(reference) => index.names.get(&reference.to_string()).cloned().unwrap_or_default(),
            Self::Id(id) => Meaning::of(id),
        }
    }
}

/// An image that is not removed while this lives. To be held shortly: removals wait for it.
#[derive(Debug)]
#[must_use = "the image may be removed once this is dropped"]
pub struct Lease {
    /// The image.
    pub image: Arc<Image>,
    _uses: OwnedRwLockReadGuard<()>,
}

impl Images {
    /// All images, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        let index = self.shared.index();
        let mut images: Vec<Arc<Image>> = index.images.keys().filter_map(|id| index.image(id)).collect();
        images.sort_by(|one, other| (&other.config.created, &other.id).cmp(&(&one.config.created, &one.id)));
        images
    }

    /// All images, newest first, as a list of names shows them: each with the names that mean it where no platform is said,
    /// and those not at all that have names but are meant by none.
    #[must_use]
    pub fn list_by_names(&self) -> Vec<Arc<Image>> {
        let images = self.list();
        let index = self.shared.index();
        let is_meant = |id: &str, name: &String| {
            let name = Reference::parse(name).map(|name| name.to_string());
            let meaning = name.ok().and_then(|name| index.names.get(&name));
            meaning
                .and_then(|meaning| index.preferred(meaning))
                .is_none_or(|meant| meant == id)
        };
        let shown = images.into_iter().filter_map(|mut image| {
            let id = image.id.clone();
            if index.names.is_shared(&id) {
                let image = Arc::make_mut(&mut image);
                image.repo_tags.retain(|name| is_meant(&id, name));
                image.repo_digests.retain(|name| is_meant(&id, name));
                if image.repo_tags.is_empty() && image.repo_digests.is_empty() {
                    return None;
                }
            }
            Some(image)
        });
        shown.collect()
    }

    /// What this machine runs.
    #[must_use]
    pub fn host(&self) -> &Platform {
        &self.shared.settings.host
    }

    /// The image that a text names. Of several under one name that which runs here.
    pub fn find(&self, name: &str) -> Result<Arc<Image>, FindError> {
        self.find_for(name, None)
    }

    /// The image that a text names, of a platform where one is wanted.
    pub fn find_for(&self, name: &str, platform: Option<&Platform>) -> Result<Arc<Image>, FindError> {
        let index = self.shared.index();
        let id = resolve(&index, name)?.chosen(&index, name, platform)?;
        index.image(&id).ok_or_else(|| no_such_image(name))
    }

    /// The id of the image that a text names.
    ///
    /// # Errors
    /// As for the image itself.
    pub fn id_of(&self, name: &str) -> Result<String, FindError> {
        let index = self.shared.index();
        resolve(&index, name)?.chosen(&index, name, None)
    }

    /// The image that a container was made of, by its id. One that was removed by force is still there for it.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn find_of_container(&self, id: &str) -> Result<Arc<Image>, FindError> {
        let image = self.shared.index().image_of_container(id);
        image.ok_or_else(|| no_such_image(id))
    }

    /// The image that a text names, of a platform where one is wanted, kept from removal until the lease is dropped.
    pub async fn hold(&self, name: &str, platform: Option<&Platform>) -> Result<Lease, FindError> {
        let uses = self.shared.uses.clone().read_owned().await;
        Ok(Lease {
            image: self.find_for(name, platform)?,
            _uses: uses,
        })
    }

    /// The configuration of an image, byte for byte.
    pub fn read_config(&self, image: &Image) -> Result<Vec<u8>, conex_content::ContentError> {
        match conex_reference::Digest::parse(&image.id) {
            Ok(digest) => self.shared.content.read(&digest),
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// What a text names. Names go before beginnings of ids.
pub(crate) fn resolve(index: &Index, text: &str) -> Result<Named, FindError> {
    let parsed = AnyReference::parse(text);
    if let Ok(AnyReference::Id(id)) = &parsed {
        let id = id.to_string();
        return if index.images.contains_key(&id) {
            Ok(Named::Id(id))
        } else {
            Err(no_such_image(text))
        };
    }
    if let Ok(AnyReference::Named(reference)) = &parsed {
        let reference = reference.clone().with_default_tag();
        if index.names.get(&reference.to_string()).is_some() {
            return Ok(Named::Name(reference));
        }
        // A name with tag and digest is known by its digest.
        let by_digest = reference
            .digest()
            .map(|digest| reference.clone().without_tag_and_digest().with_digest(digest));
        if let Some(by_digest) = by_digest
            && index.names.get(&by_digest.to_string()).is_some()
        {
            return Ok(Named::Name(by_digest));
        }
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    if !prefix.is_empty()
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    {
        let mut found = index
            .images
            .keys()
            .filter(|id| id["sha256:".len()..].starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(id), None) => return Ok(Named::Id(id.clone())),
            (Some(_), Some(_)) => {
                return Err(FindError::Ambiguous {
                    prefix: prefix.to_owned(),
                });
            }
            (None, _) => {}
        }
    }
    match parsed {
        Ok(_) => Err(no_such_image(text)),
        Err(error) => Err(FindError::Invalid(error)),
    }
}

/// Docker names what it looked for: with the tag, an id with its algorithm.
fn no_such_image(text: &str) -> FindError {
    let name = match AnyReference::parse(text) {
        Ok(AnyReference::Named(reference)) => reference.with_default_tag().familiar(),
        Ok(AnyReference::Id(id)) => id.to_string(),
        _ => text.to_owned(),
    };
    FindError::NoSuchImage { name }
}
