DROP TABLE user_events;
DROP FUNCTION user_events_are_append_only();
