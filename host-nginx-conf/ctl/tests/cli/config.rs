//! The agent's configuration, as a test wants it.

use std::path::{Path, PathBuf};

/// What differs from test to test. The rest is such that an agent touches nothing outside the test's directory.
pub(crate) struct Config {
    pub(crate) control: String,
    pub(crate) egress: String,
    pub(crate) logs: String,
    pub(crate) policy: Option<PathBuf>,
    pub(crate) state: PathBuf,
    pub(crate) admin_socket: PathBuf,
    pub(crate) admin_group: String,
    /// Whole sections.
    pub(crate) more: String,
    /// Of the sockets that nobody listens on.
    pub(crate) directory: PathBuf,
}

impl Config {
    /// All sockets in a directory, no policy, and no AWS.
    pub(crate) fn within(directory: &Path) -> Self {
        let socket = |name: &str| format!("unix:{}", directory.join(name).display());
        Self {
            control: socket("control.sock"),
            egress: socket("egress.sock"),
            logs: socket("logs.sock"),
            policy: None,
            state: directory.join("replay"),
            admin_socket: directory.join("admin.sock"),
            // Whatever groups this machine has, the socket is for one user.
            admin_group: "no-such-group".to_owned(),
            more: String::new(),
            directory: directory.to_owned(),
        }
    }

    /// Nobody listens as the root helper, no enclave runs by `nitro-cli`, and there are no clients, servers or certificates: what a test
    /// sees is what it asked for itself.
    pub(crate) fn text(&self) -> String {
        let Self {
            control,
            egress,
            logs,
            admin_group,
            more,
            ..
        } = self;
        let policy = self.policy.iter().map(|path| format!("policy = {path:?}\n"));
        let policy: String = policy.collect();
        format!(
            "[enclave]\nimage = {:?}\nnitro_cli = \"/bin/false\"\n{policy}\
             signing = \"unix:@{}\"\ncontrol = {control:?}\negress = {egress:?}\nlogs = {logs:?}\n\n\
             [agent]\nstate = {:?}\nadmin_socket = {:?}\nadmin_group = {admin_group:?}\napply_socket = {:?}\n\
             metrics = \"none\"\nlog = \"text\"\n\n{more}",
            self.directory.join("none.eif"),
            self.directory.join("signing").display(),
            self.state,
            self.admin_socket,
            self.directory.join("apply.sock"),
        )
    }
}
