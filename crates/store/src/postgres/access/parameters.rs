//! The two forms of a connection string, as libpq reads them: a URL, and `name=value` pairs.
//!
//! An error names a parameter at most, never a value: any part of a text that cannot be read may be a password.

use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// Maximum length of a connection string in bytes. A URL has a few hundred.
const LENGTH_MAX: usize = 64 * 1024;
/// Maximum length of the name of a parameter that an error repeats.
const NAME_MAX: usize = 40;

const HOW: &str = "write postgres://USER@HOST/NAME";
const ENCODE: &str = "the URL cannot be read; write postgres://USER:PASSWORD@HOST/NAME, with @ : / ? # % and & in a user or \
                      password percent-encoded (@ is %40, / is %2F)";

/// The parameters of a connection string by name. Of a name that is given twice, the last value counts, as in libpq.
pub(super) type Pairs = BTreeMap<String, String>;

/// Parses a connection string.
pub(super) fn parse(text: &str) -> Result<Pairs, String> {
    let text = text.trim();
    if text.len() > LENGTH_MAX {
        return Err(format!("the URL is longer than 64 KiB; {HOW}"));
    }
    if text.contains('\0') {
        return Err(ENCODE.to_owned());
    }
    match text.split_once("://") {
        Some(("postgres" | "postgresql", rest)) => of_url(rest),
        Some((scheme, _)) if scheme.starts_with("jdbc:") => Err(
            "this is a URL of JDBC: write postgres:// instead of jdbc:postgresql://, and the user before the host"
                .to_owned(),
        ),
        Some((scheme, _)) if scheme.starts_with("postgres") && scheme.contains('+') => {
            Err("this is a URL of SQLAlchemy: write postgres:// without the name of a driver".to_owned())
        }
        Some(_) if !is_pairs(text) => Err(format!("the URL is not of Postgres; {HOW}")),
        Some(_) | None if is_pairs(text) => of_pairs(text),
        Some(_) | None => Err(format!("the URL cannot be read; {HOW}")),
    }
}

/// Whether a name of a parameter may be repeated in an error: it looks like one, and is no part of a password that
/// was not encoded.
pub(super) fn is_printable(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_letter)
}

fn is_pairs(text: &str) -> bool {
    let (name, _) = text.split_once('=').unwrap_or_default();
    is_printable(name.trim())
}

fn of_url(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    // As libpq: a user ends at an @ before the first slash.
    let (authority, rest) = match text.find(['/', '?']).and_then(|at| text.split_at_checked(at)) {
        Some(split) => split,
        None => (text, ""),
    };
    // What was cut off belongs to a password with a slash or a question mark.
    if authority.matches('@').count() > 1 || rest.contains('@') {
        return Err(ENCODE.to_owned());
    }
    let hosts = match authority.split_once('@') {
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            put(&mut pairs, "user", user)?;
            put(&mut pairs, "password", password)?;
            hosts
        }
        None => authority,
    };
    of_hosts(&mut pairs, hosts)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    put(&mut pairs, "dbname", path.strip_prefix('/').unwrap_or(path))?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| ENCODE.to_owned())?;
        let name = decoded(name)?;
        pairs.insert(name, decoded(value)?);
    }
    Ok(pairs)
}

/// Splits `host:port,[address]:port`.
fn of_hosts(pairs: &mut Pairs, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| ENCODE.to_owned())?;
                let port = rest.strip_prefix(':').or(rest.is_empty().then_some(""));
                (host, port.ok_or_else(|| ENCODE.to_owned())?)
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        hosts.push(decoded(host)?);
        ports.push(decoded(port)?);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        pairs.insert("host".to_owned(), hosts.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.insert("port".to_owned(), ports.join(","));
    }
    Ok(())
}

fn put(pairs: &mut Pairs, name: &str, value: &str) -> Result<(), String> {
    if !value.is_empty() {
        pairs.insert(name.to_owned(), decoded(value)?);
    }
    Ok(())
}

/// Decodes percent-encoding. A `%` that begins no escape is an error, as in libpq: it is a password that was not
/// encoded.
fn decoded(text: &str) -> Result<String, String> {
    let is_escape = |rest: &str| {
        let mut digits = rest.bytes();
        let mut is_digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        is_digit() && is_digit()
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(ENCODE.to_owned());
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) if !decoded.contains('\0') => Ok(decoded.into_owned()),
        Ok(_) | Err(_) => Err(ENCODE.to_owned()),
    }
}

