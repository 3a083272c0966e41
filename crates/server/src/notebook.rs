//! What a node on Postgres must remember across restarts, in a file of its data directory: see
//! `keyreeve_authority::node::Notebook`. A line that a crash has truncated is ignored.

use keyreeve_authority::Failure;
use keyreeve_authority::node::Notebook;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file.
const FILE: &str = "database-history";

/// The lines of one data directory.
#[derive(Debug)]
pub(crate) struct FileNotebook {
    directory: PathBuf,
}

impl FileNotebook {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::Unavailable(format!("{}: {error}", self.path().display()))
    }

    fn try_append(&self, lines: &[String]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.path())?;
        let end = file.metadata()?.len();
        let written = file.write_all(text(lines).as_bytes()).and_then(|()| file.sync_data());
        if written.is_err() {
            // A partial line would corrupt the next one.
            drop(file.set_len(end));
        }
        written
    }

    fn try_replace(&self, lines: &[String]) -> io::Result<()> {
        let new = self.path().with_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text(lines).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, self.path())?;
        File::open(&self.directory)?.sync_all()
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

impl Notebook for FileNotebook {
    fn lines(&self) -> Result<Vec<String>, Failure> {
        let text = match std::fs::read(self.path()) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut lines: Vec<_> = text.split('\n').map(str::to_owned).collect();
        // The rest after the last line feed is empty, or a partial line.
        let is_cut = lines.pop().is_some_and(|rest| !rest.is_empty());
        if is_cut {
            self.replace(&lines)?;
        }
        Ok(lines)
    }

    fn append(&self, lines: &[String]) -> Result<(), Failure> {
        self.try_append(lines).map_err(|error| self.failed(&error))
    }

    fn replace(&self, lines: &[String]) -> Result<(), Failure> {
        self.try_replace(lines).map_err(|error| self.failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_replaced_and_read_and_half_a_line_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let notebook = FileNotebook::in_directory(directory.path());
        let lines = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(notebook.lines().unwrap(), lines(&[]));
        notebook.append(&lines(&["a", "b"])).unwrap();
        notebook.append(&lines(&["c"])).unwrap();
        assert_eq!(notebook.lines().unwrap(), lines(&["a", "b", "c"]));
        notebook.replace(&lines(&["d"])).unwrap();
        let mut file = OpenOptions::new().append(true).open(notebook.path()).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(notebook.lines().unwrap(), lines(&["d"]));
        notebook.append(&lines(&["e"])).unwrap();
        assert_eq!(notebook.lines().unwrap(), lines(&["d", "e"]));
    }
}
