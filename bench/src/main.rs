//! Load tools.
fn main() {}
