-- The schema as version 1 wrote it. Released: it is never edited.
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL,
  created REAL NOT NULL, touched REAL NOT NULL, trimmed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_by_owner ON sessions (owner, created);
CREATE TABLE samples (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
  label TEXT NOT NULL, held_back INTEGER NOT NULL, digest TEXT NOT NULL, x BLOB NOT NULL,
  created REAL NOT NULL
) STRICT;
CREATE INDEX samples_by_session ON samples (session, id);
CREATE INDEX samples_by_digest ON samples (session, digest);
CREATE TABLE states (
  session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, number INTEGER NOT NULL,
  delta BLOB NOT NULL, report TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (session, number)
) STRICT;
CREATE TABLE deltas (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL,
  delta BLOB NOT NULL, created REAL NOT NULL
) STRICT;
CREATE INDEX deltas_by_owner ON deltas (owner, created);
CREATE TABLE tokens (name TEXT PRIMARY KEY, hash BLOB NOT NULL, created REAL NOT NULL) STRICT;
PRAGMA user_version = 1;
