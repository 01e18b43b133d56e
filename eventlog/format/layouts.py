"""Every layout that lives on disk or in shared memory, in one place. None of these values may ever change.

Record batch: Kafka's header (record batch v2, KIP-98), big-endian, then one byte that names the columns::

    0   base offset            i64        21  attributes             i16
    8   batch length           i32        23  last offset delta      i32
    12  partition leader epoch i32        27  base timestamp         i64
    16  magic                  i8         35  max timestamp          i64
    17  CRC-32C                u32        43  producer id            i64
                                          51  producer epoch         i16
                                          53  base sequence          i32
                                          57  record count           i32
                                          61  columns                u8
                                          62  format version         u8: 2, or 0 for version 1
                                          63  zero                   u8

The batch length counts from byte 12 on. The CRC covers everything from byte 21 on, and in version 2 then bytes 0 to 16,
after a XOR with the CRC of the partition's name (``batch_home.py``): so a batch is summed before anyone knows its base
offset, and stamping it goes on over these 17 bytes. In version 1 they were outside. The body after byte 64 is
little-endian; see ``record_batch.py``.

Head, one page per partition: 64-bit words in the machine's own byte order (it is never moved between machines)::

    0 magic    1 session      2 log end offset    3 log start offset
    4 durable  5 writer       6 sleeping at       7 identity
    8 prepared end   9 transaction   10 journal's end when prepared   11 end of the last transaction
    16..23 and 24..31  two end slots, of which the one whose first word equals word 2 is in force
    12 life    13 life in which a sync failed    14 journal's life    15 durable, in lives of odd number
    32..40             recovery point: an end slot of what is on the device, then its CRC-32C
    41..43             its log end offset again, the journal's end when it was noted, the CRC-32C of both
    44..55             the same as 32..43, in lives of odd number
    64..511            syncs under way, two words for each process that has a slot

Control, one page per log: 0 magic, 1 session, 2 metadata version.
"""

from __future__ import annotations

import struct

import numpy as np

# --- record batch -----------------------------------------------------------------------------------------------

START = struct.Struct(">qiib")  # what the CRC covers last, from version 2 on
CRC = struct.Struct(">I")
TRAILER = struct.Struct(">hiqqqhiiBBx")  # what it covers first
HEADER = struct.Struct(">qiibIhiqqqhiiBBx")
HEADER_BYTES = 64
CRC_POSITION = 17
CRC_START = 21
LENGTH_START = 12  # the batch length does not count the base offset and itself
assert START.size == CRC_POSITION == CRC_START - CRC.size
assert HEADER.size == CRC_START + TRAILER.size == HEADER_BYTES

MAGIC = 0x63  # "c": columnar. Kafka uses 0, 1 and 2; 2 stays reserved for Kafka's own record encoding
MAGIC_POSITION = 16
VERSION_1, VERSION_2 = 0, 2  # of a batch; version 1 had zeros there
VERSION_POSITION = 62
ALIGNMENT = 8  # batches and columns start on it, so that every column is an aligned array where it lies

ATTRIBUTE_CODEC = 0x07
ATTRIBUTE_LOG_APPEND_TIME = 0x08
ATTRIBUTE_TRANSACTIONAL = 0x10

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1

COLUMN_TIMESTAMPS = 0x01  # i64[n]; absent when all equal the base timestamp
COLUMN_OFFSET_DELTAS = 0x02  # i32[n]; absent when they are 0..n-1
COLUMN_KEYS = 0x04  # absent when all keys are null
COLUMN_KEY_VALIDITY = 0x08  # absent when no key is null
COLUMN_VALUES = 0x10  # absent when all values are null
COLUMN_VALUE_VALIDITY = 0x20  # absent when no value is null
COLUMN_HEADERS = 0x40  # absent when no record has headers
KNOWN_COLUMNS = 0x7F
COUNTED_COLUMNS = 0x57  # those with bytes for each record

OFFSETS = np.dtype("<i4")
TIMESTAMPS = np.dtype("<i8")
COMPRESSED_SIZES = struct.Struct("<II")  # leads a compressed body: uncompressed size, compressed size
MAX_BATCH_BYTES = 2**31 - 1

# --- indexes ----------------------------------------------------------------------------------------------------

