//! Runs the real `signbench` on subjects that need no service.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect, its helpers too"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

#[test]
fn subjects_are_measured_in_turns_and_one_that_cannot_run_says_why() {
    let directory = Directory::new();
    let key = directory.file("p256.pem");
    e2e::lab::program::new_p256(&key).unwrap();
    let report = directory.run(&json!({
        "core": 0, "slice_ms": 20, "rounds": 3, "references": ["raw"], "count_client": true,
        "subjects": [
            { "name": "raw", "work": { "kind": "raw", "key": key, "mechanism": "ecdsa" } },
            { "name": "socket", "threads": 2, "work": { "kind": "socket", "request": 81, "reply": 111 } },
            { "name": "two", "processes": 2, "work": { "kind": "raw", "key": key, "mechanism": "ecdsa" } },
            { "name": "absent", "processes": 2, "work": {
                "kind": "pkcs11", "signer": directory.signer(), "module": "/nonexistent.so", "token": "t", "label": "l", "mechanism": "ecdsa",
            } },
        ],
    }));
    let [raw, socket, two, absent] = report["subjects"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    for figure in ["p50", "p99", "rate", "cpu", "cpu.client"] {
        assert!(median(&raw["figures"][figure]) > 0.0, "{figure}: {report}");
        assert!(median(&socket["ratios"]["raw"][figure]) > 0.0, "{figure}: {report}");
        assert!(median(&two["ratios"]["raw"][figure]) > 0.0, "{figure}: {report}");
    }
    // The other end of the socket is a process of its own, and its CPU counts.
    assert!(median(&socket["figures"]["cpu.service"]) > 0.0, "{report}");
    assert!(
        raw["figures"]["cpu.service"].is_null() && raw["error"].is_null(),
        "{report}"
    );
    assert!(
        absent["error"] == "PKCS#11: the module cannot be loaded: 0x0"
            && absent["figures"].as_object().unwrap().is_empty(),
        "{report}"
    );
    assert_eq!(
        (&report["rounds"], report["load"].as_array().unwrap().len()),
        (&json!(3), 2)
    );
}

#[test]
fn the_processor_time_of_all_threads_of_a_module_is_counted() {
    let directory = Directory::new();
    let work = json!({
        "kind": "pkcs11", "signer": directory.signer(), "module": directory.burner(), "token": "t", "label": "l", "mechanism": "ecdsa",
    });
    let report = directory.run(&json!({
        "core": null, "slice_ms": 60, "rounds": 3, "references": [], "count_client": true,
        "subjects": [{ "name": "four threads", "threads": 4, "work": work }],
    }));
    let subject = &report["subjects"][0];
    assert!(subject["error"].is_null(), "{report}");
    // A signature burns 200 µs.
    assert!(median(&subject["figures"]["cpu.client"]) > 150.0, "{report}");
}

#[test]
fn a_plan_with_an_unknown_word_is_refused() {
    let directory = Directory::new();
    let plan = json!({ "core": 0, "slice_ms": 20, "rounds": 1, "references": [], "count_client": true, "subjects": [], "x": 1 });
    let output = directory.signbench(&plan).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown field `x`"));
}

fn median(spread: &Value) -> f64 {
    spread["median"].as_f64().unwrap_or(f64::NAN)
}

/// Removed with all that is in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let path = std::env::temp_dir().join(format!("signbench-{}-{thread}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What signs through modules, built.
    fn signer(&self) -> PathBuf {
        let signer = self.file("signer");
        let mut compile = Command::new("gcc");
        compile.args([
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "src/signbench/signer.c",
            "-ldl",
            "-o",
        ]);
        assert!(compile.arg(&signer).status().unwrap().success());
        signer
    }

    /// A module whose signatures are 200 µs of processor time, built.
    fn burner(&self) -> PathBuf {
        let (source, module) = (self.file("burner.c"), self.file("burner.so"));
        fs::write(&source, BURNER).unwrap();
        let mut compile = Command::new("gcc");
        compile.args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Ifunctional/c"]);
        assert!(compile.arg(&source).arg("-o").arg(&module).status().unwrap().success());
        module
    }

    fn signbench(&self, plan: &Value) -> Command {
        let file = self.file("plan.json");
        fs::write(&file, plan.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_signbench"));
        command.arg("run").arg(file);
        command
    }

    fn run(&self, plan: &Value) -> Value {
        let output = self.signbench(plan).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const BURNER: &str = r#"
#include <string.h>
#include <time.h>
#include "cryptoki.h"

static CK_RV initialize(void *arguments) { (void)arguments; return 0; }
static CK_RV slots(unsigned char present, CK_ULONG *slots, CK_ULONG *count) {
    (void)present;
    *slots = 0;
    *count = 1;
    return 0;
}
static CK_RV token(CK_ULONG slot, struct token_info *info) {
    (void)slot;
    memset(info, ' ', sizeof info->label);
    info->label[0] = 't';
    return 0;
}
static CK_RV open_session(CK_ULONG slot, CK_ULONG flags, void *application, void *notify, CK_ULONG *session) {
    (void)flags, (void)application, (void)notify;
    *session = slot;
    return 0;
}
static CK_RV find_init(CK_ULONG session, struct attribute *wanted, CK_ULONG count) {
    (void)session, (void)wanted, (void)count;
    return 0;
}
static CK_RV find(CK_ULONG session, CK_ULONG *objects, CK_ULONG most, CK_ULONG *count) {
    (void)most;
    *objects = session;
    *count = 1;
    return 0;
}
static CK_RV end(CK_ULONG session) { (void)session; return 0; }
static CK_RV end_all(void *reserved) { (void)reserved; return 0; }
static CK_RV sign_init(CK_ULONG session, struct mechanism *mechanism, CK_ULONG key) {
    (void)session, (void)mechanism, (void)key;
    return 0;
}
static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}
static CK_RV sign(CK_ULONG session, unsigned char *data, CK_ULONG length, unsigned char *signature, CK_ULONG *size) {
    (void)session, (void)data, (void)length, (void)signature, (void)size;
    for (long begin = now(); now() - begin < 200000;) {}
    return 0;
}
static struct function_list list = {
    .C_Initialize = initialize, .C_GetSlotList = slots, .C_GetTokenInfo = token, .C_OpenSession = open_session,
    .C_FindObjectsInit = find_init, .C_FindObjects = find, .C_FindObjectsFinal = end, .C_SignInit = sign_init, .C_Sign = sign,
    .C_Finalize = end_all,
};
CK_RV C_GetFunctionList(struct function_list **out) { *out = &list; return 0; }
"#;
