//! The rules of the [`Driver`](super::Driver), each on every driver of a real kernel, and on an
//! io_uring as older kernels have it. No test sleeps: each turns the driver until what it waits
//! for has happened, and fails at a far deadline.
//!
//! What only one driver has is tested beside it.

/// Makes tests of rules, which are functions of the [`bench::Subject`].
macro_rules! on_every_driver {
    ($($(#[$attribute:meta])* $rule:ident,)*) => {
        on_every_driver!(epoll: OnEpoll, [$($(#[$attribute])* $rule,)*]);
        on_every_driver!(uring: OnUring, [$($(#[$attribute])* $rule,)*]);
        on_every_driver!(uring_of_6_0: OnUringOf60, [$($(#[$attribute])* $rule,)*]);
        on_every_driver!(uring_of_5_19: OnUringOf519, [$($(#[$attribute])* $rule,)*]);
        on_every_driver!(uring_least: OnUringLeast, [$($(#[$attribute])* $rule,)*]);
    };
    ($name:ident: $subject:ident, [$($(#[$attribute:meta])* $rule:ident,)*]) => {
        mod $name {
            $(
                #[test]
                $(#[$attribute])*
                fn $rule() {
                    super::$rule::<crate::driver::tests::bench::$subject>();
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
