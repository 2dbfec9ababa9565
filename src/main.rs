//! wahook
fn main() {}
