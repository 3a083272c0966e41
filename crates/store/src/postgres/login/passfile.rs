//! The password file `~/.pgpass`, by libpq's rules.

use super::super::access::Server;
use super::read_bounded;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tokio_postgres::config::Host;

/// Maximum size in bytes.
const SIZE_MAX: u64 = 1024 * 1024;
/// Directories of sockets that a line for `localhost` is about: libpq's, and those of distributions.
const SOCKETS: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// Returns the password of the first line that matches; `Err` is why the file was ignored.
pub(super) fn find(
    path: &Path,
    server: &Server,
    database: Option<&str>,
    user: Option<&str>,
) -> Result<Option<String>, String> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(None);
    };
    let shown = path.display();
    if !metadata.is_file() {
        return Err(format!("{shown} is ignored: it is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} is ignored: other users have access to it; set its mode to 600"
        ));
    }
    let text = read_bounded(path, SIZE_MAX).map_err(|error| format!("{shown} is ignored: {error}"))?;
    let port = server.port.to_string();
    // Without a name the server takes the user's.
    let asked = [Some(port.as_str()), database.or(user), user];
    Ok(text.lines().find_map(|line| password_of(line, &server.host, asked)))
}

fn password_of(line: &str, host: &Host, asked: [Option<&str>; 3]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = PassfileFields(line.chars());
    if !is_of_host(&fields.next()?, host) {
        return None;
    }
    for asked in asked {
        let field = fields.next()?;
        if !field.matches(asked.unwrap_or_default()) {
            return None;
        }
    }
    fields
        .next()
        .map(|field| field.text)
        .filter(|password| !password.is_empty())
}

fn is_of_host(field: &PassfileField, host: &Host) -> bool {
    match host {
        Host::Tcp(name) => field.matches(name),
        Host::Unix(path) => {
            let path = path.to_string_lossy();
            field.matches(&path) || (SOCKETS.contains(&&*path) && field.matches("localhost"))
        }
    }
}

/// A field of a line, without its escapes.
struct PassfileField {
    text: String,
    is_any: bool,
}

impl PassfileField {
    fn matches(&self, asked: &str) -> bool {
        self.is_any || (!asked.is_empty() && self.text == asked)
    }
}

/// The fields of a line: colons end them, a backslash keeps the next character as it is.
struct PassfileFields<'l>(std::str::Chars<'l>);

impl Iterator for PassfileFields<'_> {
    type Item = PassfileField;

    fn next(&mut self) -> Option<PassfileField> {
        if self.0.as_str().is_empty() {
            return None;
        }
        let (mut text, mut has_escape) = (String::new(), false);
        loop {
            match self.0.next() {
                None | Some(':') => break,
                Some('\\') => {
                    has_escape = true;
                    text.extend(self.0.next());
                }
                Some(one) => text.push(one),
            }
        }
        let is_any = text == "*" && !has_escape;
        Some(PassfileField { text, is_any })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn server(host: &str, port: u16) -> Server {
        let host = match host.starts_with('/') {
            true => Host::Unix(host.into()),
            false => Host::Tcp(host.to_owned()),
        };
        Server {
            host,
            address: None,
            port,
        }
    }

    fn found(text: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        find(&path, &server(host, port), Some(database), Some(user)).unwrap()
    }

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let file = "# comment\n\nbroken\nh:1:d:u:one\nh:*:d:u:two\n*:*:*:v\\:x:it\\:s\\\\\nlocalhost:5432:*:*:local\n/opt/s:*:*:*:far\r\n*:*:e:u:\n*:*:e:u:last\n";
        for (host, port, database, user, password) in [
            ("h", 1, "d", "u", Some("one")),
            ("h", 2, "d", "u", Some("two")),
            ("h", 2, "x", "u", None),
            ("i", 1, "d", "u", None),
            ("i", 1, "d", "v:x", Some("it:s\\")),
            ("localhost", 5432, "d", "u", Some("local")),
            ("/var/run/postgresql", 5432, "d", "u", Some("local")),
            ("/opt/s", 5432, "d", "u", Some("far")),
            ("/opt/t", 5432, "d", "u", None),
            ("j", 1, "e", "u", Some("last")),
        ] {
            assert_eq!(
                found(file, host, port, database, user).as_deref(),
                password,
                "{host} {port} {database} {user}"
            );
        }
    }

    #[test]
    fn an_escaped_star_is_a_star() {
        assert_eq!(found("\\*:*:*:*:x", "h", 1, "d", "u"), None);
        assert_eq!(found("h:*:*:*:\\*", "h", 1, "d", "u").as_deref(), Some("*"));
    }

    #[test]
    fn a_file_that_others_can_read_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        std::fs::write(&path, "*:*:*:*:hidden").unwrap();
        for mode in [0o640, 0o604, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let why = find(&path, &server("h", 1), None, None).unwrap_err();
            assert!(why.contains("600") && !why.contains("hidden"), "{why}");
        }
        assert_eq!(
            find(&directory.path().join("none"), &server("h", 1), None, None),
            Ok(None)
        );
        assert!(find(directory.path(), &server("h", 1), None, None).is_err());
    }
}
