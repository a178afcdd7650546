//! The firewall's ruleset as text for nft(8).
//!
//! All rules stand in one table that nobody else uses, and no chain of anybody else is touched. The text replaces the
//! whole table in one transaction: `nft -f -` either applies all of it or nothing, no packet meets half a ruleset, and
//! applying it twice is applying it once.
//!
//! ```text
//!   maps published, published_at   a port of the host                                 -> a port of a container
//!   chain guard                    from a bridge to the host's loopback               -> drop
//!   chain prerouting, output       to a port of the host that is in a map             -> to the container
//!   chain postrouting              the container would answer past the host           -> masquerade
//!                                  from a bridge's subnet, leaving by another         -> masquerade
//!   chain forward                  belongs to a connection that is known              -> accept
//!                                  to a published port                                -> accept
//!                                  within one bridge                                  -> accept or drop (icc)
//!                                  to a bridge, from elsewhere                        -> drop
//!                                  from an internal bridge                            -> drop
//!                                  from a bridge                                      -> accept
//! ```
//!
//! The order matters: all bridges are closed before any is let out, so that one bridge does not reach another. An
//! `accept` ends this table's part only; another table may still drop the packet (nft(8), "verdict statement").
//!
//! Frames between two ports of a bridge do not come here unless `br_netfilter` is loaded, which Conex never does; where
//! `icc` is denied, the driver also isolates the ports.
//!
//! A port is published by an element of a map: one rule serves all of them. What the host sends to its own published
//! port, over 127.0.0.1 too, is redirected in `output` and carries the bridge's address, so that the answer comes back
//! (ip-sysctl, `route_localnet`; `guard` closes what that opens). So does what a container sends to a published port of
//! its own bridge ("hairpin").

use crate::plan::{Access, BridgePlan, Icc, Masquerade};
use crate::publish::Publication;

/// Family and name of the table, as nft(8) takes them.
pub const TABLE: &str = "ip conex";

/// The name alone.
pub const TABLE_NAME: &str = "conex";

/// Ports that are published at every address of the host.
const EVERYWHERE: &str = "published";

/// Ports that are published at one address of the host.
const AT_ADDRESS: &str = "published_at";

/// All rules of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The bridges, in the order of their rules.
    pub bridges: Vec<BridgePlan>,
    /// The published ports.
    pub published: Vec<Publication>,
}

