-- Indexes for the life of blocks in a database of our own (reference/lifecycle.md 3.4). In the order of bytes, which is cheap to
-- keep; and so the search for a file that is still to come, which the Closer does for each job, stays with the small index
-- of open blocks.
CREATE INDEX filestable4_block_name ON {panda}.filestable4 (destinationdblock COLLATE "C")
    WHERE destinationdblock IS NOT NULL;
CREATE INDEX datasets_by_status ON {panda}.datasets (type, status, modificationdate) WHERE status <> 'deleted';
CREATE INDEX datasets_open ON {panda}.datasets (name)
    WHERE type = 'output' AND status IN ('defined', 'created', 'running');
