-- Indexes of the tables of Harvesters in a database of our own, named as in found ones: messages are found by their number,
-- figures by their time, and workers of which a pilot knows more than their Harvester by both statuses.
CREATE INDEX harv_dialogs_harv_diagid_idx ON {panda}.harvester_dialogs (harvester_id, diagid);
CREATE INDEX harvester_metrics_idx ON {panda}.harvester_metrics (harvester_id, creation_time, harvester_host);
CREATE INDEX harvester_workers_status_idx ON {panda}.harvester_workers (status, pilotstatus);
