//! Networks as a condition of a credential: which addresses they contain, and whether they contain other networks.

use super::{LimitsError, Networks};
use std::net::IpAddr;

impl Networks {
    /// Whether there are none, so that any address is allowed.
    pub fn is_any(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Whether an address is allowed. Without networks each is; with networks an unknown address (`None`) is not.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        let is_in = |address: IpAddr| {
            let address = address.to_canonical();
            self.as_slice().iter().any(|network| network.contains(&address))
        };
        self.is_any() || address.is_some_and(is_in)
    }

    /// Whether these allow at least what others allow. Each of the others must be within one of these.
    pub fn covers(&self, others: &Self) -> bool {
        let is_within = |other| self.as_slice().iter().any(|network| network.contains(other));
        self.is_any() || (!others.is_any() && others.as_slice().iter().all(is_within))
    }

    /// Returns one text with a space between the networks, for storing. Empty without networks.
    pub fn joined(&self) -> String {
        let texts: Vec<_> = self.as_slice().iter().map(ToString::to_string).collect();
        texts.join(" ")
    }

    /// Parses what [`Networks::joined`] wrote.
    pub fn from_joined(text: &str) -> Result<Self, LimitsError> {
        let networks: Result<_, _> = text.split_ascii_whitespace().map(super::network).collect();
        Self::new(networks?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::from_joined(&texts.join(" ")).unwrap()
    }

    #[test]
    fn an_address_is_admitted_by_its_network_only_and_an_unknown_one_by_none() {
        let some = networks(&["192.0.2.0/24", "2001:db8::/32"]);
        let admits = |text: &str| some.admits(Some(text.parse().unwrap()));
        assert!(admits("192.0.2.7") && admits("::ffff:192.0.2.7") && admits("2001:db8::1"));
        assert!(!admits("192.0.3.1") && !admits("::1"));
        assert!(!some.admits(None));
        assert!(Networks::default().admits(None));
    }

    #[test]
    fn networks_cover_those_within_them() {
        let wide = networks(&["10.0.0.0/8", "2001:db8::/32"]);
        for (others, expected) in [
            (&["10.1.0.0/16"][..], true),
            (&["10.0.0.0/8", "2001:db8:1::/48"], true),
            (&["10.1.0.0/16", "192.0.2.1/32"], false),
            (&["0.0.0.0/0"], false),
            (&[], false),
        ] {
            assert_eq!(wide.covers(&networks(others)), expected, "{others:?}");
        }
        assert!(Networks::default().covers(&wide) && Networks::default().covers(&Networks::default()));
        assert_eq!(Networks::from_joined(&wide.joined()), Ok(wide));
    }
}
