//! Slots for work that waits: see [`SlotShares`].

pub(crate) use ecr_pull_secrets_core::shares::NoSlot;
use ecr_pull_secrets_core::shares::SlotShares;
use parking_lot::Mutex;

/// Slots of which each namespace has a share.
#[derive(Debug)]
pub(crate) struct Slots(Mutex<SlotShares>);

/// A slot, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    of: &'a Slots,
    namespace: &'a str,
}

impl Slots {
    /// `most` slots, of which one namespace has `most_of_namespace`.
    pub(crate) fn new(most: usize, most_of_namespace: usize) -> Self {
        Self(Mutex::new(SlotShares::new(most, most_of_namespace)))
    }

    /// A slot for work of this namespace.
    pub(crate) fn take<'a>(&'a self, namespace: &'a str) -> Result<Slot<'a>, NoSlot> {
        self.0.lock().take(namespace)?;
        Ok(Slot {
            of: self,
            namespace,
        })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.of.0.lock().give_back(self.namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_slot_is_free_again() {
        let slots = Slots::new(1, 1);
        let slot = slots.take("team").unwrap();
        assert_eq!(slots.take("other").unwrap_err(), NoSlot::Replica);
        drop(slot);
        slots.take("other").unwrap();
    }
}
