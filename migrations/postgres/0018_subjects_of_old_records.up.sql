-- The trigger fills in the subject. It locks the rows one by one, and nothing else: signups go on.
UPDATE idempotency_records SET outcome = outcome WHERE outcome LIKE '{"created":%' AND subject_id IS NULL;
