//! The driver as the engine sees it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use conex_network::nft::{self, Ruleset};
use conex_network::{BridgePlan, EndpointPlan, Publication, Subnet, VETH_PREFIX, interface_beside};

use crate::bridge::{self, BridgeChange, BridgeFacts};
use crate::endpoint::{self, Connected};
use crate::error::{Result, netlink};
use crate::namespace::Netns;
use crate::netlink::Socket;
use crate::pool::NetnsPool;
use crate::replies::Link;
use crate::resolver::{self, Resolver};
use crate::sysctl::{self, Forwarding};
use crate::{facts, firewall, nftables, rate};

/// How long the kernel's worker is waited for, at most: 100 ms.
const SETTLE_ATTEMPTS: u32 = 200;
const SETTLE_PAUSE: Duration = Duration::from_micros(500);

/// What the engine asks of the host's network. All calls block.
pub trait NetworkDriver: Send + Sync {
    /// Destinations of the host's routes, of all tables, but for default routes and those over the interface `except`.
    fn probe_routes(&self, except: &str) -> Result<Vec<Subnet>>;

    /// The bridge of a name; `None` where there is none.
    fn probe_bridge(&self, name: &str) -> Result<Option<BridgeFacts>>;

    /// Replaces the firewall's table. The rules name interfaces that need not be there yet: applied before the bridges
    /// are made, they leave no moment in which packets pass unfiltered.
    fn apply_ruleset(&self, ruleset: &Ruleset) -> Result<()>;

    /// Publishes some ports and takes others back, all of them or none.
    fn change_published(&self, gone: &[Publication], new: &[Publication]) -> Result<()>;

    /// Removes the firewall's table.
    fn remove_ruleset(&self) -> Result<()>;

    /// Makes a bridge be there as planned, and the host pass packets on. Can be repeated.
    fn ensure_bridge(&self, plan: &BridgePlan) -> Result<BridgeChange>;

    /// Removes a bridge; one that is not there is no error.
    fn remove_bridge(&self, name: &str) -> Result<()>;

    /// Puts back what `ensure_bridge` changed. Containers that still run lose the outside world.
    fn restore_forwarding(&self, former: Forwarding) -> Result<()>;

    /// A network namespace whose loopback interface is up.
    fn take_namespace(&self) -> Result<Netns>;

    /// Connects a namespace to a bridge so that packets pass when it returns; on failure nothing of the connection is left.
    fn connect(&self, plan: &EndpointPlan, netns: &mut Netns) -> Result<Connected>;

    /// Gives a connection the rates of its plan, whatever it had; on failure it may have any of both.
    fn change_rates(&self, plan: &EndpointPlan) -> Result<()>;

    /// Removes what a limited connection has on the host besides its interface, when that is gone with its namespace. It
    /// takes 20 ms where there is something.
    fn forget_rates(&self, host_interface: &str) -> Result<()>;

    /// Sockets of a name server in a namespace, where its processes find it.
    fn open_resolver(&self, netns: &Netns) -> Result<Resolver>;

    /// Has the container's way to the outside lead over one of its connections, or over none where `plan` is absent.
    fn set_default_route(&self, plan: Option<&EndpointPlan>, netns: &mut Netns) -> Result<()>;

    /// Removes the host's interface of a connection, and with it the container's, and what limits it. It takes 20 ms: a
    /// container that ends needs it not, because its namespace takes both along.
    fn disconnect(&self, host_interface: &str) -> Result<()>;

    /// Names of the host's interfaces of connections to these bridges, also of those of which only a part is left.
    fn host_interfaces(&self, bridges: &[String]) -> Result<Vec<String>>;
}

/// The real one: bridges, veth pairs and nftables of the namespace that it was opened in.
#[derive(Debug)]
pub struct BridgeDriver {
    host: Mutex<Socket>,
    pool: NetnsPool,
}

impl BridgeDriver {
    /// In the calling thread's network namespace, with `ready` namespaces kept in reserve.
    pub fn open(ready: usize) -> Result<Self> {
        let host = Socket::open().map_err(netlink("open", "netlink socket"))?;
        Ok(Self {
            host: Mutex::new(host),
            pool: NetnsPool::new(ready)?,
        })
    }

    /// The namespaces in reserve.
    pub fn pool(&self) -> &NetnsPool {
        &self.pool
    }

