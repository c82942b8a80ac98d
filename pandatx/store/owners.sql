-- name: bind
-- prepare: names text[], subjects text[], now timestamp
-- Bind names to subjects at first sight (rule R27), and say to whom they belong. A name that another transaction has
-- just bound is missing from the answer: ask again.
WITH v AS (SELECT * FROM unnest(%(names)s::text[], %(subjects)s::text[]) v(name, subject)),
 i AS (INSERT INTO {own}.owners (name, subject, first_seen) SELECT name, subject, %(now)s FROM v ORDER BY name
       ON CONFLICT (name) DO NOTHING RETURNING name, subject, also)
SELECT name, subject || also AS subjects FROM i
UNION ALL SELECT o.name, o.subject || o.also FROM {own}.owners o WHERE o.name = ANY (%(names)s)

-- name: subjects
-- prepare: owner text
-- Whom a name belongs to.
SELECT subject || also AS subjects FROM {own}.owners WHERE name = %(owner)s

-- name: owner
SELECT name, subject, also, first_seen FROM {own}.owners WHERE name = %(owner)s

-- name: release
-- The next one with this name has it for their own.
DELETE FROM {own}.owners WHERE name = %(owner)s RETURNING subject

-- name: admit
-- Let one more subject have a name that is bound already: somebody's certificate beside their token.
UPDATE {own}.owners SET also = CASE WHEN %(subject)s = ANY (subject || also) THEN also ELSE also || %(subject)s::varchar END
 WHERE name = %(owner)s RETURNING name
