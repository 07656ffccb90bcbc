//! The movable wall clock of an Envoy process (`tests/clock/clock.c`).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_scenario::time::Instant;

/// Compiles the shim with the C compiler of the machine.
///
/// # Errors
/// There is no `cc`, or it fails.
pub(crate) fn build(source: &Path, into: &Path) -> io::Result<PathBuf> {
    let library = into.join("clock.so");
    let output = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .output()?;
    if output.status.success() {
        return Ok(library);
    }
    Err(io::Error::other(format!(
        "cc {}: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// The file that a process with the shim reads its clock from.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(crate) path: PathBuf,
    file: File,
}

impl Clock {
    /// A clock that shows the real time.
    pub(crate) fn new(path: PathBuf) -> io::Result<Self> {
        fs::write(&path, [0; 16])?;
        let file = File::options().write(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Sets it; with `frozen` it stands still there.
    pub(crate) fn set(&self, now: Instant, frozen: bool) -> io::Result<()> {
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let offset = now.0 - i64::try_from(real).unwrap_or(0);
        let (offset, frozen) = if frozen { (0, now.0) } else { (offset, 0) };
        self.file.write_all_at(&frozen.to_ne_bytes(), 8)?;
        self.file.write_all_at(&offset.to_ne_bytes(), 0)
    }
}