    /// Waits until packets pass. A kernel before 6.8 leaves that to a worker, which is given some time.
    fn settle(&self, plan: &EndpointPlan) -> Result<()> {
        for _ in 0..SETTLE_ATTEMPTS {
            if endpoint::is_operational(&mut self.host(), plan)? {
                return Ok(());
            }
            thread::sleep(SETTLE_PAUSE);
        }
        // It will come; at worst a packet is sent again.
        Ok(())
    }

    // A request that a panic cut off leaves at most an answer that the next one passes over by its number.
    fn host(&self) -> MutexGuard<'_, Socket> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NetworkDriver for BridgeDriver {
    fn probe_routes(&self, except: &str) -> Result<Vec<Subnet>> {
        facts::routes(&mut self.host(), except)
    }

    fn probe_bridge(&self, name: &str) -> Result<Option<BridgeFacts>> {
        bridge::probe(&mut self.host(), name)
    }

    fn apply_ruleset(&self, ruleset: &Ruleset) -> Result<()> {
        firewall::apply(&ruleset.render())
    }

    fn change_published(&self, gone: &[Publication], new: &[Publication]) -> Result<()> {
        nftables::change_elements(nft::TABLE_NAME, &nft::elements(gone), &nft::elements(new))
            .map_err(netlink("change published ports in", nft::TABLE_NAME))
    }

    fn remove_ruleset(&self) -> Result<()> {
        firewall::apply(&nft::remove_table())
    }

    fn ensure_bridge(&self, plan: &BridgePlan) -> Result<BridgeChange> {
        bridge::ensure(&mut self.host(), plan)
    }

    fn remove_bridge(&self, name: &str) -> Result<()> {
        bridge::remove(&mut self.host(), name)
    }

    fn restore_forwarding(&self, former: Forwarding) -> Result<()> {
        sysctl::restore_forwarding(former)
    }

    fn take_namespace(&self) -> Result<Netns> {
        self.pool.take()
    }

    fn connect(&self, plan: &EndpointPlan, netns: &mut Netns) -> Result<Connected> {
        endpoint::attach(&mut self.host(), plan, netns)?;
        let limited = rate::limit(&mut self.host(), plan);
        let configured = limited.and_then(|()| endpoint::configure(plan, netns));
        let connected = configured.and_then(|connected| self.settle(plan).map(|()| connected));
        connected.inspect_err(|_| {
            // The first error says what went wrong; a second one here would only follow from it.
            let _ = self.disconnect(&plan.host_interface);
        })
    }

    fn change_rates(&self, plan: &EndpointPlan) -> Result<()> {
        rate::change(&mut self.host(), plan)
    }

    fn forget_rates(&self, host_interface: &str) -> Result<()> {
        // It takes 20 ms, in which no other container is to wait for the socket.
        let mut host = Socket::open().map_err(netlink("open", "netlink socket"))?;
        rate::remove_ifb(&mut host, host_interface)
    }

    fn open_resolver(&self, netns: &Netns) -> Result<Resolver> {
        resolver::open(netns)
    }

    fn set_default_route(&self, plan: Option<&EndpointPlan>, netns: &mut Netns) -> Result<()> {
        endpoint::set_default_route(plan, netns)
    }

    fn disconnect(&self, host_interface: &str) -> Result<()> {
        let mut host = self.host();
        bridge::remove_link(&mut host, host_interface).map_err(netlink("remove interface", host_interface))?;
        rate::remove_ifb(&mut host, host_interface)
    }

    fn host_interfaces(&self, bridges: &[String]) -> Result<Vec<String>> {
        let links = facts::links(&mut self.host())?;
        let ours: Vec<u32> = links
            .iter()
            .filter(|link| bridges.contains(&link.name))
            .map(|link| link.index)
            .collect();
        // Another daemon on this host, or a user, may have interfaces of such names elsewhere, and of other names here.
        let connection = |link: Link| match link.kind.as_str() {
            "veth" if link.name.starts_with(VETH_PREFIX) && ours.contains(&link.bridge) => Some(link.name),
            "ifb" if bridges.contains(&link.alias) => interface_beside(&link.name),
            _ => None,
        };
        let mut names: Vec<String> = links.into_iter().filter_map(connection).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
