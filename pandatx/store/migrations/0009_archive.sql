-- Indexes of the archive in a database of our own, named as in found ones: jobs are read there by PandaID, task, user and
-- queue, and dropped by the time of their end; those to be moved are found by time.
CREATE INDEX jobsarch4_mtimeprodslabel_idx ON {panda}.jobsarchived4 (modificationtime, prodsourcelabel);
CREATE INDEX jobs_pandaid_idx ON {arch}.jobsarchived (pandaid);
CREATE INDEX jobs_jeditaskid_pandaid_idx ON {arch}.jobsarchived (jeditaskid, pandaid) WHERE jeditaskid IS NOT NULL;
CREATE INDEX jobs_produsername_pandaid_idx ON {arch}.jobsarchived (produsername, pandaid);
CREATE INDEX jobs_comsite_pandaid_idx ON {arch}.jobsarchived (computingsite, pandaid);
CREATE INDEX jobs_statechangetime_idx ON {arch}.jobsarchived (statechangetime);
CREATE INDEX files_arch_pandaid_idx ON {arch}.filestable_arch (pandaid);
CREATE INDEX jobparams_arch_pandaid_idx ON {arch}.jobparamstable_arch (pandaid);
CREATE INDEX meta_arch_pandaid_idx ON {arch}.metatable_arch (pandaid);