/// Parses `name=value name='a value'`, where a backslash keeps the next character as it is.
fn of_pairs(text: &str) -> Result<Pairs, String> {
    let bad = || {
        "the connection string cannot be read; write name=value pairs with spaces between them, and a value that has \
         spaces as 'a value'"
            .to_owned()
    };
    let mut pairs = Pairs::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|one| one.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(pairs);
        }
        let mut name = String::new();
        while let Some(one) = rest.next_if(|&one| one != '=' && !one.is_whitespace()) {
            name.push(one);
        }
        while rest.next_if(|one| one.is_whitespace()).is_some() {}
        rest.next_if_eq(&'=').ok_or_else(bad)?;
        while rest.next_if(|one| one.is_whitespace()).is_some() {}
        let is_quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match rest.next() {
                Some('\'') if is_quoted => break,
                Some('\\') => value.push(rest.next().ok_or_else(bad)?),
                None if is_quoted => return Err(bad()),
                Some(one) if is_quoted || !one.is_whitespace() => value.push(one),
                Some(_) | None => break,
            }
        }
        pairs.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text)
            .unwrap_or_else(|why| panic!("{text}: {why}"))
            .into_iter()
            .collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = of
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        for (url, expected) in [
            ("postgres://", &[][..]),
            ("postgresql://h", &[("host", "h")]),
            (
                "postgres://u:p@h:1/d",
                &[
                    ("user", "u"),
                    ("password", "p"),
                    ("host", "h"),
                    ("port", "1"),
                    ("dbname", "d"),
                ],
            ),
            (
                "postgres://u%40x:p%2F%3A%25@h/d%20e",
                &[("user", "u@x"), ("password", "p/:%"), ("host", "h"), ("dbname", "d e")],
            ),
            (
                "postgres://u:a:b@h",
                &[("user", "u"), ("password", "a:b"), ("host", "h")],
            ),
            (
                "postgres://a:1,b,[::1]:3/d",
                &[("host", "a,b,::1"), ("port", "1,,3"), ("dbname", "d")],
            ),
            (
                "postgres:///d?host=/tmp&port=5433",
                &[("dbname", "d"), ("host", "/tmp"), ("port", "5433")],
            ),
            ("postgres://%2Fvar%2Frun/d", &[("host", "/var/run"), ("dbname", "d")]),
            (
                "postgres://u@/d?host=a,b",
                &[("user", "u"), ("dbname", "d"), ("host", "a,b")],
            ),
            (
                "postgres://h?options=-c%20geqo%3Doff",
                &[("host", "h"), ("options", "-c geqo=off")],
            ),
            (
                "postgres://h/d?sslmode=require&sslmode=disable",
                &[("host", "h"), ("dbname", "d"), ("sslmode", "disable")],
            ),
            (" postgres://h/d\n", &[("host", "h"), ("dbname", "d")]),
        ] {
            assert_eq!(read(url), pairs(expected), "{url}");
        }
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        for (text, expected) in [
            ("host=h dbname=d", &[("host", "h"), ("dbname", "d")][..]),
            (" host = h  user= 'a b' ", &[("host", "h"), ("user", "a b")]),
            (
                "password='it\\'s \\\\' host=h",
                &[("password", "it's \\"), ("host", "h")],
            ),
            ("password=a\\ b", &[("password", "a b")]),
            ("password=postgres://x", &[("password", "postgres://x")]),
            ("password='' host=h", &[("password", ""), ("host", "h")]),
        ] {
            assert_eq!(read(text), pairs(expected), "{text}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_a_value() {
        for text in [
            "",
            "hidden",
            "mysql://u:hidden@h/d",
            "jdbc:postgresql://h/d?password=hidden",
            "postgresql+asyncpg://u:hidden@h/d",
            "postgres://u:hid@den@h/d",
            "postgres://u:hid/den@h/d",
            "postgres://u:hid?den=1@h/d",
            "postgres://u:hidden%@h/d",
            "postgres://u:hidden%0@h/d",
            "postgres://u:hidden%00@h/d",
            "postgres://u:hidden%ff@h/d",
            "postgres://u:hidden@[h/d",
            "postgres://u:hidden@[h]x/d",
            "postgres://u:hidden@h/d?hidden",
            "host=h password='hidden",
            "host=h password hidden",
            "password=hidden\\",
        ] {
            let why = parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(!why.contains("hid"), "{text}: {why}");
        }
    }
}
