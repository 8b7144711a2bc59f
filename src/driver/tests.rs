//! The rules of the [`Driver`](super::Driver), each on every driver of a real kernel, on an
//! io_uring as older kernels have it, and on TLS over a driver. No test sleeps: each turns the
//! driver until what it waits for has happened, and fails at a far deadline.
//!
//! What only one driver has is tested beside it.

/// Makes tests of rules, which are functions of the [`bench::Subject`], on the drivers of a real
/// kernel and on TLS over one of each kind.
macro_rules! on_every_driver {
    ($($rules:tt)*) => {
        on_every_kernel!($($rules)*);
        #[cfg(feature = "tls")]
        ask!(tls_over_epoll: crate::tls::tests::subject::TlsOverEpoll, $($rules)*);
        #[cfg(feature = "tls")]
        ask!(tls_over_uring: crate::tls::tests::subject::TlsOverUring, $($rules)*);
    };
}

/// As [`on_every_driver`], without TLS, for rules about accepting: there it only hears what the
/// driver below has done.
macro_rules! on_every_kernel {
    ($($rules:tt)*) => {
        ask!(epoll: crate::driver::tests::bench::OnEpoll, $($rules)*);
        ask!(uring: crate::driver::tests::bench::OnUring, $($rules)*);
        ask!(uring_of_6_0: crate::driver::tests::bench::OnUringOf60, $($rules)*);
        ask!(uring_of_5_19: crate::driver::tests::bench::OnUringOf519, $($rules)*);
        ask!(uring_least: crate::driver::tests::bench::OnUringLeast, $($rules)*);
    };
}

/// Makes tests of rules on one subject.
macro_rules! ask {
    ($name:ident: $subject:path, $($(#[$attribute:meta])* $rule:ident,)*) => {
        mod $name {
            $(
                #[test]
                $(#[$attribute])*
                fn $rule() {
                    super::$rule::<$subject>();
                }
            )*
        }
    };
}

mod accept;
pub mod bench;
mod close;
mod hand_over;
mod receive;
mod sandbox;
mod send;
mod shared;
mod wakes;
