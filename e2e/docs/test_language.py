"""What scripts/language counts as an import circle, and as an import from a lower floor."""
import importlib.machinery
import importlib.util
import pathlib
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/language"
SOURCE = "crates/authority/src"


def loaded():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("language", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("language", loader))
    loader.exec_module(module)
    return module


LANGUAGE = loaded()


def code(files):
    """The files of a crate as the measures read them."""
    return {f"{SOURCE}/{name}": LANGUAGE.without_tests(LANGUAGE.rust_parts(text)[0]) for name, text in files.items()}


def circles(files):
    found = LANGUAGE.measure_circles(code(files))["authority"]
    return [[name.removeprefix(SOURCE + "/") for name in group] for group, _ in found]


@pytest.mark.parametrize("files, expected", [
    ({"lib.rs": "mod a; mod b;", "a.rs": "use crate::b::B; pub struct A;", "b.rs": "use super::a::{A, C as D}; pub struct B;"},
     [["a.rs", "b.rs"]]),
    ({"lib.rs": "mod a; mod b;", "a.rs": "fn f() -> crate::b::B {}", "b.rs": "pub struct B(super::a::A);"}, [["a.rs", "b.rs"]]),
    ({"lib.rs": "mod a; mod b; mod c;", "a.rs": "use crate::b::B; struct A;", "b.rs": "use crate::c::C; struct B;",
      "c.rs": "use crate::a::A; struct C;"}, [["a.rs", "b.rs", "c.rs"]]),
    # A parent that uses what a child defines, and the child what the parent defines.
    ({"lib.rs": "mod a;", "a/mod.rs": "mod b; use b::B; struct A;", "a/b.rs": "use super::A; struct B;"},
     [["a/b.rs", "a/mod.rs"]]),
    ({"lib.rs": "mod a;", "a.rs": "mod b; pub use b::B; struct A(B);", "a/b.rs": "use super::A; struct B;"},
     [["a.rs", "a/b.rs"]]),
    # By a module that was imported.
    ({"lib.rs": "mod a; mod b;", "a.rs": "use crate::b; fn f() { b::g() }", "b.rs": "use crate::a::f; fn g() {}"},
     [["a.rs", "b.rs"]]),
])
def test_files_that_import_each_other_are_a_circle(files, expected):
    assert circles(files) == expected


@pytest.mark.parametrize("files", [
    # A re-export that the parent does not use.
    {"lib.rs": "mod a;", "a.rs": "mod b; pub use b::B; struct A;", "a/b.rs": "use super::A; struct B;"},
    # A name is an import of the file that defines it, not of the root that re-exports it.
    {"lib.rs": "mod a; mod b; pub use b::B; use a::A; struct Root(A);", "a.rs": "use crate::B; struct A;", "b.rs": "struct B;"},
    {"lib.rs": "mod a; mod b;", "a.rs": "use crate::b::B; struct A;", "b.rs": "struct B; #[cfg(test)] mod tests { use crate::a::A; }"},
    {"lib.rs": "mod a; mod b;", "a.rs": "use crate::b::B; struct A;", "b.rs": "//! See `crate::a::A`.\nstruct B; // crate::a::A"},
])
def test_re_exports_tests_and_comments_make_no_circle(files):
    assert circles(files) == []


@pytest.mark.parametrize("line, is_found", [
    ("use crate::verify::Miss;", True),
    ("use crate::Authority;", True),
    ("pub use crate::verify::Miss;", True),
    ("fn f(_: &super::super::verify::Miss) {}", True),
    ("use crate::question::Via;", False),
    ("use super::meters::Meters;", False),
    ("use crate::Via;", False),
])
def test_the_memory_of_authority_imports_no_use_case(line, is_found):
    files = {"lib.rs": "mod memory; mod question; mod verify; pub use question::Via; pub struct Authority;",
             "memory/mod.rs": "mod gates; mod meters;", "memory/meters.rs": "pub struct Meters;",
             "memory/gates.rs": line, "question.rs": "pub enum Via {}", "verify.rs": "pub struct Miss;"}
    assert bool(LANGUAGE.measure_floors(code(files))) == is_found
