//! Pages of keys, newest first.
//!
//! However many keys a tenant has, a page examines no more of them than it is asked to. A filter that rarely matches
//! returns the matches among those, and where to continue.

use super::read::{all, settled};
use super::rows::{int, key_id, key_record, number, select_keys};
use super::{Engine, Statement, owner_blocked, query};
use crate::error::StoreError;
use crate::folded::folded;
use crate::model::{KeyPage, KeyQuery, PageStart, Total};
use keyreeve_core::lifecycle::Standing;
use keyreeve_core::{KeyId, Timestamp};

/// The standing of a key at `?3`, as `Key::standing` returns it for a settled key.
macro_rules! filter {
    ($owner:literal) => {
        concat!(
            $owner,
            " AND (?4 IS NULL OR ?4 = CASE WHEN state = 'revoked' OR (state = 'disabled' AND finalize_at <= ?3) ",
            "THEN 'revoked' WHEN state = 'disabled' THEN 'disabled' WHEN expires_at <= ?3 THEN 'expired' ",
            "ELSE 'active' END) ",
            "AND NOT (?5 AND (state = 'revoked' OR (state = 'disabled' AND coalesce(finalize_at <= ?3, FALSE)))) ",
            "AND NOT (?6 AND state = 'active' AND coalesce(expires_at <= ?3, FALSE)) ",
            "AND (?7 IS NULL OR coalesce(folded_name, lower(name)) LIKE ?7 ESCAPE '\\' OR coalesce(last_four = ?8, FALSE)) ",
            "AND (?9 IS NULL OR (state = 'active' AND expires_at > ?3 AND expires_at < ?9)) ",
            "AND (?10 IS NULL OR (state = 'active' AND coalesce(expires_at > ?3, TRUE) AND created_at < ?10 ",
            "AND coalesce(last_used_at < ?10, TRUE))) ",
            // Without LIKE, which ignores the case of letters on SQLite only.
            "AND (?11 IS NULL OR replace(' ' || scopes || ' ', ?11, '') <> ' ' || scopes || ' ') ",
            "AND (NOT ?14 OR ",
            owner_blocked!(),
            ") AND (NOT ?15 OR NOT ",
            owner_blocked!(),
            ") "
        )
    };
}

/// Ids ascend with time, so newest first is by descending id. A page covers ids below `?12` and from `?13` on.
macro_rules! page {
    ($owner:literal) => {
        concat!(
            select_keys!(),
            filter!($owner),
            " ORDER BY id DESC LIMIT ?17 OFFSET ?18"
        )
    };
}

macro_rules! count {
    ($owner:literal) => {
        concat!("SELECT count(*) AS total FROM keys ", filter!($owner))
    };
}

/// The last key of a window and the one after it.
macro_rules! edge {
    ($owner:literal) => {
        concat!(
            "SELECT id FROM keys WHERE tenant = ?1 AND ",
            $owner,
            " AND id < ?3 ORDER BY id DESC LIMIT 2 OFFSET ?4"
        )
    };
}

/// The queries for the keys of one owner, or of all.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) page: &'static str,
    pub(crate) count: &'static str,
    pub(crate) edge: &'static str,
}

pub(crate) const OF_TENANT: Questions = Questions {
    page: page!("WHERE tenant = ?1 AND ?2 IS NULL AND id < ?12 AND id >= ?13"),
    count: count!("WHERE tenant = ?1 AND ?2 IS NULL AND id < ?12 AND id >= ?13"),
    edge: edge!("?2 IS NULL"),
};
/// The queries for the keys of one owner, which the databases find in different ways ([`super::Dialect`]).
macro_rules! of_subject {
    ($owner:literal) => {
        Questions {
            page: page!($owner),
            count: count!($owner),
            edge: edge!("subject = ?2"),
        }
    };
}

/// For Postgres, which has statistics of its tables.
#[cfg(feature = "postgres")]
pub(crate) const OF_SUBJECT: Questions = of_subject!("WHERE tenant = ?1 AND subject = ?2 AND id < ?12 AND id >= ?13");
/// For SQLite. Without `INDEXED BY` it would take the index of the tenant's keys.
#[cfg(feature = "sqlite")]
pub(crate) const OF_SUBJECT_INDEXED: Questions =
    of_subject!("INDEXED BY keys_of_subject WHERE tenant = ?1 AND subject = ?2 AND id < ?12 AND id >= ?13");

/// Keys that expire soon are rare and need not be new: they are found by expiry, the soonest `?16` of them. The other
/// conditions are expressions, which have no index: with an index, SQLite would read all keys of the tenant.
macro_rules! expiring {
    ($question:ident) => {
        $question!(
            "WHERE tenant || '' = ?1 AND ?2 IS NULL AND coalesce(id, id) < ?12 AND coalesce(id, id) >= ?13 \
             AND id IN (SELECT e.id FROM keys e WHERE e.tenant = ?1 AND e.expires_at > ?3 AND e.expires_at < ?9 \
             ORDER BY e.expires_at LIMIT ?16)"
        )
    };
}

pub(crate) const EXPIRING: Questions = Questions {
    page: expiring!(page),
    count: expiring!(count),
    edge: "SELECT e.id FROM keys e WHERE e.tenant = ?1 AND ?2 IS NULL AND e.expires_at > ?3 AND e.expires_at < ?4 \
        ORDER BY e.expires_at LIMIT 1 OFFSET ?5",
};

