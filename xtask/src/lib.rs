//! Build steps that cargo does not have.
//!
//! | command | what it does |
//! |---|---|
//! | `xtask strip-exports IN OUT --module NAME` | keeps the exports that `exports.txt` lists for NAME, removes what becomes unreachable |
//! | `xtask strip-exports IN OUT --keep a,b,c` | the same with the list given |
//! | `xtask order-functions IN OUT` | puts the functions that `hot-functions.txt` names before the others |
//! | `xtask order-functions IN OUT --first FILE` | the same with the list in FILE |

pub mod keep;
pub mod names;
pub mod order;
pub mod strip;
