//! `keyreeve gateways`: configurations of gateways in front of an API. They are the files in `deploy/gateways`, which
//! the tests run.

use crate::exit::UsageError;
use crate::output;
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write as _;
use std::path::PathBuf;

/// Values in the files that options replace.
const CHECK: &str = "127.0.0.1:7301";
const UPSTREAM: &str = "127.0.0.1:8080";
const LISTEN: &str = "127.0.0.1:8000";
const POLICY: &str = "default";

/// Print configurations of gateways in front of an API.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  keyreeve gateways snippet nginx\n  \
                        keyreeve gateways snippet caddy --policy acme:orders --upstream 127.0.0.1:3000\n  \
                        keyreeve gateways snippet haproxy --into /etc/haproxy/keyreeve")]
pub(crate) enum Gateways {
    /// Print a gateway's configuration, ready to run
    Snippet(Snippet),
}

/// A supported gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Gateway {
    /// nginx with `auth_request`
    Nginx,
    /// Caddy with `forward_auth`
    Caddy,
    /// Traefik with `forwardAuth`
    Traefik,
    /// Envoy with `ext_authz` over gRPC
    Envoy,
    /// Envoy with `ext_authz` over HTTP
    EnvoyHttp,
    /// `HAProxy` with a Lua action
    Haproxy,
}

/// Print a gateway's configuration.
#[derive(Debug, Args)]
pub(crate) struct Snippet {
    /// The gateway
    gateway: Gateway,
    /// The check policy: a name, or tenant:name
    #[arg(long, default_value = POLICY)]
    policy: String,
    /// Address of Keyreeve's check listener
    #[arg(long, value_name = "ADDRESS", default_value = CHECK)]
    check: String,
    /// Address of the API behind the gateway
    #[arg(long, value_name = "ADDRESS", default_value = UPSTREAM)]
    upstream: String,
    /// Listen address of the gateway
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN)]
    listen: String,
    /// Let CORS preflight requests reach the API without a key
    #[arg(long)]
    cors_preflight: bool,
    /// Write the files into this directory instead; existing files are not overwritten
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
}

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../deploy/gateways/", $name)))
    };
}

impl Gateway {
    /// Returns its files: names and texts.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Nginx => &[file!("nginx.conf")],
            Self::Caddy => &[file!("Caddyfile")],
            Self::Traefik => &[file!("traefik.yml"), file!("traefik-keyreeve.yml")],
            Self::Envoy => &[file!("envoy.yaml")],
            Self::EnvoyHttp => &[file!("envoy-http.yaml")],
            Self::Haproxy => &[file!("haproxy.cfg"), file!("keyreeve.lua")],
        }
    }
}

impl Gateways {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Snippet(snippet) => snippet.run(),
        }
    }
}

impl Snippet {
    fn run(&self) -> anyhow::Result<()> {
        let files = self.files()?;
        let Some(directory) = &self.into else {
            let are_several = files.len() > 1;
            for (name, text) in files {
                if are_several {
                    output::print(&format!("==> {name} <=="));
                }
                output::print(text.trim_end());
            }
            return Ok(());
        };
        std::fs::create_dir_all(directory).map_err(|error| UsageError(format!("{}: {error}", directory.display())))?;
        for (name, text) in files {
            let path = directory.join(name);
            let failed = |error| UsageError(format!("{}: {error}", path.display()));
            let mut file = std::fs::File::create_new(&path).map_err(failed)?;
            file.write_all(text.as_bytes()).map_err(failed)?;
            output::say(&format!("wrote {}", path.display()));
        }
        Ok(())
    }

    /// Returns the files with the given values.
    fn files(&self) -> Result<Vec<(&'static str, String)>, UsageError> {
        let policy = policy(&self.policy)?;
        let places = [
            (CHECK, address("--check", &self.check)?),
            (UPSTREAM, address("--upstream", &self.upstream)?),
            (LISTEN, address("--listen", &self.listen)?),
        ];
        let filled = |text: &str| {
            let mut text = text.to_owned();
            // Through placeholders, so that a value that was inserted is not replaced again.
            for (place, (standing, _)) in places.iter().enumerate() {
                text = text.replace(standing, &format!("\u{1}{place}\u{1}"));
                if let Some((host, port)) = standing.rsplit_once(':') {
                    text = text.replace(&in_yaml(host, port), &format!("\u{2}{place}\u{2}"));
                    text = text.replace(&in_caddy(host, port), &format!("\u{3}{place}\u{3}"));
                }
            }
            for (place, (_, (host, port))) in places.iter().enumerate() {
                text = text.replace(&format!("\u{1}{place}\u{1}"), &format!("{host}:{port}"));
                text = text.replace(&format!("\u{2}{place}\u{2}"), &in_yaml(host, port));
                text = text.replace(&format!("\u{3}{place}\u{3}"), &in_caddy(host, port));
            }
            let text = with_policy(&text, policy);
            if self.cors_preflight {
                with_preflights(&text)
            } else {
                text
            }
        };
        let files = self.gateway.files().iter();
        Ok(files.map(|(name, text)| (*name, filled(text))).collect())
    }
}

