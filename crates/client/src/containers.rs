//! Containers.

use conex_api_types::{
    ContainerCreateRequest, ContainerCreateResponse, ContainerSummary, ContainerUpdateResponse, ContainerWaitResponse,
    HostConfig,
};
use hyper::{Method, header};
use serde::de::DeserializeOwned;
use tokio::io::Empty;

use crate::body::Lines;
use crate::call::{empty, operation};
use crate::query::Target;
use crate::{Client, Hijacked, Output, Result};

/// Which containers to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListOptions<'a> {
    /// With those that do not run.
    pub all: bool,
    /// The newest ones, as many.
    pub limit: Option<u32>,
    /// With their sizes.
    pub size: bool,
    /// JSON of the API.
    pub filters: Option<&'a str>,
}

/// How to stop.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopOptions<'a> {
    /// The container's own where there is none.
    pub signal: Option<&'a str>,
    /// Seconds until it is killed; below zero is for ever.
    pub timeout: Option<i64>,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it where it runs.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run.
    NotRunning,
    /// The next exit, even of a run that has not begun.
    NextExit,
    /// That it is removed.
    Removed,
}

/// What to attach to.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttachOptions<'a> {
    /// What was written before.
    pub logs: bool,
    /// What will be written.
    pub stream: bool,
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Key sequence that detaches.
    pub detach_keys: Option<&'a str>,
}

/// What to read of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogsOptions<'a> {
    /// Go on while the container runs.
    pub follow: bool,
    /// A time before each line.
    pub timestamps: bool,
    /// The last lines, as many.
    pub tail: Option<&'a str>,
    /// Seconds since 1970, with a fraction.
    pub since: Option<&'a str>,
    /// As above.
    pub until: Option<&'a str>,
}

/// A `wait` that the daemon has taken on.
#[derive(Debug)]
pub struct Wait(Lines<ContainerWaitResponse>);

impl Wait {
    /// Waits. `None`: the daemon went away before the container ended.
    pub async fn outcome(mut self) -> Result<Option<ContainerWaitResponse>> {
        self.0.next().await
    }
}

fn container(id: &str, action: &str) -> Target {
    Target::new(&["containers", id, action])
}

impl Client {
    /// `POST /containers/create`.
    pub async fn create(
        &self,
        name: Option<&str>,
        request: &ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        let target = Target::new(&["containers", "create"]).maybe("name", name);
        self.json_with(Method::POST, &target, request).await
    }

    /// `GET /containers/json`.
    pub async fn containers(&self, options: ListOptions<'_>) -> Result<Vec<ContainerSummary>> {
        let limit = options.limit.map(|limit| limit.to_string());
        let target = Target::new(&["containers", "json"])
            .flag("all", options.all)
            .maybe("limit", limit.as_deref())
            .flag("size", options.size)
            .maybe("filters", options.filters);
        self.json(Method::GET, &target).await
    }

    /// `GET /containers/{id}/json`, as a type of `conex-api-types` or as plain JSON.
    pub async fn inspect<T: DeserializeOwned>(&self, id: &str) -> Result<T> {
        self.json(Method::GET, &container(id, "json")).await
    }

    /// `POST /containers/{id}/start`.
    pub async fn start(&self, id: &str, detach_keys: Option<&str>) -> Result<()> {
        self.plain(Method::POST, &container(id, "start").maybe("detachKeys", detach_keys))
            .await
    }

    /// `POST /containers/{id}/stop`.
    pub async fn stop(&self, id: &str, options: StopOptions<'_>) -> Result<()> {
        let timeout = options.timeout.map(|seconds| seconds.to_string());
        let target = container(id, "stop")
            .maybe("signal", options.signal)
            .maybe("t", timeout.as_deref());
        self.plain(Method::POST, &target).await
    }

    /// `POST /containers/{id}/kill`.
    pub async fn kill(&self, id: &str, signal: Option<&str>) -> Result<()> {
        self.plain(Method::POST, &container(id, "kill").maybe("signal", signal))
            .await
    }

    /// `POST /containers/{id}/update`.
    pub async fn update(&self, id: &str, asked: &HostConfig) -> Result<ContainerUpdateResponse> {
        self.json_with(Method::POST, &container(id, "update"), asked).await
    }

    /// `DELETE /containers/{id}`.
    pub async fn remove(&self, id: &str, options: RemoveOptions) -> Result<()> {
        let target = Target::new(&["containers", id])
            .flag("force", options.force)
            .flag("v", options.volumes);
        self.plain(Method::DELETE, &target).await
    }

    /// `POST /containers/{id}/wait`: returns when the daemon waits, so that nothing is missed afterwards.
    pub async fn wait(&self, id: &str, condition: WaitCondition) -> Result<Wait> {
        let condition = match condition {
            WaitCondition::NotRunning => "not-running",
            WaitCondition::NextExit => "next-exit",
            WaitCondition::Removed => "removed",
        };
        let target = container(id, "wait").with("condition", condition);
        let response = self.send(Method::POST, &target, empty(), |request| request).await?;
        Ok(Wait(Lines::new(
            response.into_body(),
            operation(&Method::POST, &target),
        )))
    }

    /// `POST /containers/{id}/attach`.
    pub async fn attach(&self, id: &str, options: AttachOptions<'_>) -> Result<Hijacked> {
        let target = container(id, "attach")
            .flag("logs", options.logs)
            .flag("stream", options.stream)
            .flag("stdin", options.stdin)
            .flag("stdout", options.stdout)
            .flag("stderr", options.stderr)
            .maybe("detachKeys", options.detach_keys);
        self.hijack(&target, empty()).await
    }

    /// `GET /containers/{id}/logs`, both streams.
    pub async fn logs(&self, id: &str, options: LogsOptions<'_>) -> Result<Output<Empty>> {
        let target = container(id, "logs")
            .with("stdout", "1")
            .with("stderr", "1")
            .flag("follow", options.follow)
            .flag("timestamps", options.timestamps)
            .maybe("tail", options.tail)
            .maybe("since", options.since)
            .maybe("until", options.until);
        let response = self.send(Method::GET, &target, empty(), |request| request).await?;
        let media_type = response.headers().get(header::CONTENT_TYPE);
        let multiplexed = media_type.is_some_and(|value| value.as_bytes().ends_with(b"multiplexed-stream"));
        Ok(Output::of_body(response.into_body(), multiplexed))
    }

    /// `POST /containers/{id}/resize`.
    pub async fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let target = container(id, "resize")
            .with("h", &rows.to_string())
            .with("w", &columns.to_string());
        self.plain(Method::POST, &target).await
    }
}
