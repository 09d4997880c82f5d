//! With an NSM whose time a test sets, and a counter that it turns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use emulator_nsm::{Options, StandIn};
use enclave_attestation::{ChainError, Pcr, Register};

use super::*;

/// An NSM, the counter of the enclave, and both clocks.
struct Lab {
    nsm: Arc<StandIn>,
    nsm_ms: Arc<AtomicU64>,
    counter_ms: Arc<AtomicU64>,
    dir: PathBuf,
}

impl Lab {
    fn new(unix: u64) -> Self {
        static LABS: AtomicU64 = AtomicU64::new(0);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("enclave-tls-clock-{}-{number}", std::process::id()));
        let nsm_ms = Arc::new(AtomicU64::new(unix * 1_000));
        let now = Arc::clone(&nsm_ms);
        let options = Options {
            dir: dir.clone(),
            pcrs: BTreeMap::new(),
            clock: Arc::new(move || now.load(Ordering::SeqCst)),
        };
        Self {
            nsm: Arc::new(StandIn::start(options).unwrap()),
            nsm_ms,
            counter_ms: Arc::new(AtomicU64::new(77_000)),
            dir,
        }
    }

    fn clock(&self) -> NsmClock {
        self.clock_of(self.nsm.clone()).unwrap()
    }

    fn clock_of(&self, nsm: Arc<dyn Nsm>) -> Result<NsmClock, ClockError> {
        let counter = Arc::clone(&self.counter_ms);
        let counter = Box::new(move || Duration::from_millis(counter.load(Ordering::SeqCst)));
        NsmClock::anchored(nsm, Some(self.nsm.pki().root_sha256()), counter)
    }

    /// Time passes, and the enclave's counter sees this much of it.
    fn pass(&self, milliseconds: u64, counted: u64) {
        self.nsm_ms.fetch_add(milliseconds, Ordering::SeqCst);
        self.counter_ms.fetch_add(counted, Ordering::SeqCst);
    }

    fn unix(&self) -> i64 {
        i64::try_from(self.nsm_ms.load(Ordering::SeqCst)).unwrap() / 1_000
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// 2036-12-31: ten years from when this was written, and from whatever the machine of the test says.
const TEN_YEARS_OFF: u64 = 2_114_294_400;
const HOUR: u64 = 3_600_000;

/// The NSM says 2036; this machine, whose clock is the parent's in this test, says something else.
#[test]
fn threat_17_the_parents_clock_changes_nothing() {
    let lab = Lab::new(TEN_YEARS_OFF);
    let clock = lab.clock();
    assert_eq!(clock.now_unix(), 2_114_294_400);
    lab.pass(10 * HOUR, 10 * HOUR);
    assert_eq!(clock.now_unix(), 2_114_294_400 + 36_000);
    clock.anchor_again().unwrap();
    assert_eq!(clock.now_unix(), lab.unix());
}

/// The clock as a service runs it, on the real counter.
#[test]
fn threat_17_a_started_clock_is_the_nsms() {
    let lab = Lab::new(TEN_YEARS_OFF);
    let clock = NsmClock::start(lab.nsm.clone(), Some(NsmTrust::Root(lab.nsm.pki().root_sha256()))).unwrap();
    assert!((2_114_294_400..2_114_294_400 + 60).contains(&clock.now_unix()));
}

/// Nobody has to ask for it, and it ends with the clock.
#[test]
fn threat_18_a_started_clock_asks_again_by_itself() {
    let lab = Lab::new(TEN_YEARS_OFF);
    let nsm: Arc<dyn Nsm> = lab.nsm.clone();
    let held = Arc::strong_count(&lab.nsm);
    let root = Some(lab.nsm.pki().root_sha256());
    let clock = NsmClock::start_every(Duration::from_millis(2), nsm, root).unwrap();
    lab.pass(24 * HOUR, 0);
    until(|| clock.now_unix() >= lab.unix());
    drop(clock);
    until(|| Arc::strong_count(&lab.nsm) < held);
}

fn until(so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A counter that loses 6 s a week, asked each hour: never a second off. Without asking it would be six (the control).
#[test]
fn threat_18_drift_is_taken_back_each_hour() {
    let lab = Lab::new(TEN_YEARS_OFF);
    let (clock, left_alone) = (lab.clock(), lab.clock());
    for _ in 0..7 * 24 {
        lab.pass(HOUR, HOUR - 36);
        assert!((lab.unix() - clock.now_unix()).abs() <= 1);
        clock.anchor_again().unwrap();
        assert_eq!(clock.now_unix(), lab.unix());
    }
    assert!(lab.unix() - left_alone.now_unix() >= 6);
}

/// A counter that is fast: time stands still until the NSM's has caught up, and never goes back.
#[test]
fn threat_18_time_never_goes_back() {
    let lab = Lab::new(TEN_YEARS_OFF);
    let clock = lab.clock();
    lab.pass(HOUR, HOUR + 90_000);
    let ahead = clock.now_unix();
    assert_eq!(ahead, lab.unix() + 90);
    clock.anchor_again().unwrap();
    assert_eq!(clock.now_unix(), ahead);
    lab.pass(60_000, 60_000);
    assert_eq!(clock.now_unix(), ahead);
    lab.pass(60_000, 60_000);
    assert_eq!(clock.now_unix(), lab.unix());
    // A jump forward, as after a suspension that the counter slept through, is taken at once.
    lab.pass(30 * 24 * HOUR, 0);
    clock.anchor_again().unwrap();
    assert_eq!(clock.now_unix(), lab.unix());
}

/// An NSM that answers something else than what is asked of it.
struct Another {
    behind: Arc<StandIn>,
    document: Mutex<Option<Vec<u8>>>,
    error: Option<NsmError>,
}

impl Nsm for Another {
    fn attest(&self, bound: &Bound<'_>) -> Result<Vec<u8>, NsmError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match &*self.document.lock().unwrap() {
            Some(document) => Ok(document.clone()),
            None => self.behind.attest(bound),
        }
    }

    fn extend(&self, _: u8, _: &[u8]) -> Result<Pcr, NsmError> {
        Err(NsmError::Refused)
    }

    fn lock_below(&self, _: u8) -> Result<(), NsmError> {
        Err(NsmError::Refused)
    }

    fn register(&self, _: u8) -> Result<Register, NsmError> {
        Err(NsmError::Refused)
    }
}

fn another(lab: &Lab, document: Option<Vec<u8>>, error: Option<NsmError>) -> Arc<Another> {
    Arc::new(Another {
        behind: lab.nsm.clone(),
        document: Mutex::new(document),
        error,
    })
}

#[test]
fn threat_17_only_the_trusted_nsms_fresh_document_tells_the_time() {
    let (lab, strange) = (Lab::new(TEN_YEARS_OFF), Lab::new(TEN_YEARS_OFF));
    let refused = |nsm: Arc<dyn Nsm>| match lab.clock_of(nsm) {
        Ok(clock) => panic!("it says {}", clock.now_unix()),
        Err(error) => error,
    };
    assert!(matches!(
        refused(strange.nsm.clone()),
        ClockError::Document(VerifyError::Chain(ChainError::Root))
    ));
    let old = lab.nsm.attest(&Bound::default()).unwrap();
    assert!(matches!(refused(another(&lab, Some(old), None)), ClockError::Replayed));
    let mut damaged = lab.nsm.attest(&Bound::default()).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        refused(another(&lab, Some(damaged), None)),
        ClockError::Document(VerifyError::Signature)
    ));
    assert!(matches!(
        refused(another(&lab, None, Some(NsmError::Device))),
        ClockError::Nsm(NsmError::Device)
    ));
    assert!(lab.clock_of(another(&lab, None, None)).is_ok());
}