OFFSET_INDEX_ENTRY = np.dtype([("offset", "<u4"), ("position", "<u4")])
TIME_INDEX_ENTRY = np.dtype([("timestamp", "<i8"), ("offset", "<u4")])
assert OFFSET_INDEX_ENTRY.itemsize == 8
assert TIME_INDEX_ENTRY.itemsize == 12
MAX_RELATIVE_OFFSET = 2**31 - 1
# When its segment is sealed, an index ends with one more entry, which could be no other: all bits set as an offset, or
# the earliest time. Its other field is the CRC-32C of all entries and of the segment's end offset.
OFFSET_INDEX_SEAL = 2**32 - 1
TIME_INDEX_SEAL = -(2**63)
SEALED_END = struct.Struct("<q")
LATEST = 2**63 - 1  # in the place of a largest timestamp: records were lost, and nobody knows their times

# --- head -------------------------------------------------------------------------------------------------------

HEAD_MAGIC = int.from_bytes(b"EVLHEAD1", "little")
HEAD_SESSION, HEAD_END, HEAD_START = 1, 2, 3
HEAD_WRITER, HEAD_SLEEPING, HEAD_IDENTITY = 5, 6, 7
# Of a transaction that is being committed, while the writer's word is WRITER_PENDING: the log end offset that it will
# publish here, whose slot is filled already, its id, and where in the journal its outcome is to be looked for.
HEAD_PREPARED, HEAD_TRANSACTION, HEAD_JOURNAL = 8, 9, 10
HEAD_TRANSACTION_END = 11  # before this offset lie records of transactions; 0: none
HEAD_LIFE = 12  # changed by each recovery: what was published before is acknowledged as durable only by syncs before
FIRST_LIFE, LAST_LIFE = 2, 2**32 - 2  # of even number, and a mark has 32 bits for it; 0: from before there were lives
HEAD_FAILED = 13  # the life in which a sync failed
HEAD_OUTCOMES = 14  # the life of the journal in which the outcomes stand of all transactions behind the durable end
NO_OUTCOMES = 2**64 - 1  # there are no such transactions: recovery has just found none; 0: nobody knows
# In lives of even and of odd number: whoever still acts for the life before changes nothing of the present one.
HEAD_DURABLES = (4, 15)
HEAD_RECOVERY_POINTS = (32, 44)
HEAD_RECOVERY_JOURNAL = 9  # words behind the recovery point
RECOVERY_WORDS = 12
HEAD_SLOTS = (16, 24)  # in words
HEAD_SYNCS, HEAD_MOST_SYNCERS = 64, 224
# A mark is the life in which the sync began, below that the token of its process, and a number that is never 0.
SYNC_LIFE_SHIFT, SYNC_TOKEN_SHIFT = 32, 16

# log end offset, segment base offset, position behind the last batch, CRC-32C of the offset index, position of the last
# indexed batch, CRC-32C of the time index, offset index entries, time index entries; of the segment: largest timestamp,
# largest in its time index, largest of its first batch
END_SLOT = struct.Struct("=QQIIIIIIqqq")
SLOT_CHECKSUM = struct.Struct("=Q")
assert END_SLOT.size == 64

RECOVERY_JOURNAL = struct.Struct("=QQQ")
WRITER_NONE = 0
WRITER_POISONED = 2**64 - 1
WRITER_PENDING = 2**64 - 2  # a transaction is being committed, or whoever did so died
END_DELETED = 2**64 - 1  # in the place of the log end offset: the topic is gone

# --- control ----------------------------------------------------------------------------------------------------

CONTROL_MAGIC = int.from_bytes(b"EVLCTRL1", "little")
CONTROL_SESSION, CONTROL_METADATA = 1, 2

# --- groups -----------------------------------------------------------------------------------------------------

GROUP_MAGIC = int.from_bytes(b"EVLGRUP1", "little")
# Times are milliseconds of the machine's monotonic clock. The version changes with every change of the state, and is
# odd while one is under way. The last word changes when all members should look at the state, since one of them has no
# page that could tell it.
GROUP_GENERATION, GROUP_VERSION, GROUP_MEMBERS, GROUP_LOOKED_AROUND, GROUP_LOOK = 1, 2, 3, 4, 5

