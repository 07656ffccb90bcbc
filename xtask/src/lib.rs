//! Build steps that cargo does not have.
//!
//! | command | what it does |
//! |---|---|
//! | `xtask strip-exports IN OUT --module NAME` | keeps the exports that `exports.txt` lists for NAME, removes what becomes unreachable |
//! | `xtask strip-exports IN OUT --keep a,b,c` | the same with the list given |

pub mod keep;
pub mod strip;
