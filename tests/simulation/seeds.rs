//! Which seeds a property is tried with, and how a failure is told.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Seeds of each property, unless SIMULATION_SEEDS says otherwise.
const SEEDS: u64 = 1_000;

/// Tries a property with every seed. SIMULATION_SEEDS tries more of them (or fewer),
/// SIMULATION_SEED one alone.
///
/// # Panics
/// As the property does, after saying how to see it again.
pub fn for_each(property: &str, share: u64, check: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..(number("SIMULATION_SEEDS").unwrap_or(SEEDS) / share).max(1),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(seed))) {
            eprintln!("\nseed {seed} fails; to see it again:");
            eprintln!("    SIMULATION_SEED={seed} cargo test --test simulation {property}\n");
            resume_unwind(panic);
        }
    }
}
