//! Verification inside an application: one key repeatedly, and many keys in no order, against one SHA-256.
//! usage: inside URL KEYS_FILE ROUNDS    with the root key in $ROOT
//!
//! Prints a line per round: nanoseconds of one digest, one hot verification, one cold one.

use keyreeve_client::Verifier;
use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::time::Instant;

const STEPS: usize = 200_000;
const ASKERS: usize = 64;

fn nanoseconds(mut step: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..STEPS {
        step();
    }
    began.elapsed().as_nanos() as f64 / STEPS as f64
}

/// Returns the keys as one text, in another order than they were remembered in. A key that is presented has just been
/// read, and so is this text, line by line; the remembered entries are far apart in memory.
fn in_no_order(keys: &[String]) -> String {
    // A step by a prime reaches every key once, unless their number is a multiple of it.
    let place = |number: usize| number.wrapping_mul(7_368_787) % keys.len();
    let lines: Vec<&str> = (0..keys.len()).map(|number| keys[place(number)].as_str()).collect();
    lines.join("\n")
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(file), Some(rounds)) = (arguments.next(), arguments.next(), arguments.next()) else {
        panic!("usage: inside URL KEYS_FILE ROUNDS");
    };
    let root_key = std::env::var("ROOT").expect("a root key in $ROOT");
    let text = std::fs::read_to_string(file).expect("a file of keys");
    let keys: Vec<String> = text.lines().map(str::to_owned).collect();
    let builder = Verifier::builder(&url, &root_key).capacity(keys.len() * 2);
    let verifier = builder.connect().await.expect("a node");
    let mut askers = Vec::new();
    for part in keys.chunks(keys.len().div_ceil(ASKERS)) {
        let (verifier, part) = (verifier.clone(), part.to_vec());
        askers.push(tokio::spawn(async move {
            for key in part {
                assert!(verifier.verify(&key).await.is_valid(), "every key is good");
            }
        }));
    }
    for asker in askers {
        asker.await.expect("an asker");
    }
    let valid = |key: &str| {
        let verdict = verifier.remembered(black_box(key), &[]).expect("it is remembered");
        assert!(black_box(verdict).is_valid());
    };
    let hot = &keys[0];
    let text = in_no_order(&keys);
    let mut cold = text.lines().cycle();
    for _ in 0..rounds.parse::<usize>().expect("a number of rounds") {
        let digest = nanoseconds(|| {
            black_box(Sha256::digest(black_box(hot.as_bytes())));
        });
        let hot = nanoseconds(|| valid(hot));
        let cold = nanoseconds(|| valid(cold.next().expect("some key")));
        println!("{digest:.1} {hot:.1} {cold:.1}");
    }
}
