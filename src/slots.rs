//! Slots of reviews that wait. Each namespace has a share of them, so that one whose registries AWS
//! does not serve leaves room for the others.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Reviews that wait at the same time. Fewer than connections, because one that waits for AWS
/// waits for 2 s.
const MAX_WAITING: usize = 384;
/// Reviews of one namespace that wait at the same time.
const MAX_OF_NAMESPACE: usize = MAX_WAITING / 4;

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// The namespace has taken its share.
    Namespace,
    /// All slots are taken.
    Replica,
}

/// The slots of a replica.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<TakenSlots>);

#[derive(Debug, Default)]
struct TakenSlots {
    total: usize,
    by_namespace: HashMap<Box<str>, usize>,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    of: &'a Slots,
    namespace: &'a str,
}

impl Slots {
    /// A slot for a review of this namespace.
    pub(super) fn take<'a>(&'a self, namespace: &'a str) -> Result<Slot<'a>, NoSlot> {
        let mut taken = self.0.lock();
        if taken.total == MAX_WAITING {
            return Err(NoSlot::Replica);
        }
        match taken.by_namespace.get_mut(namespace) {
            Some(share) if *share == MAX_OF_NAMESPACE => return Err(NoSlot::Namespace),
            Some(share) => *share += 1,
            None => {
                taken.by_namespace.insert(namespace.into(), 1);
            }
        }
        taken.total += 1;
        Ok(Slot {
            of: self,
            namespace,
        })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut taken = self.of.0.lock();
        taken.total -= 1;
        if let Some(share) = taken.by_namespace.get_mut(self.namespace) {
            *share -= 1;
            if *share == 0 {
                taken.by_namespace.remove(self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_leaves_slots_to_others() {
        let slots = Slots::default();
        let mut share: Vec<_> = (0..MAX_OF_NAMESPACE)
            .map(|_| slots.take("flooding").unwrap())
            .collect();
        assert_eq!(slots.take("flooding").unwrap_err(), NoSlot::Namespace);
        slots.take("other").unwrap();
        share.pop();
        slots.take("flooding").unwrap();
    }

    #[test]
    fn slots_of_all_namespaces_are_limited() {
        let slots = Slots::default();
        let names: Vec<String> = (0..MAX_WAITING).map(|number| number.to_string()).collect();
        let all: Vec<_> = names.iter().map(|name| slots.take(name).unwrap()).collect();
        assert_eq!(slots.take("late").unwrap_err(), NoSlot::Replica);
        drop(all);
        assert!(slots.0.lock().by_namespace.is_empty());
        slots.take("late").unwrap();
    }
}
