//! What can be asked for, by resource and verb.

mod container;
mod image;
mod inspect;
mod lazy;
mod system;

use clap::Subcommand;
use conex_client::Client;

use crate::commands::lazy::Lazy;
use crate::failure::Failure;

/// A verb with its flags.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a container from an image and run it
    Run(Lazy<container::run::Run>),
    /// Create a container without starting it
    Create(Lazy<container::create::Create>),
    /// List containers
    #[command(visible_alias = "list")]
    Ps(Lazy<container::ps::Ps>),
    /// Print a container's log
    Logs(Lazy<container::logs::Logs>),
    /// Run another program in a running container
    Exec(Lazy<container::exec::Exec>),
    /// Attach standard input, output and error to a running container
    Attach(Lazy<container::attach::Attach>),
    /// Start stopped containers
    Start(Lazy<container::start::Start>),
    /// Stop running containers
    Stop(Lazy<container::stop::Stop>),
    /// Send a signal to running containers
    Kill(Lazy<container::kill::Kill>),
    /// Wait until containers stop, then print their exit codes
    Wait(Lazy<container::wait::Wait>),
    /// Remove containers
    Rm(Lazy<container::rm::Rm>),
    /// Change limits of containers
    Update(Lazy<container::update::Update>),
    /// Make an image of what a container changed
    Commit(Lazy<container::commit::Commit>),
    /// Download an image from a registry
    Pull(Lazy<image::pull::Pull>),
    /// Upload an image to a registry
    Push(Lazy<image::push::Push>),
    /// Search an index of images
    Search(Lazy<image::search::Search>),
    /// List images
    Images(Lazy<image::list::Images>),
    /// Give an image another name
    Tag(Lazy<image::tag::Tag>),
    /// Remove images
    Rmi(Lazy<image::remove::Rmi>),
    /// Write images as an archive
    Save(Lazy<image::save::Save>),
    /// Load images from an archive
    Load(Lazy<image::load::Load>),
    /// Make an image of the archive of a root file system
    Import(Lazy<image::import::Import>),
    /// Print all facts of containers or images
    Inspect(Lazy<inspect::Inspect>),
    /// Print versions of client and daemon
    Version(Lazy<system::version::Version>),
    /// Print facts of the daemon and its host
    Info(Lazy<system::info::Info>),
    /// Look after the daemon's stores
    System(Lazy<system::System>),
}

impl Command {
    /// What is exited with when the daemon cannot be started.
    pub(crate) fn daemon_failure_code(&self) -> i32 {
        match self {
            Self::Run(_) => 125,
            _ => 1,
        }
    }

    /// Carries it out; gives the exit code.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        match self {
            Self::Run(command) => command.run(client).await,
            Self::Create(command) => command.run(client).await,
            Self::Ps(command) => command.run(client).await,
            Self::Logs(command) => command.run(client).await,
            Self::Exec(command) => command.run(client).await,
            Self::Attach(command) => command.run(client).await,
            Self::Start(command) => command.run(client).await,
            Self::Stop(command) => command.run(client).await,
            Self::Kill(command) => command.run(client).await,
            Self::Wait(command) => command.run(client).await,
            Self::Rm(command) => command.run(client).await,
            Self::Update(command) => command.run(client).await,
            Self::Commit(command) => command.run(client).await,
            Self::Pull(command) => command.run(client).await,
            Self::Push(command) => command.run(client).await,
            Self::Search(command) => command.run(client).await,
            Self::Images(command) => command.run(client).await,
            Self::Tag(command) => command.run(client).await,
            Self::Rmi(command) => command.run(client).await,
            Self::Save(command) => command.run(client).await,
            Self::Load(command) => command.run(client).await,
            Self::Import(command) => command.run(client).await,
            Self::Inspect(command) => command.run(client).await,
            Self::Version(command) => command.run(client).await,
            Self::Info(command) => command.run(client).await,
            Self::System(command) => command.run(client).await,
        }
    }
}