impl Ruleset {
    /// The text that replaces the table by this ruleset.
    pub fn render(&self) -> String {
        let mut lines = vec![format!("table {TABLE} {{")];
        self.push_maps(&mut lines);
        self.push_translation(&mut lines);
        self.push_forward(&mut lines);
        lines.push("}".to_owned());
        let mut text = remove_table();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn push_maps(&self, lines: &mut Vec<String>) {
        for (map, key) in [(EVERYWHERE, ""), (AT_ADDRESS, "ipv4_addr . ")] {
            lines.push(format!("\tmap {map} {{"));
            lines.push(format!(
                "\t\ttype {key}inet_proto . inet_service : ipv4_addr . inet_service"
            ));
            let elements = self.published.iter().filter(|port| map_of(port) == map).map(element);
            let elements: Vec<String> = elements.collect();
            if !elements.is_empty() {
                lines.push(format!("\t\telements = {{ {} }}", elements.join(", ")));
            }
            lines.push("\t}".to_owned());
        }
    }

    fn push_translation(&self, lines: &mut Vec<String>) {
        let lookup = [
            format!("\t\tfib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @{AT_ADDRESS}"),
            format!("\t\tfib daddr type local dnat ip to meta l4proto . th dport map @{EVERYWHERE}"),
        ];
        lines.push("\tchain guard {".to_owned());
        lines.push("\t\ttype filter hook prerouting priority raw; policy accept;".to_owned());
        for BridgePlan { name, .. } in &self.bridges {
            lines.push(format!("\t\tiifname \"{name}\" ip daddr 127.0.0.0/8 drop"));
        }
        lines.push("\t}".to_owned());
        lines.push("\tchain prerouting {".to_owned());
        lines.push("\t\ttype nat hook prerouting priority dstnat; policy accept;".to_owned());
        // Nobody but the host itself reaches its loopback.
        lines.push("\t\tip daddr 127.0.0.0/8 return".to_owned());
        lines.extend(lookup.clone());
        lines.push("\t}".to_owned());
        lines.push("\tchain output {".to_owned());
        // The number of `dstnat`, a word that nft 1.0 does not take in this chain.
        lines.push("\t\ttype nat hook output priority -100; policy accept;".to_owned());
        lines.extend(lookup);
        lines.push("\t}".to_owned());
        lines.push("\tchain postrouting {".to_owned());
        lines.push("\t\ttype nat hook postrouting priority srcnat; policy accept;".to_owned());
        for bridge in &self.bridges {
            let (name, subnet) = (&bridge.name, bridge.subnet());
            lines.push(format!(
                "\t\tip saddr {subnet} oifname \"{name}\" ct status dnat masquerade"
            ));
            lines.push(format!("\t\tip saddr 127.0.0.0/8 oifname \"{name}\" masquerade"));
            if bridge.masquerade == Masquerade::On && bridge.access == Access::Open {
                lines.push(format!("\t\tip saddr {subnet} oifname != \"{name}\" masquerade"));
            }
        }
        lines.push("\t}".to_owned());
    }

    fn push_forward(&self, lines: &mut Vec<String>) {
        lines.push("\tchain forward {".to_owned());
        lines.push("\t\ttype filter hook forward priority filter; policy accept;".to_owned());
        lines.push("\t\tct state established,related accept".to_owned());
        for BridgePlan { name, .. } in self.internal() {
            lines.push(format!("\t\tiifname \"{name}\" oifname != \"{name}\" drop"));
        }
        for BridgePlan { name, .. } in &self.bridges {
            lines.push(format!("\t\toifname \"{name}\" ct status dnat accept"));
        }
        for BridgePlan { name, icc, .. } in &self.bridges {
            let verdict = if *icc == Icc::Allowed { "accept" } else { "drop" };
            lines.push(format!("\t\tiifname \"{name}\" oifname \"{name}\" {verdict}"));
        }
        for BridgePlan { name, .. } in &self.bridges {
            lines.push(format!("\t\toifname \"{name}\" drop"));
        }
        for BridgePlan { name, .. } in &self.bridges {
            lines.push(format!("\t\tiifname \"{name}\" accept"));
        }
        lines.push("\t}".to_owned());
    }

    fn internal(&self) -> impl Iterator<Item = &BridgePlan> {
        self.bridges.iter().filter(|bridge| bridge.access == Access::Internal)
    }
}

fn map_of(published: &Publication) -> &'static str {
    if published.host.address.is_unspecified() {
        EVERYWHERE
    } else {
        AT_ADDRESS
    }
}

fn key(published: &Publication) -> String {
    let host = published.host;
    if host.address.is_unspecified() {
        format!("{} . {}", host.protocol, host.port)
    } else {
        format!("{} . {} . {}", host.address, host.protocol, host.port)
    }
}

fn element(published: &Publication) -> String {
    format!("{} : {} . {}", key(published), published.address, published.port)
}

/// An element of a map as the kernel has it: fields in network byte order, each filled up to four bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The map.
    pub map: &'static str,
    /// What is looked up.
    pub key: Vec<u8>,
    /// What is found.
    pub data: Vec<u8>,
}

/// The elements that publish ports.
pub fn elements(published: &[Publication]) -> Vec<Element> {
    let port = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [high, low, 0, 0]
    };
    let element = |published: &Publication| {
        let host = published.host;
        let ports = [[host.protocol.number(), 0, 0, 0], port(host.port)].concat();
        let key = if host.address.is_unspecified() {
            ports
        } else {
            [host.address.octets().to_vec(), ports].concat()
        };
        Element {
            map: map_of(published),
            key,
            data: [published.address.octets(), port(published.port)].concat(),
        }
    };
    published.iter().map(element).collect()
}

