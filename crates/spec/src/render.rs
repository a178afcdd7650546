//! Plans as text: one line per step, for people and for comparing.

use std::fmt::Write;

use serde::Serialize;

use crate::plan::{ExecPlan, InitPlan, Step};

/// The plan of a first process: namespaces, cgroup and standard descriptors, then numbered steps.
pub fn render(plan: &InitPlan) -> String {
    let mut text = String::new();
    line(&mut text, "namespaces", &plan.namespaces);
    line(&mut text, "cgroup", &plan.cgroup);
    line(&mut text, "stdio", &plan.stdio);
    render_steps(&mut text, &plan.steps);
    text
}

/// The plan of a later process.
pub fn render_exec(plan: &ExecPlan) -> String {
    let mut text = String::new();
    line(&mut text, "stdio", &plan.stdio);
    render_steps(&mut text, &plan.steps);
    text
}

fn render_steps(text: &mut String, steps: &[Step]) {
    for (index, step) in steps.iter().enumerate() {
        line(text, &format!("{:>3}", index + 1), step);
    }
}

fn line(text: &mut String, label: &str, value: &impl Serialize) {
    let value = serde_json::to_string(value).unwrap_or_else(|error| error.to_string());
    // Writing to a string does not fail.
    let _ = writeln!(text, "{label} {value}");
}
