//! Execs.

use conex_api_types::{ExecCreateRequest, ExecInspect, ExecStartRequest, IdResponse};
use hyper::Method;

use crate::call::encode;
use crate::query::Target;
use crate::{Client, Hijacked, Result};

impl Client {
    /// `POST /containers/{id}/exec`; gives the exec's id.
    pub async fn exec_create(&self, container: &str, request: &ExecCreateRequest) -> Result<String> {
        let target = Target::new(&["containers", container, "exec"]);
        let created: IdResponse = self.json_with(Method::POST, &target, request).await?;
        Ok(created.id)
    }

    /// `POST /exec/{id}/start`, attached.
    pub async fn exec_start(&self, exec: &str, request: &ExecStartRequest) -> Result<Hijacked> {
        let target = Target::new(&["exec", exec, "start"]);
        let body = encode(&Method::POST, &target, request)?;
        self.hijack(&target, body).await
    }

    /// `POST /exec/{id}/start`, detached.
    pub async fn exec_start_detached(&self, exec: &str) -> Result<()> {
        let request = ExecStartRequest {
            detach: true,
            ..ExecStartRequest::default()
        };
        self.plain_with(Method::POST, &Target::new(&["exec", exec, "start"]), &request)
            .await
    }

    /// `GET /exec/{id}/json`.
    pub async fn exec_inspect(&self, exec: &str) -> Result<ExecInspect> {
        self.json(Method::GET, &Target::new(&["exec", exec, "json"])).await
    }

    /// `POST /exec/{id}/resize`.
    pub async fn exec_resize(&self, exec: &str, rows: u16, columns: u16) -> Result<()> {
        let target = Target::new(&["exec", exec, "resize"])
            .with("h", &rows.to_string())
            .with("w", &columns.to_string());
        self.plain(Method::POST, &target).await
    }
}