/// The text that removes the table, whether it is there or not.
pub fn remove_table() -> String {
    // Deleting what is not there is an error, so it is added first; a new enough nft has `destroy`.
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BridgeRequest;

    fn bridge(name: &str, address: &str, masquerade: Masquerade, icc: Icc) -> BridgePlan {
        let mut request = BridgeRequest::new(name, &[]);
        request.address = Some(address.parse().unwrap());
        (request.masquerade, request.icc) = (masquerade, icc);
        BridgePlan::new(&request).unwrap()
    }

    fn forward(ruleset: &Ruleset) -> String {
        let text = ruleset.render();
        let (_, chain) = text.split_once("established,related accept\n").unwrap();
        chain.replace('\t', "").replace("}\n", "")
    }

    #[test]
    fn a_bridge_is_masqueraded_and_its_ports_are_published() {
        let port = |address: &str, port, target| Publication {
            host: crate::HostPort {
                protocol: crate::Protocol::Tcp,
                address: address.parse().unwrap(),
                port,
            },
            address: "172.17.0.2".parse().unwrap(),
            port: target,
        };
        let ruleset = Ruleset {
            bridges: vec![bridge("conex0", "172.17.0.1/16", Masquerade::On, Icc::Allowed)],
            published: vec![port("0.0.0.0", 8080, 80), port("127.0.0.1", 9000, 90)],
        };
        let text = ruleset.render();
        for line in [
            "elements = { tcp . 8080 : 172.17.0.2 . 80 }",
            "elements = { 127.0.0.1 . tcp . 9000 : 172.17.0.2 . 90 }",
            "iifname \"conex0\" ip daddr 127.0.0.0/8 drop",
            "ip saddr 172.17.0.0/16 oifname != \"conex0\" masquerade",
        ] {
            assert!(text.contains(&format!("\t\t{line}\n")), "{line} in {text}");
        }
        assert_eq!(
            forward(&ruleset),
            "oifname \"conex0\" ct status dnat accept\niifname \"conex0\" oifname \"conex0\" accept\n\
             oifname \"conex0\" drop\niifname \"conex0\" accept\n"
        );
        let elements = elements(&ruleset.published);
        assert_eq!((elements[0].map, elements[1].map), ("published", "published_at"));
        assert_eq!(elements[0].key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(elements[1].key, [127, 0, 0, 1, 6, 0, 0, 0, 0x23, 0x28, 0, 0]);
        assert_eq!(elements[0].data, [172, 17, 0, 2, 0, 80, 0, 0]);
    }

    #[test]
    fn all_bridges_are_closed_before_one_is_let_out() {
        let mut internal = bridge("inner", "10.1.0.1/24", Masquerade::On, Icc::Allowed);
        internal.access = Access::Internal;
        let ruleset = Ruleset {
            bridges: vec![
                bridge("conex0", "172.17.0.1/16", Masquerade::Off, Icc::Denied),
                internal,
            ],
            published: Vec::new(),
        };
        assert_eq!(
            forward(&ruleset),
            "iifname \"inner\" oifname != \"inner\" drop\n\
             oifname \"conex0\" ct status dnat accept\noifname \"inner\" ct status dnat accept\n\
             iifname \"conex0\" oifname \"conex0\" drop\niifname \"inner\" oifname \"inner\" accept\n\
             oifname \"conex0\" drop\noifname \"inner\" drop\n\
             iifname \"conex0\" accept\niifname \"inner\" accept\n"
        );
        assert!(!ruleset.render().contains("oifname != \"conex0\" masquerade"));
        assert!(!ruleset.render().contains("oifname != \"inner\" masquerade"));
    }

    #[test]
    fn removal_does_not_depend_on_the_table_being_there() {
        assert_eq!(remove_table(), "add table ip conex\ndelete table ip conex\n");
    }
}
