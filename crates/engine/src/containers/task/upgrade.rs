//! Another program for the monitor.

use std::os::fd::AsFd;

use conex_protocol::message::ToMonitor;

use super::{Pending, Reply, Task, answer};
use crate::template::Program;

impl Task {
    pub(super) async fn upgrade(&mut self, program: &Program, reply: Reply<bool>) {
        let build = self.run.as_ref().and_then(|run| run.build.as_deref());
        if build.is_none_or(|build| build == program.build) {
            return answer(reply, Ok(false));
        }
        let build = program.build.clone();
        let pending = Pending::Upgrade {
            build: build.clone(),
            reply,
        };
        let message = |request| ToMonitor::Upgrade { request, build };
        self.ask(pending, &[program.copy.as_fd()], message).await;
    }

    pub(super) fn upgraded(&mut self, build: &str) {
        if let Some(run) = &mut self.run {
            run.build = Some(build.to_owned());
        }
    }
}
