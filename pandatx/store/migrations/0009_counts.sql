-- The counts of the last hours are read every few minutes, and old ones dropped.
CREATE INDEX request_counts_minute_idx ON {own}.request_counts (minute);
