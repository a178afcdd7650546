//! `POST /containers/{id}/update`: limits are changed, at once where the container runs.
//!
//! The control group comes first, the record after it: a daemon that is killed in between has answered nobody.

use std::sync::Arc;

use conex_api_types as api;
use conex_cgroup::Cgroup;
use conex_container::{Config, Invalid};
use conex_spec::plan::CgroupPlan;

use crate::containers::task::Order;
use crate::containers::{Container, create, limits, plan};
use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// Changes limits of a container.
    ///
    /// # Errors
    /// 400 for values that there cannot be, 409 for those that contradict what stays, 500 where the kernel refuses.
    pub async fn update(&self, id: &str, mut asked: api::HostConfig) -> Result<api::ContainerUpdateResponse> {
        let container = self.inner.containers.find(id)?;
        let warnings = create::check_host(&self.inner, &mut asked)?;
        let asked = Box::new(asked);
        container.order(|reply| Order::Update { asked, reply }).await?;
        Ok(api::ContainerUpdateResponse {
            warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        })
    }
}

/// The container with what is asked for; it is not recorded yet.
pub(crate) fn updated(container: &Container, asked: &api::HostConfig) -> Result<Arc<Container>> {
    let config = container.config.updated(asked).map_err(|invalid| {
        let kind = match invalid {
            Invalid::Conflict(_) => ErrorKind::Conflict,
            _ => ErrorKind::InvalidParameter,
        };
        let error = Error::new(kind, invalid.to_string());
        match kind {
            ErrorKind::Conflict => error.within(&format!("Cannot update container {}", container.id)),
            _ => error,
        }
    })?;
    let mut changed = container.clone();
    changed.config = config;
    Ok(Arc::new(changed))
}

/// Writes a container's limits to its control group, which has those of `before`. It blocks.
pub(crate) fn apply(engine: &Inner, before: &Config, container: &Container) -> Result<()> {
    let place = engine.place(container).map_err(plan::invalid)?;
    let cgroup = CgroupPlan {
        path: place.path,
        scope: place.scope,
        resources: limits::changed(before, &container.config)?,
    };
    Cgroup::update(&engine.host.cgroups, &cgroup).map_err(|error| {
        let words = format!("Cannot update container {}: {error}", container.id);
        Error::new(ErrorKind::System, words).caused_by(error)
    })
}