fn in_yaml(host: &str, port: &str) -> String {
    format!("address: {}, port_value: {port}", host.trim_matches(['[', ']']))
}

/// Formats a site of any host on one address.
fn in_caddy(host: &str, port: &str) -> String {
    format!("http://:{port} {{\n\tbind {host}\n")
}

/// Uncomments the lines for CORS preflight requests.
fn with_preflights(text: &str) -> String {
    text.replace("#cors ", "")
}

fn with_policy(text: &str, policy: &str) -> String {
    let mut text = text.to_owned();
    for profile in ["nginx", "caddy", "traefik", "envoy", "haproxy"] {
        let path = format!("/gateway/{profile}/");
        text = text.replace(&format!("{path}{POLICY}"), &format!("{path}{policy}"));
    }
    let metadata = |policy: &str| format!("key: keyreeve-policy, value: \"{policy}\"");
    text.replace(&metadata(POLICY), &metadata(policy))
}

/// Validates a policy's name, or tenant:name. The value must not be able to add anything else to a configuration.
fn policy(text: &str) -> Result<&str, UsageError> {
    let is_name = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(is_plain)
    };
    match text.split(':').count() <= 2 && text.split(':').all(is_name) {
        true => Ok(text),
        false => Err(UsageError(
            "--policy is a check policy's name, or tenant:name".to_owned(),
        )),
    }
}

/// Parses a host and a port.
fn address(option: &str, text: &str) -> Result<(String, String), UsageError> {
    let wrong = || UsageError(format!("{option} is a host and a port, such as {CHECK}"));
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    match !host.is_empty() && host.bytes().all(is_host) && is_port {
        true => Ok((host.to_owned(), port.to_owned())),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(gateway: Gateway, policy: &str, check: &str, upstream: &str) -> Snippet {
        Snippet {
            gateway,
            policy: policy.to_owned(),
            check: check.to_owned(),
            upstream: upstream.to_owned(),
            listen: LISTEN.to_owned(),
            cors_preflight: false,
            into: None,
        }
    }

    #[test]
    fn without_wishes_the_files_are_those_of_the_repository() {
        for gateway in Gateway::value_variants() {
            let files = snippet(*gateway, POLICY, CHECK, UPSTREAM).files().unwrap();
            let texts: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
            assert_eq!(texts, gateway.files());
        }
    }

    #[test]
    fn what_is_asked_for_stands_in_every_gateways_files() {
        for gateway in Gateway::value_variants() {
            // Each address is the other's default, so a second replacement would show.
            let files = snippet(*gateway, "acme:orders", "http://127.0.0.1:8080/", "[::1]:7301");
            let text: String = files.files().unwrap().into_iter().map(|(_, text)| text).collect();
            assert!(
                text.contains("acme:orders") && !text.contains("/default"),
                "{gateway:?}"
            );
            assert!(
                !text.contains("127.0.0.1:7301") && !text.contains('\u{1}'),
                "{gateway:?}"
            );
            assert!(
                text.contains("[::1]:7301") || text.contains("address: ::1, port_value: 7301"),
                "{gateway:?}"
            );
        }
    }

    #[test]
    fn nothing_else_gets_into_a_configuration() {
        for policy in ["", "a b", "a;", "a:b:c", "../x", "A", "a\nb", ":"] {
            assert!(
                snippet(Gateway::Nginx, policy, CHECK, UPSTREAM).files().is_err(),
                "{policy:?}"
            );
        }
        for check in ["", "7301", "host", "host:0", "host:x", "a b:1", "x;y:1", "host:1/path"] {
            assert!(
                snippet(Gateway::Nginx, POLICY, check, UPSTREAM).files().is_err(),
                "{check:?}"
            );
        }
    }
}
