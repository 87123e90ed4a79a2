//! What the benches of Aquifer share: one round of producers, and the line that reports it.
