-- Each row has its response. An older release does not know these commands.
DELETE FROM idempotency_records WHERE status = 503;
