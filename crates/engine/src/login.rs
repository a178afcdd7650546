//! `POST /auth`: whether a registry takes somebody's credentials. They are not kept; clients send them with each pull.

use conex_api_types as api;
use conex_registry::{Credentials, RegistryError};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// Asks the registry that the credentials name. `body` is Docker's `AuthConfig`.
    pub async fn log_in(&self, body: &[u8]) -> Result<api::AuthResponse> {
        let credentials = Credentials::from_json(body).map_err(|_| {
            let words = "invalid JSON: the body is no authentication configuration";
            Error::new(ErrorKind::InvalidParameter, words)
        })?;
        let outcome = self.inner.registries.log_in(credentials).await;
        outcome.map_err(|error| {
            let kind = match error {
                RegistryError::LoginRefused { .. }
                | RegistryError::LoginDenied { .. }
                | RegistryError::AccessDenied { .. }
                | RegistryError::Refused { .. }
                | RegistryError::NoCredentials { .. } => ErrorKind::Unauthorized,
                RegistryError::ServerAddress { .. } => ErrorKind::InvalidParameter,
                _ => ErrorKind::System,
            };
            Error::new(kind, error.to_string()).caused_by(error)
        })?;
        Ok(api::AuthResponse {
            status: "Login Succeeded".to_owned(),
            identity_token: String::new(),
        })
    }
}
