//! A file is read only where nobody else could have changed it.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use enclave_tls_config::Config;
use enclave_tls_config::permissions::{Owners, check};

const EXAMPLE: &str = include_str!("../config.toml");

/// A directory of its own, with a good file in it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("enclave-tls-config-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let place = Self(fs::canonicalize(path).unwrap());
        set_mode(&place.0, 0o755);
        place.write("config.toml", EXAMPLE);
        place
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o644);
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn refusal(path: &Path) -> String {
    Config::load(path).unwrap_err().to_string()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_file_of_its_owner_alone_is_read() {
    let place = Place::new("good");
    for mode in [0o600, 0o640, 0o644, 0o444] {
        set_mode(&place.path("config.toml"), mode);
        assert!(Config::load(&place.path("config.toml")).is_ok(), "{mode:o}");
    }
    assert_eq!(Config::load_as_root(&place.path("config.toml")).is_ok(), is_root());
}

#[test]
fn what_others_can_write_is_refused_with_the_command_that_mends_it() {
    let place = Place::new("modes");
    let file = place.path("config.toml");
    for (mode, shown) in [(0o664, "0664"), (0o646, "0646"), (0o620, "0620")] {
        set_mode(&file, mode);
        let expected = format!(
            "{0}: its mode is {shown}, so others than its owner could change what is read: run `chmod go-w {0}`",
            file.display()
        );
        assert_eq!(refusal(&file), expected);
    }
    set_mode(&file, 0o644);
    for (mode, shown) in [(0o775, "0775"), (0o757, "0757")] {
        set_mode(&place.0, mode);
        let expected = format!(
            "{0}: its mode is {shown}, so others than its owner could change what is read: run `chmod go-w {0}`",
            place.0.display()
        );
        assert_eq!(refusal(&file), expected);
    }
    // As /tmp: nobody takes away what is another's.
    set_mode(&place.0, 0o1777);
    assert!(Config::load(&file).is_ok());
}

#[test]
fn what_belongs_to_another_is_refused() {
    let place = Place::new("owner");
    let file = place.path("config.toml");
    if !is_root() {
        // Nothing can be given away; what is root's is read by anyone who may.
        assert!(check(Path::new("/etc/passwd"), Owners::Root).is_ok());
        return;
    }
    chown(&file, Some(12_345), None).unwrap();
    let expected = |path: &Path| {
        format!(
            "{0}: it belongs to user 12345, who could change what is read: run `chown -h root {0}`",
            path.display()
        )
    };
    assert_eq!(refusal(&file), expected(&file));
    chown(&file, Some(0), None).unwrap();
    chown(&place.0, Some(12_345), None).unwrap();
    assert_eq!(refusal(&file), expected(&place.0));
}

#[test]
fn links_are_followed_and_each_step_is_checked() {
    let place = Place::new("links");
    fs::create_dir(place.path("other")).unwrap();
    let (link, other) = (place.path("link.toml"), place.path("other"));
    let target = place.write("other/config.toml", EXAMPLE);
    symlink("other/../other/config.toml", &link).unwrap();
    assert!(Config::load(&link).is_ok());
    symlink(&other, place.path("directory")).unwrap();
    let through = place.path("directory/config.toml");
    assert!(Config::load(&through).is_ok());
    set_mode(&other, 0o777);
    let error = refusal(&link);
    assert!(
        error.starts_with(&format!("{}: its mode is 0777", other.display())),
        "{error}"
    );
    assert_eq!(refusal(&through), error);
    set_mode(&other, 0o755);
    set_mode(&target, 0o666);
    let error = refusal(&link);
    assert!(
        error.starts_with(&format!("{}: its mode is 0666", target.display())),
        "{error}"
    );
    symlink("round", place.path("round")).unwrap();
    assert_eq!(
        refusal(&place.path("round")),
        format!(
            "{}: its symbolic links do not end: remove one",
            place.path("round").display()
        )
    );
}

/// A link in a directory like /tmp is as good as whoever made it.
#[test]
fn a_link_of_another_is_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new("foreign");
    set_mode(&place.0, 0o1777);
    let link = place.path("link.toml");
    symlink("config.toml", &link).unwrap();
    rustix::fs::chownat(
        rustix::fs::CWD,
        &link,
        Some(rustix::process::Uid::from_raw(12_345)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let error = refusal(&link);
    assert!(error.contains("it belongs to user 12345"), "{error}");
}

#[test]
fn what_is_no_configuration_is_not_read() {
    let place = Place::new("kinds");
    let missing = place.path("missing.toml");
    assert_eq!(
        refusal(&missing),
        format!("{}: No such file or directory (os error 2)", missing.display())
    );
    assert_eq!(
        refusal(&place.0),
        format!("{}: this is no regular file: name one", place.0.display())
    );
    let long = place.write("long.toml", vec![b'\n'; 16_777_217]);
    assert_eq!(
        refusal(&long),
        format!(
            "{}: above 16777216 bytes, which no such file has: name another",
            long.display()
        )
    );
    let bytes = place.write("bytes.toml", b"[enclave]\nimage = \"\xff\"\n");
    assert_eq!(
        refusal(&bytes),
        format!("{}:2: this is not UTF-8: save the file as UTF-8 text", bytes.display())
    );
    let wrong = place.write("wrong.toml", "[enclave]\nimage = 1\n");
    assert_eq!(
        refusal(&wrong),
        format!(
            "{}:2: this is integer `1`: write a text in double quotes",
            wrong.display()
        )
    );
    let relative = check(Path::new("config.toml"), Owners::Root).unwrap_err();
    assert_eq!(relative.to_string(), "config.toml: write an absolute path");
}
