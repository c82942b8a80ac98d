-- Indexes for the life of blocks in a database of our own (reference/lifecycle.md 3.4). By lower(), so that the search for a
-- file that is still to come, which the Closer does for each job, keeps to the small index of open blocks.
CREATE INDEX filestable4_block_name ON {panda}.filestable4 (lower(destinationdblock)) WHERE destinationdblock IS NOT NULL;
CREATE INDEX datasets_by_status ON {panda}.datasets (type, status, modificationdate) WHERE status <> 'deleted';
CREATE INDEX datasets_open ON {panda}.datasets (name)
    WHERE type = 'output' AND status IN ('defined', 'created', 'running');
