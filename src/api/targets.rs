//! Rooms and socket ids, as users name them.

use crate::base::id::SocketId;
use crate::room::Target;

/// One or several rooms, or socket ids.
pub trait IntoTargets {
    /// Adds them to `targets`.
    #[doc(hidden)]
    fn add_to(self, targets: &mut Vec<Target>);
}

impl IntoTargets for &str {
    fn add_to(self, targets: &mut Vec<Target>) {
        targets.push(self.into());
    }
}

impl IntoTargets for &String {
    fn add_to(self, targets: &mut Vec<Target>) {
        targets.push(self.as_str().into());
    }
}

impl IntoTargets for String {
    fn add_to(self, targets: &mut Vec<Target>) {
        targets.push(self.into());
    }
}

impl IntoTargets for SocketId {
    fn add_to(self, targets: &mut Vec<Target>) {
        targets.push(self.to_string().into());
    }
}

impl<T: IntoTargets + Clone> IntoTargets for &[T] {
    fn add_to(self, targets: &mut Vec<Target>) {
        self.iter().cloned().for_each(|target| target.add_to(targets));
    }
}

impl<T: IntoTargets, const COUNT: usize> IntoTargets for [T; COUNT] {
    fn add_to(self, targets: &mut Vec<Target>) {
        self.into_iter().for_each(|target| target.add_to(targets));
    }
}

impl<T: IntoTargets> IntoTargets for Vec<T> {
    fn add_to(self, targets: &mut Vec<Target>) {
        self.into_iter().for_each(|target| target.add_to(targets));
    }
}

/// All that were named.
pub(crate) fn targets(rooms: impl IntoTargets) -> Vec<Target> {
    let mut targets = Vec::new();
    rooms.add_to(&mut targets);
    targets
}
