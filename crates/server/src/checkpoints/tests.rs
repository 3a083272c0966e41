use super::*;

const END: Milestone = Milestone {
    revision: 7,
    chain: [9; 32],
};

#[test]
fn a_checkpoint_is_kept_and_opened_with_the_same_key_only() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let checkpoints = Checkpoints::open_directory(one.path(), [1; 32]).unwrap();
    assert_eq!(checkpoints.newest(), Some(BEGINNING), "from here on one is expected");
    let note = checkpoints.record(END).unwrap();
    assert_eq!(checkpoints.open(&note), Ok(END));
    assert_eq!(open_with(&note, &checkpoints.verifier_key()), Ok(END));
    let again = Checkpoints::open_directory(one.path(), [2; 32]).unwrap();
    assert_eq!(again.newest(), Some(END), "the key is made once");
    let stranger = Checkpoints::open_directory(other.path(), [3; 32]).unwrap();
    assert!(stranger.open(&note).is_err());
}

#[test]
fn a_changed_note_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open_directory(directory.path(), [1; 32]).unwrap();
    let note = checkpoints.record(END).unwrap();
    for changed in [
        note.replace("\n7\n", "\n6\n"),
        note.replace("CQkJ", "CAkJ"),
        String::new(),
        "x\n\ny".to_owned(),
    ] {
        assert!(checkpoints.open(&changed).is_err(), "{changed}");
    }
}

#[test]
fn an_older_end_does_not_replace_a_newer_one() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open_directory(directory.path(), [1; 32]).unwrap();
    checkpoints.record(END).unwrap();
    checkpoints.record(Milestone { revision: 3, ..END }).unwrap();
    assert_eq!(checkpoints.newest(), Some(END));
}

#[test]
fn a_directory_says_whether_something_was_signed_in_it_and_is_missing() {
    let evidence = |directory: &Path| Evidence::read(directory).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(evidence(fresh.path()), Evidence::None);
    Checkpoints::open_directory(fresh.path(), [1; 32]).unwrap();
    assert_eq!(evidence(fresh.path()), Evidence::Signed(BEGINNING));
    let harms: [fn(&Path); 6] = [
        |data| std::fs::remove_file(data.join(CHECKPOINT_FILE)).unwrap(),
        |data| std::fs::remove_file(data.join(SIGNING_KEY_FILE)).unwrap(),
        |data| std::fs::write(data.join(CHECKPOINT_FILE), "").unwrap(),
        |data| std::fs::write(data.join(CHECKPOINT_FILE), [0xff; 9]).unwrap(),
        |data| std::fs::write(data.join(SIGNING_KEY_FILE), "x").unwrap(),
        |data| std::fs::write(data.join(SIGNING_KEY_FILE), STANDARD.encode([7; 32])).unwrap(),
    ];
    for (number, harm) in harms.iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        Checkpoints::open_directory(data, [1; 32]).unwrap().record(END).unwrap();
        harm(data);
        assert!(matches!(evidence(data), Evidence::Unusable(_)), "{number}");
        accept(data, END, [2; 32]).unwrap();
        assert_eq!(evidence(data), Evidence::Signed(END), "{number}");
    }
}

#[test]
fn wherever_the_beginning_is_broken_off_the_next_start_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    write_synced(&data.join(SIGNING_KEY_BEGUN), "half").unwrap();
    assert_eq!(Evidence::read(data).unwrap(), Evidence::None);
    Checkpoints::open_directory(data, [1; 32]).unwrap();
    std::fs::rename(data.join(SIGNING_KEY_FILE), data.join(SIGNING_KEY_BEGUN)).unwrap();
    std::fs::remove_file(data.join(VERIFIER_KEY_FILE)).unwrap();
    assert_eq!(Evidence::read(data).unwrap(), Evidence::Signed(BEGINNING));
    Checkpoints::open_directory(data, [9; 32]).unwrap().record(END).unwrap();
    assert_eq!(Evidence::read(data).unwrap(), Evidence::Signed(END));
}

#[test]
fn accepting_keeps_what_was_signed_under_another_name_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let note = Checkpoints::open_directory(data, [1; 32]).unwrap().record(END).unwrap();
    let older = Milestone {
        revision: 3,
        chain: [3; 32],
    };
    let kept = accept(data, older, [2; 32]).unwrap();
    assert_eq!(kept, [data.join("audit-checkpoint.before-3")]);
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), note);
    assert_eq!(
        accept(data, older, [2; 32]).unwrap(),
        [data.join("audit-checkpoint.before-3-1")]
    );
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), note);
}
