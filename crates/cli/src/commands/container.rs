//! Containers.

pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod flags;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod ps;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod update;
pub(crate) mod wait;

use std::future::Future;

use crate::failure::Failure;

/// Does the same to every container, prints the names of those where it worked, and the errors of the others.
pub(crate) async fn each<'a, F, Fut>(containers: &'a [String], mut act: F) -> Result<i32, Failure>
where
    F: FnMut(&'a str) -> Fut,
    Fut: Future<Output = conex_client::Result<()>>,
{
    let mut code = 0;
    for container in containers {
        match act(container).await {
            Ok(()) => println!("{container}"),
            Err(error) => {
                eprintln!("{error}");
                code = 1;
            }
        }
    }
    Ok(code)
}
