//! Files as targets: logs, core dumps, everything under `/dev/shm`.

use std::fs;
use std::path::Path;

use super::{Region, Snapshot};

/// One snapshot for a file, one for each regular file under a directory. Symbolic links in a directory are not followed.
pub(super) fn snapshots(path: &Path) -> Vec<Snapshot> {
    if !path.is_dir() {
        return vec![snapshot(path)];
    }
    let entries = match fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => return vec![Snapshot::failed(path.display().to_string(), None, error)],
    };
    let mut found = Vec::new();
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(snapshots(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(snapshot(&entry.path())),
            // Links, sockets, pipes and devices hold nothing themselves.
            Ok(_) => {}
            Err(error) => found.push(Snapshot::failed(entry.path().display().to_string(), None, error)),
        }
    }
    found
}

fn snapshot(path: &Path) -> Snapshot {
    let name = path.display().to_string();
    match fs::read(path) {
        Err(error) => Snapshot::failed(name, None, error),
        Ok(bytes) => Snapshot {
            name,
            pid: None,
            regions: vec![Region { start: 0, bytes }],
            parts: Vec::new(),
            unreadable: Vec::new(),
            error: None,
        },
    }
}
