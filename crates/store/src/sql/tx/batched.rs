//! Statements of which one change may run many, with the form of each for many rows.

use crate::sql::rows::select_keys;
use crate::sql::{Batched, same_digest};

pub(crate) const APPEND: Batched = Batched {
    one: "INSERT INTO log (revision, at, tenant, actor_type, actor_id, action, target_type, target_id, subject, \
         reason, address, request_id, before, after, chain) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    many: "INSERT INTO log (revision, at, tenant, actor_type, actor_id, action, target_type, target_id, subject, \
         reason, address, request_id, before, after, chain) \
         SELECT given.revision, given.at, given.tenant, given.actor_type, given.actor_id, given.action, \
         given.target_type, given.target_id, given.subject, given.reason, given.address, given.request_id, \
         given.before, given.after, given.chain \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) WITH ORDINALITY \
         AS given(revision, at, tenant, actor_type, actor_id, action, target_type, target_id, subject, reason, \
         address, request_id, before, after, chain, place) ORDER BY given.place",
};

pub(crate) const LOCK_KEY: Batched = Batched {
    one: concat!(select_keys!(), "WHERE tenant = ?1 AND id = ?2"),
    many: concat!(
        "SELECT answer.* FROM unnest($1, $2) WITH ORDINALITY AS given(tenant, id, place), LATERAL (",
        select_keys!(),
        "WHERE tenant = given.tenant AND id = given.id) AS answer ORDER BY given.place"
    ),
};

/// The exact count is made only if the stored one, which is never lower, could exceed the limit.
pub(crate) const COUNT_KEYS: Batched = Batched {
    one: "SELECT CASE WHEN known.keys + ?5 <= ?6 THEN known.keys ELSE (SELECT count(*) FROM keys \
         WHERE tenant = ?1 AND subject = ?2 AND state <> 'revoked' AND NOT coalesce(finalize_at <= ?3, FALSE) \
         AND (?4 OR NOT coalesce(expires_at <= ?3, FALSE))) END AS total \
         FROM (SELECT coalesce((SELECT keys FROM subject_keys WHERE tenant = ?1 AND subject = ?2), 0) AS keys) \
         AS known",
    many: "SELECT answer.* FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY \
         AS given(tenant, subject, now, count_expired, adding, most, place), LATERAL (\
         SELECT CASE WHEN known.keys + given.adding <= given.most THEN known.keys ELSE (SELECT count(*) FROM keys \
         WHERE tenant = given.tenant AND subject = given.subject AND state <> 'revoked' \
         AND NOT coalesce(finalize_at <= given.now, FALSE) \
         AND (given.count_expired OR NOT coalesce(expires_at <= given.now, FALSE))) END AS total \
         FROM (SELECT coalesce((SELECT keys FROM subject_keys WHERE tenant = given.tenant \
         AND subject = given.subject), 0) AS keys) AS known) AS answer ORDER BY given.place",
};

/// Keys without expiry and keys that have not expired, each found by an index.
pub(crate) const NAME_TAKEN: Batched = Batched {
    one: "SELECT EXISTS (SELECT 1 FROM keys WHERE tenant = ?1 AND subject = ?2 AND name = ?3 \
         AND expires_at IS NULL AND id IS DISTINCT FROM ?4 AND state <> 'revoked' \
         AND NOT coalesce(finalize_at <= ?5, FALSE)) \
         OR EXISTS (SELECT 1 FROM keys WHERE tenant = ?1 AND subject = ?2 AND name = ?3 \
         AND expires_at > ?5 AND id IS DISTINCT FROM ?4 AND state <> 'revoked' \
         AND NOT coalesce(finalize_at <= ?5, FALSE)) AS found",
    many: "SELECT answer.* FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY \
         AS given(tenant, subject, name, other_than, now, place), LATERAL (\
         SELECT EXISTS (SELECT 1 FROM keys WHERE tenant = given.tenant AND subject = given.subject \
         AND name = given.name AND expires_at IS NULL AND id IS DISTINCT FROM given.other_than \
         AND state <> 'revoked' AND NOT coalesce(finalize_at <= given.now, FALSE)) \
         OR EXISTS (SELECT 1 FROM keys WHERE tenant = given.tenant AND subject = given.subject \
         AND name = given.name AND expires_at > given.now AND id IS DISTINCT FROM given.other_than \
         AND state <> 'revoked' AND NOT coalesce(finalize_at <= given.now, FALSE)) AS found) AS answer ORDER BY given.place",
};

