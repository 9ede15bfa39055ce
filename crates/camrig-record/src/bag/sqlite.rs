//! Bags in `SQLite`: the tables `topics` and `messages` of rosbag2.
//!
//! A file is not trusted: both must be tables, since a view could run endlessly; a value is at most as large as a frameset, and
//! messages are read one by one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use camrig::frame::MAX_FRAMESET_BYTES;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::message::BagMessage;
use crate::read::ReadError;
use crate::ros;

/// Maximum number of topics that are read.
const MAX_TOPICS: usize = 4096;

/// Upper bound for the part of a message beside its pixels, in bytes.
const MESSAGE_BYTES: usize = 1 << 20;

/// An open bag.
pub(crate) struct SqliteBag {
    connection: Connection,
    topics: Vec<Topic>,
    /// The index of each topic, by its number in the file.
    numbers: BTreeMap<i64, u16>,
    range: Range<u64>,
    size_bytes: u64,
    /// Number of steps that `SQLite` took for messages.
    #[cfg(test)]
    steps: std::sync::atomic::AtomicU64,
}

struct Topic {
    name: String,
    /// Empty for messages that are not of ROS 2.
    message_type: String,
    messages: u64,
}

impl SqliteBag {
    /// Opens a bag and counts its messages.
    ///
    /// # Errors
    /// If it does not have the tables of a bag, or is damaged there.
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let fail = |error: rusqlite::Error| {
            ReadError::new(path, format_args!("cannot be read as a bag of ROS 2 in SQLite: {error}"))
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        let limit = i32::try_from(MAX_FRAMESET_BYTES + MESSAGE_BYTES).unwrap_or(i32::MAX);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit).map_err(fail)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(fail)?;
        for table in ["topics", "messages"] {
            if !is_plain_table(&connection, table).map_err(fail)? {
                let what = format!("is an SQLite file without the table `{table}` of bags of ROS 2");
                return Err(ReadError::new(path, what));
            }
        }
        let size_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let (topics, numbers) = topics(&connection).map_err(fail)?;
        let mut bag = Self {
            connection,
            topics,
            numbers,
            range: 0..0,
            size_bytes,
            #[cfg(test)]
            steps: 0.into(),
        };
        bag.count().map_err(fail)?;
        Ok(bag)
    }

    /// Counts the messages of each topic, and finds their times. The data of messages are not read.
    fn count(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare("SELECT topic_id, timestamp FROM messages")?;
        let mut rows = statement.query([])?;
        let (mut start, mut end) = (u64::MAX, 0);
        while let Some(row) = rows.next()? {
            let (id, nanos): (i64, i64) = (row.get(0)?, row.get(1)?);
            let nanos = u64::try_from(nanos).unwrap_or(0);
            (start, end) = (start.min(nanos), end.max(nanos));
            let topic = self.numbers.get(&id).and_then(|&index| self.topics.get_mut(usize::from(index)));
            if let Some(topic) = topic {
                topic.messages += 1;
            }
        }
        self.range = start.min(end)..end;
        Ok(())
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Returns the number, the name, the type and the number of messages of each topic.
    pub(super) fn topics(&self) -> impl Iterator<Item = (u16, String, String, u64)> {
        let numbered = (0..).zip(&self.topics);
        numbered.map(|(id, topic)| (id, topic.name.clone(), topic.message_type.clone(), topic.messages))
    }

    /// Adds the steps of a statement, which is used again.
    #[cfg(test)]
    fn note_steps(&self, statement: &rusqlite::Statement<'_>) {
        let steps = statement.reset_status(rusqlite::StatementStatus::VmStep);
        self.steps.fetch_add(u64::try_from(steps).unwrap(), std::sync::atomic::Ordering::Relaxed);
    }

    /// Returns the first message after a row, with its row; `None` at the end.
    ///
    /// # Errors
    /// A description of the damage.
    pub(super) fn after(&self, row: Option<i64>) -> Result<Option<(i64, BagMessage)>, String> {
        let sql =
            "SELECT rowid, topic_id, timestamp, data FROM messages WHERE rowid >= ?1 ORDER BY rowid LIMIT 1";
        let Some(from) = row.map_or(Some(i64::MIN), |row| row.checked_add(1)) else { return Ok(None) };
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Vec<u8>>(3)?,
                ))
            };
            let found = statement.query_row([from], row).optional();
            #[cfg(test)]
            self.note_steps(&statement);
            found
        };
        let place = || row.map_or("at its first message".to_owned(), |row| format!("after message {row}"));
        let found = read().map_err(|error| format!("{}: {error}", place()))?;
        let Some((row, id, nanos, data)) = found else { return Ok(None) };
        if row < from {
            return Err(format!("{}: its rows are not in order", place()));
        }
        // A topic that the file does not list does not belong to a camera.
        let topic = self.numbers.get(&id).copied().unwrap_or(u16::MAX);
        let log_time = u64::try_from(nanos).unwrap_or(0);
        Ok(Some((row, BagMessage { topic, log_time, data: Bytes::from(data) })))
    }
}

