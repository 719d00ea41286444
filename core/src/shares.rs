//! Slots of a limited number, of which each namespace has a share: one that takes all of its share
//! leaves slots to the others.

use std::collections::HashMap;

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// The namespace has taken its share.
    Namespace,
    /// All slots are taken.
    Replica,
}

/// The slots that are taken.
#[derive(Debug)]
pub struct SlotShares {
    most: usize,
    most_of_namespace: usize,
    total: usize,
    by_namespace: HashMap<Box<str>, usize>,
}

impl SlotShares {
    /// `most` slots, of which one namespace has `most_of_namespace`.
    pub fn new(most: usize, most_of_namespace: usize) -> Self {
        Self {
            most,
            most_of_namespace,
            total: 0,
            by_namespace: HashMap::new(),
        }
    }

    /// Takes a slot for a namespace.
    ///
    /// # Errors
    ///
    /// [`NoSlot`], until a slot [is given back](Self::give_back).
    pub fn take(&mut self, namespace: &str) -> Result<(), NoSlot> {
        if self.total >= self.most {
            return Err(NoSlot::Replica);
        }
        match self.by_namespace.get_mut(namespace) {
            Some(share) if *share >= self.most_of_namespace => return Err(NoSlot::Namespace),
            Some(share) => *share += 1,
            None => {
                self.by_namespace.insert(namespace.into(), 1);
            }
        }
        self.total += 1;
        Ok(())
    }

    /// Gives back a slot that the namespace has taken.
    pub fn give_back(&mut self, namespace: &str) {
        let Some(share) = self.by_namespace.get_mut(namespace) else {
            return;
        };
        *share -= 1;
        self.total -= 1;
        if *share == 0 {
            self.by_namespace.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_leaves_slots_to_others() {
        let mut slots = SlotShares::new(3, 2);
        assert_eq!(slots.take("flooding"), Ok(()));
        assert_eq!(slots.take("flooding"), Ok(()));
        assert_eq!(slots.take("flooding"), Err(NoSlot::Namespace));
        assert_eq!(slots.take("other"), Ok(()));
        slots.give_back("flooding");
        assert_eq!(slots.take("flooding"), Ok(()));
    }

    #[test]
    fn slots_of_all_namespaces_are_limited() {
        let mut slots = SlotShares::new(3, 2);
        for namespace in ["one", "two", "three"] {
            assert_eq!(slots.take(namespace), Ok(()));
        }
        assert_eq!(slots.take("late"), Err(NoSlot::Replica));
        slots.give_back("two");
        slots.give_back("unknown");
        assert_eq!(slots.by_namespace.len(), 2);
        assert_eq!(slots.take("late"), Ok(()));
        assert_eq!(slots.take("two"), Err(NoSlot::Replica));
    }
}
