//! The account: the log as it was found against all that was acknowledged.
//!
//! Owns the judgement. It must never forgive: a record that was acknowledged stands at its number, or the account fails.

use crate::record::{BYTES, Record};
use std::collections::BTreeMap;

/// What a writer said after its sync returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The record's number.
    pub number: u64,
    /// Who wrote it.
    pub node: u8,
    /// In which run of the writer.
    pub boot: u32,
    /// The writer's own count.
    pub count: u32,
}

/// What was found, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Records in the log.
    pub records: u64,
    /// Of these acknowledged.
    pub acknowledged: u64,
    /// Records of each node.
    pub by_node: BTreeMap<u8, u64>,
    /// How often the next record is another node's: the lock went round.
    pub changes: u64,
}

/// Reads a log: one chain from its first record to its last byte.
///
/// # Errors
/// A sentence: where the chain breaks.
pub fn read(log: &[u8]) -> Result<Vec<Record>, String> {
    let mut records: Vec<Record> = Vec::with_capacity(log.len() / BYTES);
    for bytes in log.chunks(BYTES) {
        let place = records.len() + 1;
        let record = Record::parse(bytes).map_err(|error| format!("record {place} of the log: {error}"))?;
        let wanted = Record::after(records.last(), record.node, record.boot, record.count);
        if record != wanted {
            return Err(format!("record {place} does not follow the one before: `{record}` and not `{wanted}`"));
        }
        records.push(record);
    }
    Ok(records)
}

/// Holds a log against what was acknowledged.
///
/// # Errors
/// A sentence: the chain breaks, a writer's count has a gap, or an acknowledged record is not where it was.
pub fn settle(log: &[u8], acknowledged: &[Acknowledged]) -> Result<Account, String> {
    let records = read(log)?;
    let mut counts: BTreeMap<(u8, u32), u32> = BTreeMap::new();
    let mut account = Account::default();
    for record in &records {
        let count = counts.entry((record.node, record.boot)).or_insert(0);
        *count += 1;
        if record.count != *count {
            return Err(format!("node {} wrote its record {} and the log has {}", record.node, *count, record.count));
        }
        *account.by_node.entry(record.node).or_insert(0) += 1;
    }
    for told in acknowledged {
        let index = usize::try_from(told.number.wrapping_sub(1)).ok();
        let found = index.and_then(|index| records.get(index));
        let is_it = |record: &Record| (record.node, record.boot, record.count) == (told.node, told.boot, told.count);
        if !found.is_some_and(is_it) {
            return Err(format!(
                "node {} was told that its record {} is safe at number {}, and there is {}",
                told.node,
                told.count,
                told.number,
                found.map_or("nothing".to_owned(), |record| format!("`{}`", record.to_string().trim_end()))
            ));
        }
    }
    let pairs = records.iter().zip(records.iter().skip(1));
    let changes = pairs.filter(|(one, next)| one.node != next.node).count();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    (account.records, account.acknowledged) = (number(records.len()), number(acknowledged.len()));
    account.changes = number(changes);
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of two nodes that take turns, and the acknowledgements.
    fn good() -> (Vec<Record>, Vec<Acknowledged>) {
        let mut records: Vec<Record> = Vec::new();
        for turn in 1..=6_u32 {
            let node = if turn % 2 == 1 { 1 } else { 2 };
            let record = Record::after(records.last(), node, 7, turn.div_ceil(2));
            records.push(record);
        }
        let told = |r: &Record| Acknowledged { number: r.number, node: r.node, boot: r.boot, count: r.count };
        let acknowledged = records.iter().map(told).collect();
        (records, acknowledged)
    }

    fn bytes(records: &[Record]) -> Vec<u8> {
        records.iter().map(Record::to_string).collect::<String>().into_bytes()
    }

    #[test]
    fn a_whole_log_settles_with_a_record_that_nobody_acknowledged_too() {
        let (records, mut told) = good();
        told.pop();
        let account = settle(&bytes(&records), &told);
        let by_node = BTreeMap::from([(1, 3), (2, 3)]);
        assert_eq!(account, Ok(Account { records: 6, acknowledged: 5, by_node, changes: 5 }));
        assert_eq!(settle(&[], &[]), Ok(Account::default()));
    }

    #[test]
    fn what_was_lost_overwritten_doubled_or_torn_is_told() {
        let (records, told) = good();
        let lost_end = &records[..5];
        let lost_middle = [&records[..2], &records[3..]].concat();
        let doubled = [&records[..3], &records[2..]].concat();
        // What two holders of one lock do: both follow the same record.
        let rival = Record::after(Some(&records[1]), 2, 7, 2);
        let overwritten = [&records[..2], &[rival]].concat();
        let gap = [Record::after(None, 1, 7, 1), Record::after(Some(&Record::after(None, 1, 7, 1)), 1, 7, 3)];
        for (log, told) in [
            (bytes(lost_end), told.as_slice()),
            (bytes(&lost_middle), &[]),
            (bytes(&doubled), &[]),
            (bytes(&overwritten), &told[2..3]),
            (bytes(&gap), &[]),
            (bytes(&records)[..bytes(&records).len() - 1].to_vec(), &[]),
            ([bytes(&records), vec![0; BYTES]].concat(), &[]),
        ] {
            assert!(settle(&log, told).is_err(), "{}", String::from_utf8_lossy(&log));
        }
    }
}
