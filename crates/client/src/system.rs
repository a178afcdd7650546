//! Ping, version, info, events.

use conex_api_types::{CheckLine, DiskUsage, EventMessage, SystemInfo, Version};
use hyper::Method;

use crate::body::Lines;
use crate::call::{empty, operation};
use crate::query::Target;
use crate::{Client, Result};

/// What `_ping` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// Highest version of the API that the daemon speaks.
    pub api_version: String,
}

/// Whether a check repairs what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// What can be.
    Asked,
    /// It only tells.
    NotAsked,
}

impl Client {
    /// `GET /_ping`.
    pub async fn ping(&self) -> Result<Ping> {
        let response = self
            .send(Method::GET, &Target::new(&["_ping"]), empty(), |request| request)
            .await?;
        let version = response
            .headers()
            .get("Api-Version")
            .and_then(|value| value.to_str().ok());
        Ok(Ping {
            api_version: version.unwrap_or_default().to_owned(),
        })
    }

    /// `GET /version`.
    pub async fn version(&self) -> Result<Version> {
        self.json(Method::GET, &Target::new(&["version"])).await
    }

    /// `GET /info`.
    pub async fn info(&self) -> Result<SystemInfo> {
        self.json(Method::GET, &Target::new(&["info"])).await
    }

    /// `GET /conex/system/df`.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        self.json(Method::GET, &Target::new(&["conex", "system", "df"])).await
    }

    /// `POST /conex/system/check`.
    pub async fn check(&self, repair: Repair) -> Result<Lines<CheckLine>> {
        let target = Target::new(&["conex", "system", "check"]).maybe(
            "repair",
            match repair {
                Repair::Asked => Some("1"),
                Repair::NotAsked => None,
            },
        );
        let response = self.send(Method::POST, &target, empty(), |request| request).await?;
        Ok(Lines::new(response.into_body(), operation(&Method::POST, &target)))
    }

    /// `GET /events`; `filters` is JSON of the API.
    pub async fn events(&self, filters: Option<&str>) -> Result<Lines<EventMessage>> {
        let target = Target::new(&["events"]).maybe("filters", filters);
        let response = self.send(Method::GET, &target, empty(), |request| request).await?;
        Ok(Lines::new(response.into_body(), operation(&Method::GET, &target)))
    }
}
