//! `GET /images/get` and `GET /images/{name}/get`.

use std::io;

use conex_api_types as api;
use conex_image::{SaveError, SaveRequest};
use conex_stream::ByteStream;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::images::{find_error, platform_of};

impl Engine {
    /// Images as an archive that `load` takes: of all platforms or of one, without the layers of the image `since`.
    ///
    /// # Errors
    /// 404 where there is no such image, 400 for half of a platform, 500 where a layer cannot be given back.
    pub async fn save_images(
        &self,
        names: Vec<String>,
        platform: Option<&api::Platform>,
        since: Option<String>,
    ) -> Result<ByteStream> {
        let request = SaveRequest {
            names,
            platform: platform.map(platform_of).transpose()?,
            since,
        };
        let saving = self.inner.images.save(&request).await.map_err(|error| match error {
            SaveError::Find(error) => find_error(error),
            error => Error::new(ErrorKind::System, error.to_string()),
        })?;
        let ids: Vec<String> = saving.images().map(str::to_owned).collect();
        let (mut writer, body) = conex_stream::writer();
        tokio::task::spawn_blocking(move || {
            let Err(error) = saving.write(&mut writer) else { return };
            if !error.is_closed() {
                tracing::error!(%error, "save images");
                writer.fail(io::Error::other(error));
            }
        });
        for id in ids {
            self.inner.tell_of_image("save", &id, &id);
        }
        Ok(body)
    }
}
