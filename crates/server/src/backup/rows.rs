//! Rows as JSON Lines: an array a row, with the values in the order of the columns. Bytes are base64.

use super::error::BackupError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyreeve_store::copy::{Cell, ColumnKind, CopiedColumn};
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use std::fmt;
use std::io::Write as _;

/// Appends a row as a line.
pub(super) fn write(row: &[Cell], out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, cell) in row.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_cell(cell, out);
    }
    out.extend_from_slice(b"]\n");
}

fn write_cell(cell: &Cell, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _written = match cell {
        Cell::Int(Some(value)) => write!(out, "{value}"),
        Cell::Flag(Some(value)) => write!(out, "{value}"),
        Cell::Text(Some(text)) => serde_json::to_writer(&mut *out, text).map_err(Into::into),
        Cell::Blob(Some(bytes)) => write!(out, "\"{}\"", STANDARD.encode(bytes)),
        Cell::Int(None) | Cell::Flag(None) | Cell::Text(None) | Cell::Blob(None) => write!(out, "null"),
    };
}

/// Most rows of a part: an empty line is small in an archive, and a row in memory is not.
const PART_ROWS_MAX: usize = 1 << 18;

/// Reads the lines of a part.
pub(super) fn read(lines: &[u8], columns: &[CopiedColumn]) -> Result<Vec<Vec<Cell>>, BackupError> {
    // One more than there are rows, because each line has an end.
    if lines.split(|byte| *byte == b'\n').nth(PART_ROWS_MAX + 1).is_some() {
        return Err(BackupError::changed("a part has too many rows"));
    }
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let row = |line: &[u8]| {
        let mut reader = serde_json::Deserializer::from_slice(line);
        let row = RowOf(columns).deserialize(&mut reader);
        let row = row.and_then(|row| reader.end().map(|()| row));
        row.map_err(|_| BackupError::changed("a row cannot be read"))
    };
    lines.map(row).collect()
}

/// Reads a row with these columns.
struct RowOf<'c>(&'c [CopiedColumn]);

impl<'de> DeserializeSeed<'de> for RowOf<'_> {
    type Value = Vec<Cell>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Cell>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowOf<'_> {
    type Value = Vec<Cell>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {} values", self.0.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Vec<Cell>, A::Error> {
        let mut row = Vec::with_capacity(self.0.len());
        let short = || A::Error::custom("too few values");
        for (_, kind) in self.0 {
            row.push(match kind {
                ColumnKind::Int => Cell::Int(values.next_element()?.ok_or_else(short)?),
                ColumnKind::Flag => Cell::Flag(values.next_element()?.ok_or_else(short)?),
                ColumnKind::Text => Cell::Text(values.next_element()?.ok_or_else(short)?),
                ColumnKind::Blob => {
                    let text: Option<&str> = values.next_element()?.ok_or_else(short)?;
                    let bytes = text.map(|text| STANDARD.decode(text)).transpose();
                    Cell::Blob(bytes.map_err(A::Error::custom)?)
                }
            });
        }
        match values.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(row),
            Some(_) => Err(A::Error::custom("too many values")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [CopiedColumn; 4] = [
        ("a", ColumnKind::Int),
        ("b", ColumnKind::Text),
        ("c", ColumnKind::Blob),
        ("d", ColumnKind::Flag),
    ];

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let rows = [
            vec![
                Cell::Int(Some(i64::MIN)),
                Cell::Text(Some("a\n\"b\" \u{1F511} \0".to_owned())),
                Cell::Blob(Some(vec![0, 255, 10])),
                Cell::Flag(Some(true)),
            ],
            vec![
                Cell::Int(Some(i64::MAX)),
                Cell::Text(Some(String::new())),
                Cell::Blob(Some(Vec::new())),
                Cell::Flag(Some(false)),
            ],
            vec![Cell::Int(None), Cell::Text(None), Cell::Blob(None), Cell::Flag(None)],
        ];
        let mut lines = Vec::new();
        for row in &rows {
            write(row, &mut lines);
        }
        assert_eq!(read(&lines, &COLUMNS).unwrap(), rows);
    }

    #[test]
    fn a_part_with_too_many_rows_is_refused() {
        let lines = b"[null,null,null,null]\n".repeat(PART_ROWS_MAX);
        assert_eq!(read(&lines, &COLUMNS).unwrap().len(), PART_ROWS_MAX);
        let more = [lines.as_slice(), b"[null,null,null,null]\n"].concat();
        assert!(read(&more, &COLUMNS).unwrap_err().to_string().contains("too many rows"));
    }

    #[test]
    fn a_row_of_other_columns_is_refused() {
        for line in [
            "[1,\"b\",null]",
            "[1,\"b\",null,true,1]",
            "[\"1\",\"b\",null,true]",
            "[1,\"b\",\"?\",true]",
            "{}",
            "[1,\"b\",null,true",
            "[1,\"b\",null,true] x",
        ] {
            assert!(read(line.as_bytes(), &COLUMNS).is_err(), "{line}");
        }
    }
}
