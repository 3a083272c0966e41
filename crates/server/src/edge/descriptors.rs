//! Divides the open descriptors of the process among the listeners.

use super::seats::{RESERVED_CONNECTIONS, SeatLimits, Seats};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are no client connection: the database, files, TLS, connections to GitHub, and closing ones.
const OTHER_DESCRIPTORS: usize = 128;

/// The seats of each listener.
#[derive(Clone, Debug)]
pub(crate) struct AllSeats {
    /// The API: all its addresses and sockets.
    pub(crate) api: Seats,
    /// The check listener, likewise.
    pub(crate) check: Seats,
    /// The operations listener.
    pub(crate) ops: Seats,
    /// The socket in the data directory.
    pub(crate) operator: Seats,
}

impl AllSeats {
    /// Divides what the operating system allows, after raising the soft limit to the hard one. The soft limit is low
    /// for programs that use `select(2)`, which this one does not.
    pub(crate) fn share_out() -> Self {
        let limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            let raised = Rlimit {
                current: limit.maximum,
                ..limit
            };
            if let Err(error) = setrlimit(Resource::Nofile, raised) {
                tracing::warn!(%error, "cannot raise the limit of open descriptors");
            }
        }
        Self::of(getrlimit(Resource::Nofile).current)
    }

    /// `None` is no limit.
    fn of(descriptors: Option<u64>) -> Self {
        let all = descriptors.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
        // Two listeners are for clients, and two have reserved seats.
        let of_clients = all.saturating_sub(OTHER_DESCRIPTORS + 2 * RESERVED_CONNECTIONS) / 2;
        Self {
            api: Seats::new(SeatLimits::public(of_clients)),
            check: Seats::new(SeatLimits::public(of_clients)),
            ops: Seats::new(SeatLimits::reserved()),
            operator: Seats::new(SeatLimits::reserved()),
        }
    }

    /// Returns all seats with their names.
    pub(crate) fn named(&self) -> [(&'static str, &Seats); 4] {
        [
            ("listen", &self.api),
            ("check_listen", &self.check),
            ("ops_listen", &self.ops),
            ("operator", &self.operator),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_leave_descriptors_for_everything_else() {
        for descriptors in [300, 1_024, 4_096, 65_536, 1 << 30] {
            let seats = AllSeats::of(Some(descriptors));
            let connections: usize = seats.named().iter().map(|(_, seats)| seats.counts().all).sum();
            let left = usize::try_from(descriptors).unwrap() - connections;
            assert!(left >= OTHER_DESCRIPTORS, "{descriptors} leaves {left}");
        }
        assert_eq!(AllSeats::of(None).api.counts().all, 16_384);
    }
}
