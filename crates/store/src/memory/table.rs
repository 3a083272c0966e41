//! A table that can roll back to the last commit.

use std::collections::BTreeMap;

/// Rows by key, and the undo log of the open transaction.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    undo: Vec<(K, Option<V>)>,
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        let before = self.rows.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(before) = self.rows.remove(key) {
            self.undo.push((key.clone(), Some(before)));
        }
    }

    /// Changes a row in place; false if there is none.
    pub(super) fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) -> bool {
        let Some(value) = self.rows.get_mut(key) else {
            return false;
        };
        self.undo.push((key.clone(), Some(value.clone())));
        change(value);
        true
    }

    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    pub(super) fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            undo: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_takes_back_everything_since_the_last_commit_and_nothing_before() {
        let mut table = Table::default();
        table.put(1, "kept");
        table.put(2, "kept too");
        table.commit();
        table.put(1, "changed");
        table.put(1, "changed again");
        table.remove(&2);
        table.put(2, "made anew");
        table.put(3, "new");
        assert!(table.change(&3, |value| *value = "newer"));
        assert!(!table.change(&4, |value| *value = "nothing"));
        table.roll_back();
        let rows: Vec<_> = table.rows().iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(rows, [(1, "kept"), (2, "kept too")]);
    }
}
