//! Taking over the keys of a WhatsApp session.

use super::{Bus, Error, key_log::KeyLog, key_reading::Replayed};
use crate::{
    model::{KeyTables, SessionId},
    wire::{self, subject},
};

/// How often others may be faster before this node gives up.
const TRIES_MAX: usize = 8;

impl Bus {
    /// Makes this node the owner of a session's keys, and gives them. From then on no earlier owner
    /// can change them, and nothing that one has changed is missing. `epoch` is that of the
    /// session's lease, `known` the number of the last record that the session is known to have.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when an owner of a later epoch was there, [`Error::KeysRolledBack`]
    /// when the log ends before `known`, [`Error::SessionKeys`] when it cannot be read.
    pub async fn take_over_keys(
        &self,
        session: SessionId,
        epoch: u64,
        known: u64,
    ) -> Result<(KeyLog, KeyTables), Error> {
        let log = subject::session_keys(session);
        let mut records = self.key_records(&log).await?;
        for _ in 0..TRIES_MAX {
            let replayed = self.replay_keys(session, &records).await?;
            if replayed.epoch > epoch {
                return Err(Error::TakenOver);
            }
            if replayed.number < known {
                let found = replayed.number;
                return Err(Error::KeysRolledBack { found, known });
            }
            let mut owned = KeyLog::new(self, session, epoch, &replayed);
            match owned.begin().await {
                Ok(()) => return Ok((owned, replayed.tables)),
                // Somebody has written since it was read.
                Err(Error::TakenOver) => self.further_key_records(&log, &mut records).await?,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended)
    }

    /// Erases a session's keys, also those that cannot be read.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when an owner of a later epoch was there.
    pub async fn erase_keys(&self, session: SessionId, epoch: u64) -> Result<(), Error> {
        let log = subject::session_keys(session);
        for _ in 0..TRIES_MAX {
            let Some(last) = self.last_key_record(&log).await? else {
                return Ok(());
            };
            let record = wire::decode_key_record(&last.payload, &log, self.keyring()?).ok();
            let (last_epoch, number) =
                record.map_or((0, 0), |(record, _)| (record.epoch, record.number));
            if last_epoch > epoch {
                return Err(Error::TakenOver);
            }
            let end = Replayed {
                sequence: last.sequence,
                number,
                ..Replayed::default()
            };
            match KeyLog::new(self, session, epoch, &end).erase().await {
                Err(Error::TakenOver) => {}
                erased => return erased,
            }
        }
        Err(Error::Contended)
    }

    /// The keys of a session as they are now, without taking it over.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn read_keys(&self, session: SessionId) -> Result<KeyTables, Error> {
        let records = self.key_records(&subject::session_keys(session)).await?;
        Ok(self.replay_keys(session, &records).await?.tables)
    }
}
