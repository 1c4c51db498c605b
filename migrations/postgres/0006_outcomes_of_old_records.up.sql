-- The trigger fills in the rest. It locks the rows one by one, and nothing else: signups go on.
UPDATE idempotency_records SET body = body WHERE outcome IS NULL;
