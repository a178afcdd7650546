//! Compiles `init/main.rs`, a program of its own without a library, for `src/init.rs` to have in it.

#![allow(clippy::unwrap_used, reason = "a build that goes wrong ends")]

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=init");
    let variable = |name: &str| env::var_os(name).unwrap();
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "conex_init", "--crate-type", "bin"]);
    rustc.arg("--target").arg(variable("TARGET"));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    for option in [
        "opt-level=s",
        "panic=abort",
        "strip=symbols",
        "relocation-model=static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "link-arg=-no-pie",
        "link-arg=-Wl,--build-id=none",
    ] {
        rustc.args(["-C", option]);
    }
    let program = PathBuf::from(variable("OUT_DIR")).join("conex-init");
    rustc.arg("-o").arg(&program).arg("init/main.rs");
    assert!(rustc.status().unwrap().success(), "{rustc:?}");
}
