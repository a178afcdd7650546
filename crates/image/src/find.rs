//! Images by name, digest, id, or the beginning of an id.

use std::sync::Arc;

use conex_reference::{AnyReference, Reference};
use tokio::sync::OwnedRwLockReadGuard;

use crate::error::FindError;
use crate::image::Image;
use crate::images::Images;
use crate::index::Index;

/// What a client's text named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A name, in its complete form.
    Reference(Reference),
    /// An id or its beginning.
    Id,
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

    /// The image that a text names.
    pub fn find(&self, name: &str) -> Result<Arc<Image>, FindError> {
        let index = self.shared.index();
        let (id, _) = resolve(&index, name)?;
        index.image(&id).ok_or_else(|| no_such_image(name))
    }

    /// The id of the image that a text names.
    ///
    /// # Errors
    /// As for the image itself.
    pub fn id_of(&self, name: &str) -> Result<String, FindError> {
        resolve(&self.shared.index(), name).map(|(id, _)| id)
    }

    /// The image that a container was made of, by its id. One that was removed by force is still there for it.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn find_of_container(&self, id: &str) -> Result<Arc<Image>, FindError> {
        let image = self.shared.index().image_of_container(id);
        image.ok_or_else(|| no_such_image(id))
    }

    /// The image that a text names, kept from removal until the lease is dropped.
    pub async fn hold(&self, name: &str) -> Result<Lease, FindError> {
        let uses = self.shared.uses.clone().read_owned().await;
        Ok(Lease {
            image: self.find(name)?,
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

/// The id of the image that a text names, and how it named it. Names go before beginnings of ids.
pub(crate) fn resolve(index: &Index, text: &str) -> Result<(String, Named), FindError> {
    let parsed = AnyReference::parse(text);
    if let Ok(AnyReference::Id(id)) = &parsed {
        let id = id.to_string();
        return if index.images.contains_key(&id) {
            Ok((id, Named::Id))
        } else {
            Err(no_such_image(text))
        };
    }
    if let Ok(AnyReference::Named(reference)) = &parsed {
        let reference = reference.clone().with_default_tag();
        if let Some(id) = index.tags.get(&reference.to_string()) {
            return Ok((id.clone(), Named::Reference(reference)));
        }
        // A name with tag and digest is known by its digest.
        let by_digest = reference
            .digest()
            .map(|digest| reference.clone().without_tag_and_digest().with_digest(digest));
        if let Some(by_digest) = by_digest
            && let Some(id) = index.tags.get(&by_digest.to_string())
        {
            return Ok((id.clone(), Named::Reference(by_digest)));
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
            (Some(id), None) => return Ok((id.clone(), Named::Id)),
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
