UPDATE idempotency_records SET subject_id = unhex(replace(outcome ->> '$.created.id', '-', ''))
WHERE outcome LIKE '{"created":%' AND subject_id IS NULL;
