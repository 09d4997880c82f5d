//! The one program of the image. As PID 1 it is [`enclave_init::run`]; as its child, the service.

use std::process::ExitCode;

use enclave_init::Machine;

fn main() -> ExitCode {
    // Neither arguments nor environment say which: whoever writes the kernel's command line would write these too.
    if std::process::id() == 1 {
        enclave_init::run(&Machine::enclave())
    } else {
        enclave_init::service()
    }
}
