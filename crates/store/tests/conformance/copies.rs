//! Copies of a complete instance: a snapshot of any database, loaded into any empty one.

use crate::world::{Seen, World, postgres_database};
use keyreeve_core::audit::Walk;
use keyreeve_store::copy::{
    Cell, Copied, CopyPriority, InstanceSnapshot, Load, PostgresLoad, PostgresSnapshot, RowBatch, SqliteLoad,
    SqliteSnapshot, copy,
};
use keyreeve_store::{DATABASE_FILE, PostgresStore, StoreError};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Every row of a snapshot, table by table.
async fn rows(snapshot: InstanceSnapshot) -> Vec<(&'static str, Vec<Vec<Cell>>)> {
    let (sender, mut batches) = mpsc::channel(1);
    let sent = tokio::spawn(snapshot.send(sender, CopyPriority::Low));
    let mut tables: Vec<(&str, Vec<Vec<Cell>>)> = Vec::new();
    while let Some(batch) = batches.recv().await {
        match tables.last_mut() {
            Some((name, rows)) if *name == batch.table.name => rows.extend(batch.rows),
            _ => tables.push((batch.table.name, batch.rows)),
        }
    }
    sent.await.unwrap().unwrap();
    // Only the audit log has an order of its own.
    for (_, rows) in tables.iter_mut().filter(|(name, _)| *name != "log") {
        rows.sort_by_key(|row| format!("{row:?}"));
    }
    tables
}

async fn of_file(directory: &Path) -> InstanceSnapshot {
    let file = directory.join(DATABASE_FILE);
    InstanceSnapshot::Embedded(Box::new(SqliteSnapshot::open(&file).await.unwrap()))
}

async fn into_directory(directory: &Path) -> Load {
    Load::Embedded(Box::new(SqliteLoad::begin(directory).await.unwrap()))
}

/// An instance with keys in several states.
async fn lived() -> World {
    let world = World::sqlite().await.unwrap();
    for number in 0..5 {
        world.issue("user_1", &format!("key {number} \u{1F511}")).await;
    }
    let revoked = world.issue("user_2", "revoked").await;
    world.revoke(revoked.id).await;
    let erased = world.issue("user_2", "erased").await;
    world.delete(erased.id).await;
    world
}

fn path(world: &World) -> &Path {
    world.directory.as_ref().unwrap().path()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_a_snapshot_arrives_in_sqlite_and_in_postgres_and_back() {
    let world = lived().await;
    let expected = rows(of_file(path(&world)).await).await;
    assert!(
        expected.iter().any(|(name, rows)| *name == "keys" && rows.len() == 6),
        "{expected:?}"
    );

    let second = tempfile::tempdir().unwrap();
    copy(of_file(path(&world)).await, into_directory(second.path()).await)
        .await
        .unwrap();
    assert_eq!(rows(of_file(second.path()).await).await, expected);

    let Some(url) = postgres_database().await else { return };
    let access: keyreeve_store::DatabaseAccess = url.parse().unwrap();
    let store = PostgresStore::open(&access, Arc::new(Seen::default())).await.unwrap();
    let load = Load::Shared(Box::new(PostgresLoad::begin(&store).await.unwrap()));
    copy(of_file(second.path()).await, load).await.unwrap();
    let snapshot = InstanceSnapshot::Shared(Box::new(PostgresSnapshot::of(&store).await.unwrap()));
    assert_eq!(rows(snapshot).await, expected);

    let third = tempfile::tempdir().unwrap();
    let snapshot = InstanceSnapshot::Shared(Box::new(PostgresSnapshot::open(&access).await.unwrap()));
    copy(snapshot, into_directory(third.path()).await).await.unwrap();
    assert_eq!(rows(of_file(third.path()).await).await, expected);
    let again = PostgresLoad::begin(&store).await.map(drop);
    assert!(matches!(again, Err(StoreError::Disagreement(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stays_as_it_was_while_others_write() {
    let world = lived().await;
    let snapshot = of_file(path(&world)).await;
    let (head, before) = (snapshot.facts().head, rows(of_file(path(&world)).await).await);
    world.issue("user_3", "later").await;
    assert_eq!(rows(snapshot).await, before);
    assert_eq!(world.store.head().await.unwrap().revision, head.revision + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entries_of_a_copy_continue_the_chain_to_its_end() {
    let world = lived().await;
    let snapshot = of_file(path(&world)).await;
    let facts = snapshot.facts().clone();
    let (sender, mut batches) = mpsc::channel(1);
    let sent = tokio::spawn(snapshot.send(sender, CopyPriority::Low));
    let mut walk = Walk::new(Vec::new());
    let mut first = None;
    while let Some(batch) = batches.recv().await {
        for row in batch.rows.iter().filter(|_| batch.table.name == "log") {
            let (entry, chain) = batch.entry(row).unwrap();
            walk.step(&entry, &chain).unwrap();
            first.get_or_insert(chain);
        }
    }
    sent.await.unwrap().unwrap();
    assert_eq!(
        (walk.position().revision, walk.position().chain),
        (facts.head.revision, facts.head.chain)
    );
    assert_eq!(first, facts.first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_other_counts_or_another_end_leaves_nothing_behind() {
    let world = lived().await;
    let head = of_file(path(&world)).await.facts().head;
    let directory = tempfile::tempdir().unwrap();
    for is_count_wrong in [true, false] {
        let snapshot = of_file(path(&world)).await;
        let (sender, mut batches) = mpsc::channel::<RowBatch>(1);
        let sent = tokio::spawn(snapshot.send(sender, CopyPriority::Low));
        let mut load = into_directory(directory.path()).await;
        while let Some(batch) = batches.recv().await {
            load.take(batch).await.unwrap();
        }
        sent.await.unwrap().unwrap();
        let (counts, end) = match is_count_wrong {
            true => (vec![Copied { table: "keys", rows: 7 }], head),
            false => (
                Vec::new(),
                keyreeve_store::model::Head {
                    revision: head.revision + 1,
                    ..head
                },
            ),
        };
        let finished = load.finish(&counts, end).await;
        assert!(matches!(finished, Err(StoreError::Corrupt(_))), "{finished:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
    drop(into_directory(directory.path()).await);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "abandoned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_exists_is_not_filled() {
    let world = lived().await;
    let begun = SqliteLoad::begin(path(&world)).await.map(drop);
    assert!(matches!(begun, Err(StoreError::Disagreement(_))), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_backup_are_committed_together_with_the_mark_that_nodes_refuse() {
    let Some(url) = postgres_database().await else { return };
    let world = lived().await;
    let access: keyreeve_store::DatabaseAccess = url.parse().unwrap();
    let store = PostgresStore::open(&access, Arc::new(Seen::default())).await.unwrap();
    drop(PostgresLoad::begin_restore(&store).await.unwrap());
    assert!(!store.is_restoring().await.unwrap(), "rolled back");
    let load = Load::Shared(Box::new(PostgresLoad::begin_restore(&store).await.unwrap()));
    copy(of_file(path(&world)).await, load).await.unwrap();
    assert!(store.is_restoring().await.unwrap());
    let snapshot = PostgresSnapshot::open(&access).await.map(drop);
    assert!(matches!(snapshot, Err(StoreError::Disagreement(_))), "{snapshot:?}");
    store.end_restoring().await.unwrap();
    assert!(!store.is_restoring().await.unwrap());
    PostgresSnapshot::open(&access).await.map(drop).unwrap();
}
