# Short names for what the scripts do. `just` is optional: every recipe is one line that can be typed.
# docs/contributing/tests.md explains what each kind of test covers.

# list the recipes
[private]
default:
    @just --list

# format and lints, as CI runs them
check:
    cargo fmt --check && cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings

# everything that CI runs; installs what the tests need
test:
    scripts/test

# unit, property and use-case tests of all crates, without Postgres
unit:
    cargo test --workspace --all-features --quiet

# one end-to-end suite: just e2e hostile
e2e SUITE:
    e2e/run {{SUITE}}

# one end-to-end test or file: just e2e-one hostile/test_lifecycle.py
e2e-one TEST:
    e2e/run {{quote(TEST)}}

# one seed of the simulator, with its trace
sim SEED:
    cargo run --release --quiet -p keyreeve-sim -- run --seed {{SEED}} --trace

# write openapi.json from the handlers
openapi:
    cargo run --quiet -- openapi > openapi.json

# take the pictures of docs/screenshots
screenshots:
    scripts/screenshots

# the table of ratios, quickly
bench:
    bench/run --quick

# plant one fault of e2e/planted and run the test that must find it
planted NAME:
    scripts/plant-faults {{NAME}}

# words, type names, citations, functions and subjects against their ceilings
language:
    scripts/language --check docs/contributing/ceilings.json