pub(super) const IS_USER_BLOCKED: Batched = Batched {
    one: "SELECT EXISTS (SELECT 1 FROM users WHERE tenant = ?1 AND id = ?2 AND status <> 'active') AS found",
    many: "SELECT answer.* FROM unnest($1, $2) WITH ORDINALITY AS given(tenant, id, place), LATERAL (\
         SELECT EXISTS (SELECT 1 FROM users WHERE tenant = given.tenant AND id = given.id AND status <> 'active') \
         AS found) AS answer ORDER BY given.place",
};

/// The columns of a key that a change may write.
macro_rules! key_columns {
    () => {
        "id, tenant, subject, name, description, claims, scopes, created_by, digest, prefix, last_four, retiring, \
         retiring_until, state, hold_cause, hold_lock, finalize_at, state_since, state_by, reason_code, note, \
         created_at, updated_at, rotated_at, expires_at, limits, folded_name"
    };
}

/// As many parameters as columns.
macro_rules! key_parameters {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
         $24, $25, $26, $27"
    };
}

pub(super) const INSERT_KEY: Batched = Batched {
    one: concat!(
        "INSERT INTO keys (",
        key_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
         ?22, ?23, ?24, ?25, ?26, ?27)"
    ),
    many: concat!(
        "INSERT INTO keys (",
        key_columns!(),
        ") SELECT ",
        key_columns!(),
        " FROM unnest(",
        key_parameters!(),
        ") WITH ORDINALITY AS given(",
        key_columns!(),
        ", place) ORDER BY given.place"
    ),
};

pub(super) const UPDATE_KEY: Batched = Batched {
    one: "UPDATE keys SET tenant = ?2, subject = ?3, name = ?4, description = ?5, claims = ?6, scopes = ?7, \
         created_by = ?8, digest = ?9, prefix = ?10, last_four = ?11, retiring = ?12, retiring_until = ?13, \
         state = ?14, hold_cause = ?15, hold_lock = ?16, finalize_at = ?17, state_since = ?18, state_by = ?19, \
         reason_code = ?20, note = ?21, created_at = ?22, updated_at = ?23, rotated_at = ?24, expires_at = ?25, \
         limits = ?26, folded_name = ?27 WHERE id = ?1",
    many: concat!(
        "UPDATE keys SET tenant = given.tenant, subject = given.subject, name = given.name, \
         description = given.description, claims = given.claims, scopes = given.scopes, \
         created_by = given.created_by, digest = given.digest, prefix = given.prefix, last_four = given.last_four, \
         retiring = given.retiring, retiring_until = given.retiring_until, state = given.state, \
         hold_cause = given.hold_cause, hold_lock = given.hold_lock, finalize_at = given.finalize_at, \
         state_since = given.state_since, state_by = given.state_by, reason_code = given.reason_code, \
         note = given.note, created_at = given.created_at, updated_at = given.updated_at, \
         rotated_at = given.rotated_at, expires_at = given.expires_at, limits = given.limits, \
         folded_name = given.folded_name",
        " FROM unnest(",
        key_parameters!(),
        ") AS given(",
        key_columns!(),
        ") WHERE keys.id = given.id"
    ),
};

pub(super) const INSERT_CREDENTIAL: Batched = Batched {
    one: "INSERT INTO credentials (digest, key_id, tenant, standing) VALUES (?1, ?2, ?3, 'live')",
    many: "INSERT INTO credentials (digest, key_id, tenant, standing) \
         SELECT given.digest, given.key_id, given.tenant, 'live' \
         FROM unnest($1, $2, $3) WITH ORDINALITY AS given(digest, key_id, tenant, place) ORDER BY given.place",
};

