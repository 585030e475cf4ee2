//! Three rounds of the crash test; `cargo run --bin callbook-chaos -- --rounds 50` runs more.

use std::process::Command;

#[test]
fn killed_under_load_callbook_and_its_postgresql_lose_and_double_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_callbook-chaos")).args(["--rounds", "3"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("3 rounds, and nothing was lost or doubled"), "{said}");
}
