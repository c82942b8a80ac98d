ALTER TABLE {own}.owners ALTER COLUMN name TYPE varchar(250), ADD COLUMN also varchar(500)[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN {own}.owners.also IS 'Further subjects that an operator lets use the name';
