"""The tables of the SQLite memory, and how a file of an older version gets them."""

from __future__ import annotations

APPLICATION_ID = 0x5241524D  # "RARM", at byte 68 of the file

# Migration n brings a file from schema n to n + 1. What was released is never edited. Embeddings come last in their
# rows, so that reading the rest of a row does not read them.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        "CREATE TABLE experiences (id TEXT PRIMARY KEY, namespace TEXT NOT NULL, task TEXT NOT NULL, text TEXT, "
        "signature TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL, source TEXT NOT NULL, "
        "trials INTEGER NOT NULL DEFAULT 0, keep_until REAL NOT NULL, seq INTEGER NOT NULL, touched INTEGER NOT NULL, "
        "embedding BLOB NOT NULL)",
        "CREATE INDEX experiences_by_seq ON experiences (seq)",
        "CREATE INDEX experiences_by_touched ON experiences (touched)",
        "CREATE INDEX experiences_by_use ON experiences (namespace, keep_until, id)",
        "CREATE TABLE tallies (experience_id TEXT NOT NULL REFERENCES experiences ON DELETE CASCADE, "
        "guide_id TEXT NOT NULL, weak_id TEXT NOT NULL, strong_id TEXT NOT NULL, ok INTEGER NOT NULL, "
        "bad INTEGER NOT NULL, last_ok INTEGER NOT NULL, at REAL NOT NULL, "
        "PRIMARY KEY (experience_id, guide_id, weak_id, strong_id)) WITHOUT ROWID",
        "CREATE TABLE guides (id TEXT PRIMARY KEY, namespace TEXT NOT NULL, task TEXT NOT NULL, text TEXT NOT NULL, "
        "author TEXT NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL, helpful INTEGER NOT NULL, "
        "harmful INTEGER NOT NULL, created_at REAL NOT NULL, pinned INTEGER NOT NULL DEFAULT 0, "
        "seq INTEGER NOT NULL, touched INTEGER NOT NULL, embedding BLOB NOT NULL)",
        "CREATE INDEX guides_by_seq ON guides (seq)",
        "CREATE INDEX guides_by_touched ON guides (touched)",
        "CREATE TABLE deletions (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)",
        "CREATE TABLE policy (namespace TEXT PRIMARY KEY, threshold REAL, audits INTEGER NOT NULL, "
        "errors INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE spending (day INTEGER NOT NULL, namespace TEXT NOT NULL, purpose TEXT NOT NULL, "
        "role TEXT NOT NULL, model_id TEXT NOT NULL, calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, "
        "output_tokens INTEGER NOT NULL, usd REAL NOT NULL, unpriced INTEGER NOT NULL, "
        "PRIMARY KEY (day, namespace, purpose, role, model_id)) WITHOUT ROWID",
        "CREATE TABLE decisions (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, "
        "at REAL NOT NULL, experience_id TEXT NOT NULL, guide_id TEXT, model TEXT NOT NULL, facts TEXT NOT NULL)",
        "CREATE INDEX decisions_by_time ON decisions (at)",
        "CREATE TABLE counters (namespace TEXT PRIMARY KEY, experiences INTEGER NOT NULL DEFAULT 0, "
        "evicted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID",
        "CREATE TRIGGER experience_added AFTER INSERT ON experiences BEGIN "
        "INSERT OR IGNORE INTO counters (namespace) VALUES (new.namespace); "
        "UPDATE counters SET experiences = experiences + 1 WHERE namespace = new.namespace; END",
        "CREATE TRIGGER experience_gone AFTER DELETE ON experiences BEGIN "
        "UPDATE counters SET experiences = experiences - 1 WHERE namespace = old.namespace; END",
    ),
    (
        "ALTER TABLE tallies ADD COLUMN gap REAL",
        "ALTER TABLE tallies ADD COLUMN weight REAL NOT NULL DEFAULT 1.0",
        "ALTER TABLE policy ADD COLUMN bias REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN reference REAL NOT NULL DEFAULT 1.0",
        "ALTER TABLE policy ADD COLUMN calls INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE policy ADD COLUMN drift REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN quiet REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN since REAL NOT NULL DEFAULT 0.0",
        "CREATE INDEX experiences_by_kind ON experiences (namespace, task, touched)",
    ),
    (
        "ALTER TABLE spending ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE decisions ADD COLUMN not_learned TEXT",
        "CREATE INDEX decisions_by_lesson ON decisions (namespace, not_learned)",
    ),
    (
        "CREATE TABLE forgotten (key TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX forgotten_by_epoch ON forgotten (epoch)",
        "INSERT INTO meta VALUES ('epoch', 0)",
        "CREATE INDEX decisions_by_experience ON decisions (experience_id)",
    ),
    (
        "CREATE INDEX tallies_by_guide ON tallies (guide_id, experience_id) WHERE guide_id != ''",
        # Older versions took a guide for proven by the request that it was written for, and one more.
        "UPDATE guides SET state = 'candidate' WHERE state = 'active' AND pinned = 0 AND 2 > (SELECT count(DISTINCT "
        "experience_id) FROM tallies WHERE guide_id = guides.id AND guide_id != '' AND experience_id != guides.origin "
        "AND ok > 0)",
    ),
    ("ALTER TABLE tallies ADD COLUMN origins TEXT NOT NULL DEFAULT ''",),
    (
        "ALTER TABLE policy RENAME TO policy_of_namespaces",
        "CREATE TABLE policy (namespace TEXT NOT NULL, model TEXT NOT NULL, threshold REAL, audits INTEGER NOT NULL, "
        "errors INTEGER NOT NULL, bias REAL NOT NULL, reference REAL NOT NULL, calls INTEGER NOT NULL, "
        "drift REAL NOT NULL, quiet REAL NOT NULL, since REAL NOT NULL, PRIMARY KEY (namespace, model)) WITHOUT ROWID",
        "INSERT INTO policy SELECT namespace, '', threshold, audits, errors, bias, reference, calls, drift, quiet, "
        "since FROM policy_of_namespaces",
        # What was known of the only weak model there was is known of the one that was tried last.
        "INSERT INTO policy SELECT old.namespace, tried.weak_id, threshold, audits, errors, bias, reference, calls, "
        "drift, quiet, since FROM policy_of_namespaces AS old JOIN (SELECT namespace, weak_id, max(at) FROM tallies "
        "JOIN experiences ON id = experience_id WHERE weak_id != '' GROUP BY namespace) AS tried USING (namespace)",
        "DROP TABLE policy_of_namespaces",
    ),
    ("ALTER TABLE spending ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0",),
    (
        "ALTER TABLE guides ADD COLUMN style TEXT NOT NULL DEFAULT 'steps'",
        "ALTER TABLE policy ADD COLUMN spread REAL NOT NULL DEFAULT 0.2",
        "ALTER TABLE policy ADD COLUMN low REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN lost REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN share REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN late REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN usual REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE policy ADD COLUMN shadows INTEGER NOT NULL DEFAULT 0",
    ),
    (
        "CREATE TABLE labels (n INTEGER PRIMARY KEY, decision_id TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, "
        "experience_id TEXT NOT NULL, weak_id TEXT NOT NULL, strong_id TEXT NOT NULL, judge TEXT NOT NULL, "
        "judged REAL NOT NULL, weak REAL NOT NULL, strong REAL NOT NULL, at REAL NOT NULL, expected REAL, "
        "drawn INTEGER NOT NULL, weight REAL NOT NULL)",
        "CREATE INDEX labels_by_namespace ON labels (namespace)",
        "CREATE INDEX labels_by_experience ON labels (experience_id)",
    ),
    (
        "CREATE TABLE judged (n INTEGER PRIMARY KEY, decision_id TEXT NOT NULL, place INTEGER NOT NULL, "
        "namespace TEXT NOT NULL, experience_id TEXT NOT NULL, weak_id TEXT NOT NULL, strong_id TEXT NOT NULL, "
        "judge TEXT NOT NULL, agrees INTEGER NOT NULL, gap REAL NOT NULL, at REAL NOT NULL, guide_id TEXT, "
        "prompt TEXT NOT NULL, weak TEXT NOT NULL, strong TEXT NOT NULL, UNIQUE (decision_id, place))",
        "CREATE INDEX judged_by_namespace ON judged (namespace)",
        "CREATE INDEX judged_by_experience ON judged (experience_id)",
        "CREATE TABLE cached (n INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, "
        "experience_id TEXT NOT NULL, model TEXT NOT NULL, model_id TEXT NOT NULL, at REAL NOT NULL, until REAL, "
        "used_at REAL NOT NULL, room INTEGER NOT NULL, question TEXT NOT NULL, text TEXT NOT NULL, "
        "UNIQUE (namespace, key))",
        "CREATE INDEX cached_by_use ON cached (namespace, used_at)",
        "CREATE INDEX cached_by_experience ON cached (experience_id)",
    ),
    (
        "CREATE TABLE effects (n INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)",
        "CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
    ),
    ("ALTER TABLE spending ADD COLUMN prefix_tokens INTEGER NOT NULL DEFAULT 0",),
    (
        # As in `postgres_schema`.
        "CREATE TABLE reserved (account TEXT NOT NULL, owner TEXT NOT NULL, namespace TEXT, held REAL NOT NULL, "
        "held_until REAL NOT NULL, free REAL NOT NULL, free_until REAL NOT NULL, PRIMARY KEY (account, owner)) "
        "WITHOUT ROWID",
        "CREATE INDEX reserved_by_time ON reserved (held_until)",
        "CREATE INDEX spending_by_namespace ON spending (namespace, day)",
    ),
)
