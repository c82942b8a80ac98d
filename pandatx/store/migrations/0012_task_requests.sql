-- Ids of tasks in a database of our own: panda-client takes a number below 10,000,000 for a reqID. And what belongs to a workflow.
ALTER SEQUENCE {deft}.prodsys2_task_id_seq START WITH 10000000;
SELECT setval('{deft}.prodsys2_task_id_seq', greatest(last_value + is_called::int, 10000000), false)
  FROM {deft}.prodsys2_task_id_seq;
CREATE INDEX workflow_steps_workflow_idx ON {panda}.workflow_steps (workflow_id);
CREATE INDEX workflow_data_workflow_idx ON {panda}.workflow_data (workflow_id);