/// While the NSM does not answer, time is counted on.
#[test]
fn threat_18_a_silent_nsm_stops_no_clock() {
    let lab = Lab::new(TEN_YEARS_OFF);
    let nsm = another(&lab, None, None);
    let clock = lab.clock_of(nsm.clone()).unwrap();
    *nsm.document.lock().unwrap() = Some(vec![0xf6]);
    lab.pass(HOUR, HOUR);
    assert!(matches!(clock.anchor_again(), Err(ClockError::Document(_))));
    assert_eq!(clock.now_unix(), lab.unix());
}

/// What the emulated machine's NSM gives: no algorithm, no signature, no certificates.
fn unsigned(nonce: &[u8]) -> Vec<u8> {
    let document = Document {
        module_id: "i-234-enc5678".to_owned(),
        timestamp_ms: TEN_YEARS_OFF * 1_000,
        pcrs: (0..16).map(|index| (index, [0; 48])).collect(),
        certificate: vec![0; 64],
        cabundle: vec![vec![0; 64]],
        public_key: None,
        user_data: None,
        nonce: Some(nonce.to_vec()),
    };
    let payload = document.encode();
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [
        &[0x84, 0x43, 0xa1, 0x01, 0x20, 0xa0, 0x59][..],
        &length,
        &payload,
        &[0x58, 64],
        &[0; 64],
    ]
    .concat()
}

struct Emulated;

impl Nsm for Emulated {
    fn attest(&self, bound: &Bound<'_>) -> Result<Vec<u8>, NsmError> {
        Ok(unsigned(bound.nonce.unwrap()))
    }

    fn extend(&self, _: u8, _: &[u8]) -> Result<Pcr, NsmError> {
        Err(NsmError::Refused)
    }

    fn lock_below(&self, _: u8) -> Result<(), NsmError> {
        Err(NsmError::Refused)
    }

    fn register(&self, _: u8) -> Result<Register, NsmError> {
        Err(NsmError::Refused)
    }
}

/// Without a trusted root the time is still the NSM's; with one, an unsigned document tells nothing.
#[test]
fn an_unsigned_document_tells_the_time_only_where_no_root_is_trusted() {
    let anchored = |root| NsmClock::anchored(Arc::new(Emulated), root, Box::new(|| Duration::ZERO));
    assert_eq!(anchored(None).unwrap().now_unix(), 2_114_294_400);
    assert!(matches!(
        anchored(Some([7; 32])),
        Err(ClockError::Document(VerifyError::Header))
    ));
}
