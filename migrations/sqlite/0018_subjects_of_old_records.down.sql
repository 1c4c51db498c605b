UPDATE idempotency_records SET subject_id = NULL WHERE subject_id IS NOT NULL;
