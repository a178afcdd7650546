//! Engine API, "Containers": create, and what clients of older versions mean by it.

use axum::http::StatusCode;
use conex_api_types::ContainerCreateRequest;
use conex_container::{Config, names};

use crate::answer::{Answer, Failure, json};
use crate::router::Call;

/// `POST /containers/create`.
pub(crate) async fn create(mut call: Call) -> Answer {
    // The body is taken first: a refusal while the client still writes would be lost with the connection.
    let request = call.body::<ContainerCreateRequest>().await?;
    let mut request =
        request.ok_or_else(|| Failure::bad_request("invalid JSON: got EOF while reading request body"))?;
    let name = call.query.some("name");
    if let Some(name) = &name {
        names::parse(name)?;
    }
    let warnings = adapt(&mut request, call.version)?;
    let config = Config::from_request(request)?;
    let platform = call.query.some("platform");
    let mut created = call.engine.create(name, config, platform).await?;
    created.warnings.splice(0..0, warnings);
    Ok(json(StatusCode::CREATED, &created))
}

/// Gives fields the meaning that they have in a version of the API; returns what the client should know.
fn adapt(request: &mut ContainerCreateRequest, version: (u32, u32)) -> Result<Vec<String>, Failure> {
    let host = &mut request.host_config;
    if version < (1, 40) && host.ipc_mode.is_empty() {
        "shareable".clone_into(&mut host.ipc_mode);
    }
    if version < (1, 43) {
        host.annotations = None;
    }
    let networks: Vec<&str> = request
        .networking_config
        .endpoints_config
        .keys()
        .map(String::as_str)
        .collect();
    if version < (1, 44) && networks.len() > 1 {
        return Err(Failure::bad_request(format!(
            "Container cannot be created with multiple network endpoints: {}",
            networks.join(", ")
        )));
    }
    let mut warnings = Vec::new();
    if version >= (1, 44) && !request.mac_address.is_empty() {
        warnings.push(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                .to_owned(),
        );
    }
    Ok(warnings)
}