pub(crate) const SET_CREDENTIAL: Batched = Batched {
    one: concat!(
        "UPDATE credentials SET standing = ?2, until = ?3 WHERE ",
        same_digest!("digest", "?1")
    ),
    many: concat!(
        "UPDATE credentials SET standing = given.standing, until = given.until ",
        "FROM unnest($1, $2, $3) AS given(digest, standing, until) WHERE ",
        same_digest!("credentials.digest", "given.digest")
    ),
};

pub(super) const CURRENT_CREDENTIALS: Batched = Batched {
    one: "SELECT key_id, digest, standing FROM credentials WHERE key_id = ?1 AND standing IN ('live', 'retiring')",
    many: "SELECT answer.* FROM unnest($1) WITH ORDINALITY AS given(key_id, place), LATERAL (\
         SELECT key_id, digest, standing FROM credentials WHERE key_id = given.key_id \
         AND standing IN ('live', 'retiring')) AS answer ORDER BY given.place",
};

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Batched; 10] = [
        APPEND,
        LOCK_KEY,
        COUNT_KEYS,
        NAME_TAKEN,
        IS_USER_BLOCKED,
        INSERT_KEY,
        UPDATE_KEY,
        INSERT_CREDENTIAL,
        SET_CREDENTIAL,
        CURRENT_CREDENTIALS,
    ];

    fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
        let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
        rest.split_once(end).unwrap_or_else(|| panic!("no {end} in {text}")).0
    }

    /// Returns the columns of `given`, one for each parameter.
    fn given(many: &str) -> Vec<&str> {
        let columns = between(many, " AS given(", ")").split(", ");
        columns.filter(|column| *column != "place").collect()
    }

    /// Returns a text with numbers in place of the columns of `given`.
    fn numbered(text: &str, columns: &[&str]) -> String {
        let mut words: Vec<_> = columns.iter().zip(1..).collect();
        // A name may begin with another one.
        words.sort_by_key(|(column, _)| std::cmp::Reverse(column.len()));
        words.into_iter().fold(text.to_owned(), |text, (column, number)| {
            text.replace(&format!("given.{column}"), &format!("?{number}"))
        })
    }

    /// Returns the statement for one row that a statement for many rows contains.
    fn one_of(many: &str) -> String {
        let columns = given(many);
        match many.split(' ').next() {
            Some("SELECT") => numbered(between(many, "LATERAL (", ") AS answer ORDER BY given.place"), &columns),
            Some("UPDATE") => {
                let (change, rest) = many.split_once(" FROM unnest(").expect("rows");
                let (_, condition) = rest.split_once(" WHERE ").expect("a condition");
                let table = between(many, "UPDATE ", " SET ");
                let condition = condition.replace(&format!("{table}."), "");
                numbered(&format!("{change} WHERE {condition}"), &columns)
            }
            Some("INSERT") => {
                let (head, rest) = many.split_once(" SELECT ").expect("values");
                let (values, end) = rest.split_once(" FROM unnest(").expect("rows");
                assert!(end.ends_with(" ORDER BY given.place"), "{many}");
                let value = |value: &str| match columns.contains(&value) {
                    true => format!("given.{value}"),
                    false => value.to_owned(),
                };
                let values: Vec<_> = values.split(", ").map(value).collect();
                format!("{head} VALUES ({})", numbered(&values.join(", "), &columns))
            }
            _ => panic!("{many}"),
        }
    }

    #[test]
    fn the_form_for_many_rows_does_what_the_statement_for_one_row_does() {
        for statement in ALL {
            assert_eq!(one_of(statement.many), statement.one);
        }
    }

    #[test]
    fn the_form_for_many_rows_has_an_array_for_each_parameter() {
        for Batched { one, many } in ALL {
            let parameters = given(many).len();
            let arrays: Vec<_> = (1..=parameters).map(|number| format!("${number}")).collect();
            assert_eq!(between(many, "unnest(", ")"), arrays.join(", "), "{many}");
            assert!(one.contains(&format!("?{parameters}")), "{one}");
            assert!(!one.contains(&format!("?{}", parameters + 1)), "{one}");
        }
    }
}