/// Returns whether a name is that of a table whose columns are all stored, and whose rows are found by their number: a
/// column of this name would have to be searched for each message.
fn is_plain_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let kind = "SELECT count(*) FROM sqlite_schema WHERE name = ?1 AND type = 'table' \
                AND upper(sql) NOT LIKE 'CREATE VIRTUAL%'";
    let tables: i64 = connection.query_row(kind, [name], |row| row.get(0))?;
    let computed = "SELECT count(*) FROM pragma_table_xinfo(?1) WHERE hidden <> 0 OR lower(name) = 'rowid'";
    let computed: i64 = connection.query_row(computed, [name], |row| row.get(0))?;
    Ok(tables == 1 && computed == 0)
}

/// Reads the topics.
fn topics(connection: &Connection) -> rusqlite::Result<(Vec<Topic>, BTreeMap<i64, u16>)> {
    let mut statement = connection.prepare("SELECT id, name, type, serialization_format FROM topics")?;
    let mut rows = statement.query([])?;
    let (mut topics, mut numbers) = (Vec::new(), BTreeMap::new());
    while let Some(row) = rows.next()?.filter(|_| topics.len() < MAX_TOPICS) {
        let (name, message_type, format): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let message_type = if format == ros::ENCODING { message_type } else { String::new() };
        numbers.insert(row.get(0)?, topics.len() as u16);
        topics.push(Topic { name, message_type, messages: 0 });
    }
    Ok((topics, numbers))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::bag::{Bag, BagMessages};
    use crate::record::testing::TestFolder;

    const TABLES: &str = "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, \
                          serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);";
    const MESSAGES: &str = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp \
                            INTEGER NOT NULL, data BLOB NOT NULL);";

    fn file(folder: &TestFolder, sql: &str) -> PathBuf {
        let path = folder.path().join("bag.db3");
        let _ = std::fs::remove_file(&path);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    }

    fn problem(path: &Path) -> String {
        let error = Bag::open(path, &|_| {}).err().unwrap().to_string();
        error.strip_prefix(&format!("`{}` ", path.display())).unwrap().to_owned()
    }

    #[test]
    fn messages_come_in_the_order_of_their_rows() {
        let folder = TestFolder::new("sqlite");
        let rows = "INSERT INTO topics VALUES (7, '/a', 'std_msgs/msg/String', 'cdr', ''), (9, '/b', 'x', 'json', '');\
                    INSERT INTO messages VALUES (3, 9, 50, x'02'), (-4, 7, 60, x'01'), (9, 8, -1, x'');";
        let bag = Bag::open(&file(&folder, &format!("{TABLES}{MESSAGES}{rows}")), &|_| {}).unwrap();
        let topics = SqliteBag::open(&folder.path().join("bag.db3")).unwrap();
        let topics: Vec<_> = topics.topics().collect();
        let topic = |id, name: &str, of: &str| (id, name.to_owned(), of.to_owned(), 1);
        assert_eq!(topics, [topic(0, "/a", "std_msgs/msg/String"), topic(1, "/b", "")]);
        assert_eq!(bag.range(), 0..60);
        let mut messages = BagMessages::default();
        let found: Vec<_> = std::iter::from_fn(|| messages.next(&bag))
            .map(|message| message.map(|it| (it.topic, it.log_time, it.data.to_vec())).unwrap())
            .collect();
        assert_eq!(found, [(0, 60, vec![1]), (1, 50, vec![2]), (u16::MAX, 0, vec![])]);
    }

    #[test]
    fn each_message_takes_as_many_steps_however_many_there_are() {
        let folder = TestFolder::new("sqlite-steps");
        let steps = |messages: u64| {
            let insert = |row: u64| format!("INSERT INTO messages VALUES ({row}, 1, {row}, x'00');");
            let rows = (0..messages).map(insert).collect::<Vec<_>>().concat();
            let path = file(&folder, &format!("{TABLES}{MESSAGES}BEGIN;{rows}COMMIT;"));
            let bag = SqliteBag::open(&path).unwrap();
            let (mut row, mut found) = (None, 0);
            while let Some((next, _)) = bag.after(row).unwrap() {
                (row, found) = (Some(next), found + 1);
            }
            assert_eq!(found, messages);
            bag.steps.load(std::sync::atomic::Ordering::Relaxed)
        };
        let (few, many) = (steps(100), steps(2000));
        assert!(few >= 100 && many <= 20 * few + few, "{few} steps for 100 messages, {many} for 2000");
    }

    #[test]
    fn other_files_are_refused_and_nothing_is_computed() {
        let folder = TestFolder::new("sqlite-hostile");
        let lacks = |table: &str| format!("is an SQLite file without the table `{table}` of bags of ROS 2");
        assert_eq!(problem(&file(&folder, MESSAGES)), lacks("topics"));
        let endless = "CREATE VIEW messages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                       SELECT i AS id, 1 AS topic_id, i AS timestamp, x'00' AS data FROM n;";
        assert_eq!(problem(&file(&folder, &format!("{TABLES}{endless}"))), lacks("messages"));
        let computed = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, \
                        data BLOB AS (zeroblob(1000000000)));";
        assert_eq!(problem(&file(&folder, &format!("{TABLES}{computed}"))), lacks("messages"));
        let searched = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB, \
                        RowId INTEGER);";
        assert_eq!(problem(&file(&folder, &format!("{TABLES}{searched}"))), lacks("messages"));
        // Values of other types, and columns that are missing.
        let texts = format!("{TABLES}{MESSAGES}INSERT INTO messages VALUES (1, 'x', 'y', 'z');");
        assert!(problem(&file(&folder, &texts)).starts_with("cannot be read as a bag of ROS 2 in SQLite: "));
        let other = format!("{TABLES}CREATE TABLE messages(id INTEGER PRIMARY KEY);");
        assert!(problem(&file(&folder, &other)).starts_with("cannot be read as a bag of ROS 2 in SQLite: "));
    }

    #[test]
    fn damage_ends_the_messages_with_an_error() {
        let folder = TestFolder::new("sqlite-damage");
        let row = |row: u32| format!("INSERT INTO messages VALUES ({row}, 7, {row}, zeroblob(9000));");
        let rows = (0..200).map(row).collect::<Vec<_>>().concat();
        let path = file(&folder, &format!("{TABLES}{MESSAGES}BEGIN;{rows}COMMIT;"));
        let whole = std::fs::read(&path).unwrap();
        for at in (100..whole.len()).step_by(whole.len() / 97) {
            let mut bytes = whole.clone();
            let end = (at + 64).min(bytes.len());
            bytes[at..end].fill(0xff);
            std::fs::write(&path, &bytes).unwrap();
            let Ok(bag) = Bag::open(&path, &|_| {}) else { continue };
            let mut messages = BagMessages::default();
            let found = std::iter::from_fn(|| messages.next(&bag)).take(1000).count();
            assert!(found <= 201, "{found} messages with damage at byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        if let Ok(bag) = Bag::open(&path, &|_| {}) {
            let mut messages = BagMessages::default();
            assert!(std::iter::from_fn(|| messages.next(&bag)).any(|message| message.is_err()));
        }
    }
}
