//! The firewall's ruleset as text for nft(8).
//!
//! All rules stand in one table that nobody else uses, and no chain of anybody else is touched. The text replaces the
//! whole table in one transaction: `nft -f -` either applies all of it or nothing, no packet meets half a ruleset, and
//! applying it twice is applying it once.
//!
//! ```text
//!   chain postrouting   from a bridge's subnet, leaving by another interface   -> masquerade
//!   chain forward       belongs to a connection that is known                  -> accept
//!                       within one bridge                                      -> accept or drop (icc)
//!                       to a bridge, from elsewhere                            -> drop
//!                       from a bridge                                          -> accept
//! ```
//!
//! The order matters: all bridges are closed before any is let out, so that one bridge does not reach another. An
//! `accept` ends this table's part only; another table may still drop the packet (nft(8), "verdict statement").
//!
//! Frames between two ports of a bridge do not come here unless `br_netfilter` is loaded, which Conex never does; where
//! `icc` is denied, the driver also isolates the ports. Published ports will be elements of a map
//! `published { type inet_proto . inet_service : ipv4_addr . inet_service; }` that a rule of one `prerouting` and one
//! `output` chain reads, and one `ct status dnat accept` before the bridges are closed.

use std::fmt::Write;

use crate::plan::{BridgePlan, Icc, Masquerade};

/// Family and name of the table, as nft(8) takes them.
pub const TABLE: &str = "ip conex";

/// All rules of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The bridges, in the order of their rules.
    pub bridges: Vec<BridgePlan>,
}

impl Ruleset {
    /// The text that replaces the table by this ruleset.
    pub fn render(&self) -> String {
        let mut text = remove_table();
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{line}");
        };
        line(format_args!("table {TABLE} {{"));
        line(format_args!("\tchain postrouting {{"));
        line(format_args!(
            "\t\ttype nat hook postrouting priority srcnat; policy accept;"
        ));
        for bridge in self.bridges.iter().filter(|bridge| bridge.masquerade == Masquerade::On) {
            let (name, subnet) = (&bridge.name, bridge.subnet());
            line(format_args!("\t\tip saddr {subnet} oifname != \"{name}\" masquerade"));
        }
        line(format_args!("\t}}"));
        line(format_args!("\tchain forward {{"));
        line(format_args!(
            "\t\ttype filter hook forward priority filter; policy accept;"
        ));
        line(format_args!("\t\tct state established,related accept"));
        for BridgePlan { name, icc, .. } in &self.bridges {
            let verdict = if *icc == Icc::Allowed { "accept" } else { "drop" };
            line(format_args!("\t\tiifname \"{name}\" oifname \"{name}\" {verdict}"));
        }
        for BridgePlan { name, .. } in &self.bridges {
            line(format_args!("\t\toifname \"{name}\" drop"));
        }
        for BridgePlan { name, .. } in &self.bridges {
            line(format_args!("\t\tiifname \"{name}\" accept"));
        }
        line(format_args!("\t}}"));
        line(format_args!("}}"));
        text
    }
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

    #[test]
    fn the_default_bridge_is_masqueraded_and_closed_to_the_outside() {
        let bridges = vec![bridge("conex0", "172.17.0.1/16", Masquerade::On, Icc::Allowed)];
        let expected = r#"add table ip conex
delete table ip conex
table ip conex {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.17.0.0/16 oifname != "conex0" masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		iifname "conex0" oifname "conex0" accept
		oifname "conex0" drop
		iifname "conex0" accept
	}
}
"#;
        assert_eq!(Ruleset { bridges }.render(), expected);
    }

    #[test]
    fn all_bridges_are_closed_before_one_is_let_out() {
        let bridges = vec![
            bridge("conex0", "172.17.0.1/16", Masquerade::On, Icc::Denied),
            bridge("routed", "10.1.0.1/24", Masquerade::Off, Icc::Allowed),
        ];
        let expected = r#"add table ip conex
delete table ip conex
table ip conex {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.17.0.0/16 oifname != "conex0" masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		iifname "conex0" oifname "conex0" drop
		iifname "routed" oifname "routed" accept
		oifname "conex0" drop
		oifname "routed" drop
		iifname "conex0" accept
		iifname "routed" accept
	}
}
"#;
        assert_eq!(Ruleset { bridges }.render(), expected);
    }

    #[test]
    fn removal_does_not_depend_on_the_table_being_there() {
        assert_eq!(remove_table(), "add table ip conex\ndelete table ip conex\n");
    }
}
