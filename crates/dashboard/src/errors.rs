//! The errors of a form: all of them at once, each shown at its field.

use super::sentences::{Sentence, of_problem};
use keyreeve_api::Problem;

/// The errors of a form, in the order of its fields.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Errors(Vec<Sentence>);

impl Errors {
    /// Returns the value, or `None` after adding the error.
    pub(super) fn take<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.0.push(of_problem(&problem))).ok()
    }

    pub(super) fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Fails with the errors, if there are any.
    pub(super) fn none(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn all(&self) -> &[Sentence] {
        &self.0
    }

    /// Returns the first error of a field.
    pub(super) fn of(&self, field: &str) -> Option<&str> {
        let said = self.0.iter().find(|said| said.field == Some(field));
        said.map(|said| said.text.as_str())
    }

    /// Whether this is the first field with an error. It gets the focus.
    pub(super) fn is_first(&self, field: &str) -> bool {
        self.0.iter().find_map(|said| said.field) == Some(field)
    }

    /// All errors as one text, for pages without the form.
    pub(super) fn text(&self) -> String {
        let texts: Vec<_> = self.0.iter().map(|said| said.text.as_str()).collect();
        texts.join(" ")
    }
}

impl From<Sentence> for Errors {
    fn from(said: Sentence) -> Self {
        Self(vec![said])
    }
}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        of_problem(&problem).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_kept_and_the_first_field_is_known() {
        let mut errors = Errors::from(Sentence::of_all("The whole."));
        assert_eq!(errors.take(Ok(7)), Some(7));
        for field in ["name", "networks[2]"] {
            assert_eq!(errors.take::<()>(Err(Problem::field(field, "must be so"))), None);
        }
        assert_eq!(errors.of("name"), Some("The name must be so."));
        assert_eq!(errors.of("networks"), Some("Network 3 must be so."));
        assert!(errors.is_first("name") && !errors.is_first("networks"));
        assert_eq!(errors.text(), "The whole. The name must be so. Network 3 must be so.");
        assert!(errors.none().is_err() && Errors::default().none().is_ok());
    }
}