MEMBER_MAGIC = int.from_bytes(b"EVLMEMB1", "little")
MEMBER_LAST_POLL, MEMBER_LOOK = 1, 2  # the time of its last poll; changes when it should look at the group's state

# --- snapshots of producers -------------------------------------------------------------------------------------

# Little-endian: magic, CRC-32C of all that follows it, CRC-32C and base offset of the last batch before the offset that
# it is true at (both 0: there is none), that offset, number of producers. Then of each producer its state and its runs.
PRODUCER_SNAPSHOT = struct.Struct("<8sIIqqq")
PRODUCER_SNAPSHOT_MAGIC = b"EVLPROD1"
PRODUCER_SNAPSHOT_CRC_START = 12
PRODUCER_STATE = struct.Struct("<qqhh4x")  # producer id, when it was last heard of in milliseconds, epoch, runs
PRODUCER_RUN = struct.Struct("<iiq")  # first sequence, number of records, base offset
assert (PRODUCER_SNAPSHOT.size, PRODUCER_STATE.size, PRODUCER_RUN.size) == (40, 24, 16)

# --- committed offsets ------------------------------------------------------------------------------------------

# Keys and values as Kafka has them, big-endian: OffsetCommitKey version 1, OffsetCommitValue version 3. Texts are UTF-8
# behind their length (i16).
OFFSET_KEY_VERSION, OFFSET_VALUE_VERSION = 1, 3
OFFSET_KEY_GROUP = struct.Struct(">hh")  # version, length of the group's name; then the name
OFFSET_KEY_TOPIC = struct.Struct(">h")  # length of the topic's name; then the name
OFFSET_KEY_PARTITION = struct.Struct(">i")
OFFSET_VALUE = struct.Struct(">hqih")  # version, offset, leader epoch, length of the metadata; then the metadata
OFFSET_VALUE_TIME = struct.Struct(">q")  # when it was committed, in milliseconds since the epoch

# Snapshot, little-endian: magic, CRC-32C of all that follows it, fingerprint of the last record, offset that it is true
# at, first damaged offset, first offset behind the damage (both 0: none), the topic's id, number of entries; then
# i64[entries], the offset of each entry's record, and one record batch with their keys and values.
SNAPSHOT = struct.Struct("<8sIIqqq16sq")
SNAPSHOT_MAGIC = b"EVLOFFS1"
SNAPSHOT_CRC_START = 12
SNAPSHOT_OFFSETS = np.dtype("<i8")
FINGERPRINT = struct.Struct("<qq")  # offset and timestamp of a record, whose key and value follow
assert SNAPSHOT.size == 64

# --- transactions -----------------------------------------------------------------------------------------------

# Keys are Kafka's TransactionLogKey version 0, big-endian: version, length of the transactional id; then the id. Values
# are our own, since an outcome has to tell where the records lie.
TRANSACTION_KEY_VERSION, TRANSACTION_VALUE_VERSION = 0, 99
TRANSACTION_KEY = struct.Struct(">hh")
# version, outcome (Kafka's TransactionState: 4 committed, 5 aborted), the transaction's own random id, producer id,
# producer epoch, when it began and ended in milliseconds since the epoch, number of partitions
TRANSACTION_VALUE = struct.Struct(">hbxQqhqqi")
# of each: the topic's id, partition, first offset, offset behind the last, sequence number of the first record, length
# of the topic's name; then the name
TRANSACTION_PART = struct.Struct(">16siqqih")
TRANSACTION_COMMITTED, TRANSACTION_ABORTED = 4, 5
assert TRANSACTION_VALUE.size == 42
assert TRANSACTION_PART.size == 42

# Control page of a transactional id: see ``transactional_id.py``
TRANSACTIONAL_MAGIC = int.from_bytes(b"EVLTXID1", "little")
TX_PRODUCER_ID, TX_EPOCH, TX_STATUS, TX_STARTED = 1, 2, 3, 4
TX_TIMEOUT, TX_CHANGED, TX_PROCESS, TX_JOURNAL = 5, 6, 7, 8
# Kafka's TransactionState
STATUS_EMPTY, STATUS_ONGOING, STATUS_PREPARE_COMMIT, STATUS_COMMITTED, STATUS_ABORTED = 0, 1, 2, 4, 5
