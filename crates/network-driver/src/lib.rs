//! Networks in the kernel: carries out what `conex-network` decides.
//!
//! All calls block, for microseconds to a few milliseconds; an asynchronous caller makes them on a thread for blocking
//! work. The kernel is asked by rtnetlink(7) on sockets that stay open and by messages to nftables, never by a program; the
//! one exception is nft(8), which replaces the firewall's table when the daemon starts and when networks come and go.
//!
//! ```text
//!   connecting a container                                      system calls
//!     host:       index of the bridge                           ioctl
//!                 RTM_NEWLINK veth, port of the bridge, up;     send, recv
//!                   its peer eth0 made in the container's namespace, with MAC and MTU
//!     container:  index of eth0                                 ioctl
//!                 RTM_SETLINK, RTM_NEWADDR, RTM_NEWROUTE        send, recv
//!     host:       RTM_GETLINK veth and bridge: packets pass     send, recv, recv
//! ```
//!
//! The second part goes over a socket that was opened *in* the container's namespace when that was made, so that no
//! thread changes its namespace for it. Nothing waits for an RCU grace period, as moving or renaming an interface would.
//!
//! A namespace takes its interfaces along when its last user is gone: closing the descriptor is all the disconnecting
//! there is, and the kernel does the work in the background.

mod bridge;
mod driver;
mod endpoint;
mod error;
mod facts;
mod firewall;
mod messages;
mod namespace;
mod netlink;
mod nftables;
mod pool;
mod rate;
mod replies;
mod resolver;
mod sysctl;
mod traffic;

pub use bridge::{BridgeChange, BridgeFacts, BridgeOrigin};
pub use driver::{BridgeDriver, NetworkDriver};
pub use endpoint::Connected;
pub use error::{DriverError, Result};
pub use namespace::Netns;
pub use pool::NetnsPool;
pub use resolver::{RESOLVER_ADDRESS, Resolver};
pub use sysctl::Forwarding;