/// The range of keys to examine.
#[derive(Clone, Copy)]
struct ListWindow {
    /// Older than this id.
    from: [u8; 16],
    /// This id or newer.
    to: [u8; 16],
    /// Whether no key is older.
    is_last: bool,
}

pub(crate) async fn list<E: Engine>(engine: &mut E, wanted: &KeyQuery) -> Result<KeyPage, StoreError> {
    let questions = match &wanted.subject {
        Some(_) => E::DIALECT.keys_of_subject,
        None if is_by_expiry(wanted) => EXPIRING,
        None => OF_TENANT,
    };
    // A key that was created since cannot have been unused for so long.
    let newest = wanted
        .unused_since
        .map_or([0xff; 16], |time| KeyId::first_at(time).bytes());
    let (from, offset) = match wanted.start {
        PageStart::Offset(offset) => (newest, offset),
        PageStart::After(id) => (id.bytes().min(newest), 0),
    };
    let window = window(engine, &questions, wanted, from).await?;
    // One more than requested shows whether there is a next page.
    let statement = filtered(query(questions.page), wanted, window)
        .bind(most_expiring(wanted))
        .bind(i64::from(wanted.limit).saturating_add(1))
        .bind(number(offset));
    let mut keys = all(engine, statement, |row| {
        key_record(row).map(|record| settled(record, wanted.now))
    })
    .await?;
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let has_more = keys.len() > limit;
    keys.truncate(limit);
    let next = match has_more {
        true => keys.last().map(|record| record.key.id),
        false => (!window.is_last).then(|| KeyId::from_bytes(window.to)),
    };
    let total = match wanted.look_at {
        None => None,
        Some(_) if from == newest => Some(total(engine, &questions, wanted, window).await?),
        Some(_) => {
            let window = self::window(engine, &questions, wanted, newest).await?;
            Some(total(engine, &questions, wanted, window).await?)
        }
    };
    Ok(KeyPage { keys, total, next })
}

async fn window(
    engine: &mut impl Engine,
    questions: &Questions,
    wanted: &KeyQuery,
    from: [u8; 16],
) -> Result<ListWindow, StoreError> {
    let whole = ListWindow {
        from,
        to: [0; 16],
        is_last: true,
    };
    let Some(look_at) = wanted.look_at.filter(|_| !is_by_expiry(wanted)) else {
        return Ok(whole);
    };
    let statement = query(questions.edge)
        .bind(wanted.tenant.as_str())
        .bind(wanted.subject.as_ref().map(|subject| subject.as_str()))
        .bind(from)
        .bind(i64::from(look_at.max(1)) - 1);
    let ids = all(engine, statement, |row| key_id(row, "id")).await?;
    Ok(match ids[..] {
        [last, _] => ListWindow {
            to: last.bytes(),
            is_last: false,
            ..whole
        },
        _ => whole,
    })
}

async fn total(
    engine: &mut impl Engine,
    questions: &Questions,
    wanted: &KeyQuery,
    window: ListWindow,
) -> Result<Total, StoreError> {
    let mut statement = filtered(query(questions.count), wanted, window);
    let mut is_exact = window.is_last;
    if is_by_expiry(wanted) {
        statement = statement.bind(most_expiring(wanted));
        let beyond = query(questions.edge)
            .bind(wanted.tenant.as_str())
            .bind(None::<&str>)
            .bind(wanted.now.millis())
            .bind(wanted.expires_before.map(Timestamp::millis))
            .bind(most_expiring(wanted));
        is_exact = engine.row(beyond).await?.is_none();
    }
    let row = engine.the_row(statement).await?;
    let count = u64::try_from(int(&row, "total")?).unwrap_or(0);
    Ok(Total { count, is_exact })
}

/// Whether keys are found by expiry and not by age.
const fn is_by_expiry(wanted: &KeyQuery) -> bool {
    wanted.subject.is_none() && wanted.expires_before.is_some()
}

fn most_expiring(wanted: &KeyQuery) -> i64 {
    wanted.look_at.map_or(i64::MAX, i64::from)
}

fn filtered<'q>(statement: Statement<'q>, wanted: &'q KeyQuery, window: ListWindow) -> Statement<'q> {
    statement
        .bind(wanted.tenant.as_str())
        .bind(wanted.subject.as_ref().map(|subject| subject.as_str()))
        .bind(wanted.now.millis())
        .bind(wanted.standing.map(Standing::as_str))
        .bind(wanted.hide_revoked && wanted.standing.is_none())
        .bind(wanted.hide_expired && wanted.standing.is_none())
        .bind(wanted.search.as_deref().map(|text| like(&folded(text))))
        .bind(wanted.last_four.as_deref())
        .bind(wanted.expires_before.map(Timestamp::millis))
        .bind(wanted.unused_since.map(Timestamp::millis))
        .bind(wanted.scope.as_deref().map(|scope| format!(" {scope} ")))
        .bind(window.from)
        .bind(window.to)
        .bind(wanted.owner_blocked == Some(true))
        .bind(wanted.owner_blocked == Some(false))
}

/// Returns a pattern that matches names containing the text literally: `%`, `_` and `\` are escaped.
fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for char in text.chars() {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('%');
    pattern
}
