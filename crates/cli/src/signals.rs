//! Signals that the command gets on behalf of the container.

use conex_client::Client;
use tokio::signal::unix::{SignalKind, signal};

use crate::terminal;

/// Passes signals on to a container as long as the command lasts.
pub(crate) fn pass_on(client: &Client, container: &str) {
    let passed_on = [
        (SignalKind::hangup(), "SIGHUP"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::quit(), "SIGQUIT"),
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::user_defined1(), "SIGUSR1"),
        (SignalKind::user_defined2(), "SIGUSR2"),
    ];
    for (kind, name) in passed_on {
        // A signal that cannot be listened for keeps its default.
        let Ok(mut signals) = signal(kind) else { continue };
        let (client, container) = (client.clone(), container.to_owned());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // It may have ended already.
                let _ = client.kill(&container, Some(name)).await;
            }
        });
    }
}

/// What is resized with the terminal.
#[derive(Debug, Clone)]
pub(crate) enum Resized {
    /// A container.
    Container(String),
    /// An exec.
    Exec(String),
}

/// Gives the container's terminal the size of ours, now and whenever that changes.
pub(crate) async fn follow_size(client: &Client, what: Resized) {
    resize(client, &what).await;
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    let client = client.clone();
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            resize(&client, &what).await;
        }
    });
}

async fn resize(client: &Client, what: &Resized) {
    let Some((rows, columns)) = terminal::size() else {
        return;
    };
    // It may have ended already.
    let _ = match what {
        Resized::Container(id) => client.resize(id, rows, columns).await,
        Resized::Exec(id) => client.exec_resize(id, rows, columns).await,
    };
}
