-- The language of a user's mails, a tag of RFC 5646; null: the service's own. Instances of the release before do not insert it.
ALTER TABLE users ADD COLUMN locale TEXT;
