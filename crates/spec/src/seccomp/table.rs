//! Numbers of system calls, one table per binary interface.
//!
//! The tables are text, `number name` per line in the order of the numbers, as the kernel's headers (6.18) have them.

use std::collections::BTreeMap;

use crate::facts::Architecture;

/// A binary interface of the kernel, with its own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abi {
    /// AMD64.
    X86_64,
    /// 32-bit x86.
    I386,
    /// ARM64.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
}

impl Abi {
    /// The interface that programs of an architecture use.
    pub fn native(architecture: Architecture) -> Self {
        match architecture {
            Architecture::X86_64 => Abi::X86_64,
            Architecture::Aarch64 => Abi::Aarch64,
        }
    }

    /// Parses libseccomp's name; `None` for those of other processors and for x32.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Abi::X86_64),
            "SCMP_ARCH_X86" => Some(Abi::I386),
            "SCMP_ARCH_AARCH64" => Some(Abi::Aarch64),
            "SCMP_ARCH_ARM" => Some(Abi::Arm),
            _ => None,
        }
    }

    /// Whether a kernel of this architecture runs programs of this interface.
    pub fn runs_on(self, architecture: Architecture) -> bool {
        match architecture {
            Architecture::X86_64 => matches!(self, Abi::X86_64 | Abi::I386),
            Architecture::Aarch64 => matches!(self, Abi::Aarch64 | Abi::Arm),
        }
    }

    /// `AUDIT_ARCH_*` of `<linux/audit.h>`, which `struct seccomp_data` carries.
    pub fn audit(self) -> u32 {
        match self {
            Abi::X86_64 => 0xc000_003e,
            Abi::I386 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// Numbers by name.
    pub fn numbers(self) -> BTreeMap<&'static str, u32> {
        let text = match self {
            Abi::X86_64 => include_str!("tables/x86_64.txt"),
            Abi::I386 => include_str!("tables/i386.txt"),
            Abi::Aarch64 => include_str!("tables/aarch64.txt"),
            Abi::Arm => include_str!("tables/arm.txt"),
        };
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(number, name)| Some((name, number.parse().ok()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_a_number_and_a_name() {
        for (abi, count) in [(Abi::X86_64, 382), (Abi::I386, 459), (Abi::Aarch64, 325)] {
            assert_eq!(abi.numbers().len(), count, "{abi:?}");
        }
        assert_eq!(Abi::X86_64.numbers()["execve"], 59);
        assert_eq!(Abi::I386.numbers()["execve"], 11);
        assert_eq!(Abi::Aarch64.numbers()["execve"], 221);
        assert_eq!(Abi::Arm.numbers()["set_tls"], 0x000f_0005);
    }
}
