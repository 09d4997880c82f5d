//! Functions that Cryptoki has and this module has not.

use cryptoki_sys::CK_RV;

use super::call::call;
use super::process;
use crate::token::Error;

/// A pointer to a function that says it is not supported, for every number of arguments that Cryptoki uses. The arguments are not looked
/// at.
pub(super) trait Unsupported {
    const ENTRY: Self;
}

fn answer() -> CK_RV {
    call(|| process::token().and(Err(Error::FunctionNotSupported)))
}

macro_rules! unsupported {
    ($($function:ident($($argument:ident),*);)*) => {$(
        unsafe extern "C" fn $function<$($argument),*>($(_: $argument),*) -> CK_RV {
            answer()
        }
        impl<$($argument),*> Unsupported for Option<unsafe extern "C" fn($($argument),*) -> CK_RV> {
            const ENTRY: Self = Some($function::<$($argument),*>);
        }
    )*};
}
unsupported! {
    unsupported_1(A);
    unsupported_2(A, B);
    unsupported_3(A, B, C);
    unsupported_4(A, B, C, D);
    unsupported_5(A, B, C, D, E);
    unsupported_6(A, B, C, D, E, F);
    unsupported_7(A, B, C, D, E, F, G);
    unsupported_8(A, B, C, D, E, F, G, H);
    unsupported_9(A, B, C, D, E, F, G, H, I);
}
