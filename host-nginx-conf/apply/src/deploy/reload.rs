//! The reload of servers that passed their test.

use std::fmt;

use enclave_tls_apply::{Outcome, Step, bounded};

use crate::deploy::Deploying;
use crate::deploy::reloaded::{Reloaded, Told};
use crate::deploy::trial::{Tested, Verdict};
use crate::disk::DiskError;
use crate::servers::{self, Master, MasterError};

impl Deploying<'_> {
    /// Brings a server into line with what is live, and says what became of it.
    pub(super) fn reload(&self, tested: Tested<'_>, reloaded: &mut Reloaded) -> Outcome {
        let failed = |step, message: &str| Outcome::Failed {
            step,
            message: bounded(message).to_owned(),
        };
        match &tested.verdict {
            Verdict::Unchanged => Outcome::Unchanged {},
            Verdict::Undone => Outcome::Undone {},
            Verdict::Refused(message) => failed(Step::Test, message),
            Verdict::NotTested => failed(Step::Test, NOT_TESTED),
            Verdict::Passed => self
                .tell(&tested, reloaded)
                .unwrap_or_else(|error| failed(Step::Reload, &error.to_string())),
        }
    }

    fn tell(&self, tested: &Tested<'_>, reloaded: &mut Reloaded) -> Result<Outcome, ReloadError> {
        let Some(master) = Master::find(tested.server)? else {
            reloaded.set(self.records, tested.name, None)?;
            return Ok(Outcome::NotRunning {});
        };
        // Before the signal: who comes after it has read what is live.
        let older = servers::children(master.pid());
        master.reload(tested.server.kind)?;
        let told = Told {
            served: tested.serves.clone(),
            older,
        };
        reloaded.set(self.records, tested.name, Some(told))?;
        Ok(Outcome::Reloaded { pid: master.pid() })
    }
}

/// Why a server does not count as reloaded. The generations are live, and the next deployment tells it again.
enum ReloadError {
    Master(MasterError),
    Record(DiskError),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(error) => error.fmt(f),
            Self::Record(error) => write!(
                f,
                "what it was reloaded with is not written down, so it will be reloaded once more: {error}"
            ),
        }
    }
}

impl From<MasterError> for ReloadError {
    fn from(error: MasterError) -> Self {
        Self::Master(error)
    }
}

impl From<DiskError> for ReloadError {
    fn from(error: DiskError) -> Self {
        Self::Record(error)
    }
}

const NOT_TESTED: &str = "not tested: the tests of other servers took all the time; run theirs by hand and see what they wait for. The next deployment tests it";
