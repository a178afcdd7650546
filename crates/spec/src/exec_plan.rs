//! A process in a running container.

use crate::capabilities;
use crate::defaults::UMASK;
use crate::error::Result;
use crate::limits::rlimit_steps;
use crate::plan::{ExecPlan, Stdio, Step};
use crate::process::{capability_sets, label_steps, make_no_directory, oom_step, session_steps, tail};
use crate::request::ExecPlanRequest;

/// Plans a process in a running container: the same limits, capabilities and filter as the first process, unless it is
/// privileged itself.
pub fn exec_plan(request: &ExecPlanRequest) -> Result<ExecPlan> {
    let privileged = request.privileged || request.container_privileged;
    let set = capabilities::adjust(&request.cap_add, &request.cap_drop, privileged)?;
    let process = &request.process;

    let mut steps = session_steps(None, UMASK);
    if matches!(process.stdio, Stdio::Terminal { .. }) {
        steps.push(Step::Console);
    }
    // Both may need CAP_SYS_RESOURCE, which the capability sets take away.
    steps.extend(rlimit_steps(&request.ulimits)?);
    steps.extend(oom_step(request.oom_score_adj)?);
    steps.extend(label_steps(process));
    steps.extend(tail(
        process,
        &request.hostname,
        capability_sets(set, &request.facts),
        !privileged,
    )?);
    make_no_directory(&mut steps);
    Ok(ExecPlan {
        initial_affinity: None,
        stdio: process.stdio,
        preserved: 0,
        steps,
    })
}
