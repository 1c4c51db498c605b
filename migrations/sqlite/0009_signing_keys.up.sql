-- The keys that sign access tokens. The private half is encrypted under AUTH_SECRET. The states of a key follow
-- from its times.
CREATE TABLE signing_keys (
    kid            TEXT    NOT NULL PRIMARY KEY,
    alg            TEXT    NOT NULL,
    public_jwk     TEXT    NOT NULL CHECK (json_valid(public_jwk)),
    private_sealed BLOB    NOT NULL,
    created_at     INTEGER NOT NULL,
    active_from    INTEGER NOT NULL,
    retired_at     INTEGER,
    remove_at      INTEGER
) STRICT, WITHOUT ROWID;

-- One key has no successor yet.
CREATE UNIQUE INDEX signing_keys_head_idx ON signing_keys ((retired_at IS NULL)) WHERE retired_at IS NULL;
