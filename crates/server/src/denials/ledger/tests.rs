use super::super::file::DenialsFile;
use super::*;
use keyreeve_authority::denials::{DenialChange, DeniedRecord};
use keyreeve_core::KeyId;
use keyreeve_core::text::Slug;

fn end(revision: u64) -> Milestone {
    Milestone {
        revision,
        chain: [u8::try_from(revision % 251).unwrap(); 32],
    }
}

fn at(revision: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(revision * 1_000).unwrap())
}

fn denial(revision: u64, key: u64) -> LedgerLine {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&key.to_be_bytes());
    LedgerLine::Denial(RecordedDenial {
        entry: end(revision),
        at: at(revision),
        target: DeniedRecord::Key(Slug::parse("acme").unwrap(), KeyId::from_bytes(id)),
        change: DenialChange::Ended,
    })
}

fn lines() -> Vec<LedgerLine> {
    vec![
        LedgerLine::Origin([7; 32]),
        LedgerLine::Begins(end(0), at(0)),
        denial(2, 1),
        LedgerLine::Seen(end(3), at(3)),
        denial(4, 2),
        LedgerLine::Seen(end(5), at(5)),
        denial(6, 3),
        LedgerLine::Seen(end(7), at(7)),
    ]
}

fn text(lines: &[LedgerLine]) -> Vec<String> {
    (0..).zip(lines).map(|(number, line)| sealed(number, line)).collect()
}

#[test]
fn a_file_is_complete_from_its_beginning_to_its_last_line() {
    let ledger = Ledger::parse(text(&lines()).concat().as_bytes());
    assert_eq!(
        (ledger.origin, ledger.damages, ledger.is_cut),
        (Some([7; 32]), 0, false)
    );
    let [history] = &ledger.histories[..] else {
        panic!("{ledger:?}");
    };
    assert_eq!((history.from, history.end, history.end_at), (end(0), end(7), at(7)));
    assert_eq!(history.denials.len(), 3);
}

#[test]
fn a_line_that_is_changed_or_missing_ends_the_complete_part_and_nothing_else_is_lost() {
    for harm in ["changed", "removed", "nonsense", "not text"] {
        let mut text: Vec<Vec<u8>> = text(&lines()).into_iter().map(String::into_bytes).collect();
        match harm {
            "changed" => text[4][20] ^= 1,
            "removed" => drop(text.remove(4)),
            "nonsense" => text[4] = b"x\n".to_vec(),
            _ => text[4] = b"\xff\xfe\n".to_vec(),
        }
        let ledger = Ledger::parse(&text.concat());
        assert_eq!(ledger.damages, 1, "{harm}");
        let [before, after] = &ledger.histories[..] else {
            panic!("{harm}: {ledger:?}");
        };
        assert!(before.is_damaged && !after.is_damaged, "{harm}");
        assert_eq!(
            (before.end, before.end_at, before.denials.len()),
            (end(3), at(3), 1),
            "{harm}"
        );
        assert_eq!(
            (after.from, after.end_at, after.denials.len()),
            (end(5), at(7), 1),
            "{harm}"
        );
    }
}

#[test]
fn a_partial_last_line_is_no_damage_and_is_removed_before_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (mut file, found) = DenialsFile::open(directory.path()).unwrap();
    assert_eq!(found, None);
    file.append(&lines()).unwrap();
    let path = directory.path().join("denials");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"8 0123");
    std::fs::write(&path, &bytes).unwrap();
    assert!(
        file.append(&[denial(8, 4)]).is_err(),
        "another process has written to it"
    );
    let (mut file, found) = DenialsFile::open(directory.path()).unwrap();
    let found = found.unwrap();
    assert!(found.is_cut);
    assert_eq!(found.damages, 0);
    file.append(&[denial(8, 4)]).unwrap();
    let ledger = Ledger::read(&path).unwrap().unwrap();
    assert_eq!((ledger.damages, ledger.is_cut, ledger.histories.len()), (0, false, 1));
    assert_eq!(ledger.histories[0].denials.len(), 4);
}

#[test]
fn heartbeats_and_superseded_denials_do_not_make_the_file_grow() {
    let directory = tempfile::tempdir().unwrap();
    let (mut file, _) = DenialsFile::open_bounded(directory.path(), 4_096, 1 << 20).unwrap();
    file.append(&lines()).unwrap();
    for revision in 8..300 {
        file.append(&[denial(revision, 3), LedgerLine::Seen(end(revision), at(revision))])
            .unwrap();
        assert!(file.bytes() < 8_192, "{revision}");
    }
    let ledger = Ledger::read(&directory.path().join("denials")).unwrap().unwrap();
    assert_eq!(ledger.damages, 0);
    assert_eq!(ledger.histories.len(), 1);
    assert_eq!((ledger.histories[0].from, ledger.histories[0].end), (end(0), end(299)));
}

#[test]
fn beyond_the_bound_the_oldest_denials_are_dropped_and_the_file_begins_later() {
    let directory = tempfile::tempdir().unwrap();
    let (mut file, _) = DenialsFile::open_bounded(directory.path(), 4_096, 20 * LINE_BYTES).unwrap();
    file.append(&[LedgerLine::Origin([7; 32]), LedgerLine::Begins(end(0), at(0))])
        .unwrap();
    for revision in 1..=200 {
        file.append(&[denial(revision, revision)]).unwrap();
    }
    file.compact().unwrap();
    let ledger = Ledger::read(&directory.path().join("denials")).unwrap().unwrap();
    let history = &ledger.histories[0];
    assert!(history.denials.len() <= 20, "{}", history.denials.len());
    let first = history.denials[0].entry.revision;
    assert_eq!(
        history.from.revision,
        first - 1,
        "complete only for copies that have all before"
    );
    assert_eq!(history.end, end(200));
}

#[test]
fn a_failed_write_leaves_complete_lines_and_is_continued() {
    let directory = tempfile::tempdir().unwrap();
    let (mut file, _) = DenialsFile::open(directory.path()).unwrap();
    file.append(&lines()).unwrap();
    let path = directory.path().join("denials");
    let kept = std::fs::read(&path).unwrap();
    std::fs::rename(&path, directory.path().join("kept")).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(file.append(&[denial(8, 4)]).is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, kept).unwrap();
    file.append(&[denial(8, 4)]).unwrap();
    assert_eq!(Ledger::read(&path).unwrap().unwrap().damages, 0);
}
