-- name: vitals
-- Whether the database can be written, and the age in seconds of its oldest snapshot, which holds up the clearing
-- of dead rows whoever has it (rule R5); our own does not count.
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS writable,
       (SELECT extract(epoch FROM clock_timestamp() - min(since))::float8
          FROM (SELECT xact_start AS since FROM pg_stat_activity
                 WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND backend_type <> 'walsender'
                UNION ALL
                SELECT prepared FROM pg_prepared_xacts) AS held) AS oldest_snapshot
