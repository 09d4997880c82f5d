//! The release program: the library on the machine's own platform.

fn main() -> std::process::ExitCode {
    enclave_tls::boot::main()
}
