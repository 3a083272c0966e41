//! The start up to the point where the server can serve: all listeners bound, the instance created.

use crate::App;
use crate::edge::{Endpoint, bind, bind_operator};
use crate::founding::{EmptyStore, found};
use crate::instance::{Addresses, FirstAdminLink, StartError, operator_socket};
use crate::listen::Listen;
use crate::settings::Settings;
use crate::tls::{Tls, TlsError};
use keyreeve_authority::tenants::DEFAULT_TENANT;
use keyreeve_core::text::Slug;
use std::net::{Ipv4Addr, SocketAddr};

/// All listeners are bound and the instance exists. Serving, which cannot fail, is all that is left.
pub(crate) struct Ready {
    pub(crate) faces: Vec<(Endpoint, EndpointKind)>,
    pub(crate) ops: Endpoint,
    pub(crate) addresses: Addresses,
    pub(crate) has_shown_root_key: bool,
    pub(crate) first_admin_link: Option<FirstAdminLink>,
}

/// What an endpoint serves.
#[derive(Clone, Copy)]
pub(crate) enum EndpointKind {
    Api,
    Check,
}

impl Ready {
    /// Binds all listeners and then creates the instance: a start that cannot bind all of them creates nothing. Clients
    /// that connect in between wait.
    pub(crate) async fn for_all(app: &App, tls: &Encryption, empty: EmptyStore) -> Result<Self, StartError> {
        let mut bound = Vec::new();
        let ready = Self::bound(app, tls, empty, &mut bound).await;
        if ready.is_err() {
            remove_sockets(bound.iter());
        }
        ready
    }

    async fn bound(
        app: &App,
        tls: &Encryption,
        empty: EmptyStore,
        bound: &mut Vec<Listen>,
    ) -> Result<Self, StartError> {
        let settings = app.settings();
        let mut faces = Vec::new();
        for place in &settings.listen {
            faces.push((bind_at(place, tls.api.as_ref(), bound).await?, EndpointKind::Api));
        }
        let listen = bound.clone();
        let origin = origin(&listen, tls.api.as_ref());
        let first = first_of_network(&listen);
        app.issuer().settle(settings.public_url.as_deref(), first, &origin);
        for place in &settings.check_listen {
            faces.push((bind_at(place, tls.check.as_ref(), bound).await?, EndpointKind::Check));
        }
        let check_listen = bound.iter().skip(listen.len()).cloned().collect();
        let ops = Listen::Tcp(settings.ops_listen);
        let (ops, ops_listen) = bind(&ops, None).await.map_err(at(&ops))?;
        if let Some(operator) = bind_for_operators(app, bound)? {
            faces.push((operator, EndpointKind::Api));
        }
        let addresses = Addresses {
            listen,
            check_listen,
            ops_listen,
        };
        let has_shown_root_key = found(app.authority(), settings, empty, &addresses).await?;
        app.authority().catch_up().await?;
        Ok(Self {
            faces,
            ops,
            addresses,
            has_shown_root_key,
            first_admin_link: first_admin_link(app).await,
        })
    }
}

/// The TLS of the listeners that use it.
pub(crate) struct Encryption {
    api: Option<Tls>,
    check: Option<Tls>,
}

impl Encryption {
    pub(crate) fn open(settings: &Settings) -> Result<Self, TlsError> {
        let open = |name, files: &Option<_>| files.as_ref().map(|files| Tls::open(name, files)).transpose();
        Ok(Self {
            api: open("listen", &settings.tls)?,
            check: open("check_listen", &settings.check_tls)?,
        })
    }

    pub(crate) fn all(&self) -> Vec<Tls> {
        self.api.iter().chain(&self.check).cloned().collect()
    }
}

/// Binds a listener, and records its actual address.
async fn bind_at(place: &Listen, tls: Option<&Tls>, bound: &mut Vec<Listen>) -> Result<Endpoint, StartError> {
    let (endpoint, really) = bind(place, tls).await.map_err(at(place))?;
    bound.push(really);
    Ok(endpoint)
}

/// Binds the socket for commands on this machine. A data directory in which no file can be created has none, and is served
/// without it.
fn bind_for_operators(app: &App, bound: &mut Vec<Listen>) -> Result<Option<Endpoint>, StartError> {
    let socket = operator_socket(&app.settings().data);
    match bind_operator(&socket) {
        Ok(endpoint) => {
            bound.push(Listen::Unix(socket));
            Ok(Some(endpoint))
        }
        Err(error) if is_refused_by_directory(&error) || app.authority().obstacle().is_some() => {
            tracing::warn!(%error, "cannot open the operator socket; commands need an address and a root key");
            Ok(None)
        }
        Err(error) => Err(at(socket.display())(error)),
    }
}

fn is_refused_by_directory(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied
    )
}

pub(crate) fn remove_sockets<'p>(places: impl Iterator<Item = &'p Listen>) {
    for place in places {
        if let Listen::Unix(path) = place {
            drop(std::fs::remove_file(path));
        }
    }
}

fn at(address: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> StartError {
    move |error| StartError::Listen {
        address: address.to_string(),
        error,
    }
}

/// Returns the first network address of some listeners. For an unspecified address (all interfaces) the loopback
/// address is returned.
pub(crate) fn reachable(places: &[Listen]) -> Option<SocketAddr> {
    let address = first_of_network(places)?;
    Some(match address.ip().is_unspecified() {
        true => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        false => address,
    })
}

fn first_of_network(places: &[Listen]) -> Option<SocketAddr> {
    places.iter().find_map(|place| match place {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    })
}

/// Returns the origin at which browsers reach the API: with TLS under a name of the certificate. It is empty with only
/// Unix sockets, where just the proxy in front knows the name.
fn origin(listen: &[Listen], tls: Option<&Tls>) -> String {
    let Some(address) = reachable(listen) else {
        return String::new();
    };
    let Some(tls) = tls else {
        return format!("http://{address}");
    };
    match tls.certificate().host_for(address.ip()) {
        Some(name) => format!("https://{name}:{}", address.port()),
        None => format!("https://{address}"),
    }
}

/// Returns a link for the tenant `default`, if no user can sign in there. A failure (a full disk) does not prevent the
/// start, and the next start creates another link.
async fn first_admin_link(app: &App) -> Option<FirstAdminLink> {
    let tenant = Slug::parse(DEFAULT_TENANT).ok()?;
    match app.authority().sign_in().first_admin_link(&tenant).await {
        Ok(token) => token.map(|token| FirstAdminLink::new(app.issuer().setup_link(token.expose()))),
        Err(error) => {
            tracing::warn!(%error, "cannot make the sign-in link of the first administrator");
            None
        }
    }
}
