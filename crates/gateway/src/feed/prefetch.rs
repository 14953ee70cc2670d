use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::Feed;
use super::page::Page;
use chainflume_api::access::Room;
use chainflume_db::StoreError;

/// A page that is read while the client gets the one before it.
pub struct PrefetchedPage {
    /// The place after which it is read.
    after: Page,
    rooms: Vec<Room>,
    read: AbortOnDropHandle<Result<Page, StoreError>>,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// Begins to read what follows `page`. `None` where that is in memory, where other clients wait for the database, or where enough
    /// pages wait: a storm of clients that come back gains nothing from it, and each would keep one more page in memory.
    pub fn prefetch(&self, page: &Page, rooms: &[Room]) -> Option<PrefetchedPage> {
        if !self.is_cold(page) || self.readers.available_permits() == 0 {
            return None;
        }
        let place = self.prefetches.clone().try_acquire_owned().ok()?;
        let (after, rooms, feed) = (page.place(), rooms.to_vec(), self.clone());
        let (from, wanted) = (page.place(), rooms.clone());
        let read = tokio::spawn(async move { feed.after(&from, &wanted).await });
        Some(PrefetchedPage { after, rooms, read: AbortOnDropHandle::new(read), _place: place })
    }
}

impl PrefetchedPage {
    /// What follows `page` in these rooms, if this is what is read here.
    pub async fn page(self, page: &Page, rooms: &[Room]) -> Option<Result<Page, StoreError>> {
        if self.after.next != page.next || self.after.order() != page.order() || self.rooms != rooms {
            return None;
        }
        // A read that panicked is read again, where the panic is seen.
        self.read.await.ok()
    }
}
