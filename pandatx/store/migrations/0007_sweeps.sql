-- Indexes that sweeps find their rows by, in a database of our own: the jobs that were submitted together with a build, and
-- the files of users' sandboxes by their ages.
CREATE INDEX jobsdefined4_definition ON {panda}.jobsdefined4 (jobdefinitionid);
CREATE INDEX usercacheusage_usr_crdate_indx ON {meta}.usercacheusage (username, creationtime);
CREATE INDEX usercacheusage_created ON {meta}.usercacheusage (creationtime);
CREATE INDEX usercacheusage_looked_at ON {meta}.usercacheusage ((coalesce(modificationtime, creationtime)));
