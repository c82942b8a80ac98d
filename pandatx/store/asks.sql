-- name: add
INSERT INTO {own}.asks AS a (instance, queue, since, want, asked, served, refused, last)
SELECT %(instance)s, queue, %(since)s, want, asked, served, refused, last
  FROM unnest(%(queues)s::text[], %(wants)s::text[], %(asked)s::bigint[], %(served)s::bigint[], %(refused)s::bigint[],
              %(last)s::timestamp[]) v(queue, want, asked, served, refused, last)
ON CONFLICT (queue, since, instance, md5(want)) DO UPDATE SET asked = a.asked + excluded.asked,
    served = a.served + excluded.served, refused = a.refused + excluded.refused, last = greatest(a.last, excluded.last)

-- name: of_queue
-- The commonest wants; the rest together under that of which nothing is known.
SELECT CASE WHEN place <= %(most)s THEN want ELSE '{}' END, sum(asked)::bigint, sum(served)::bigint, sum(refused)::bigint,
       max(last)
  FROM (SELECT want, sum(asked) AS asked, sum(served) AS served, sum(refused) AS refused, max(last) AS last,
               row_number() OVER (ORDER BY sum(asked) DESC, want) AS place
          FROM {own}.asks WHERE queue = %(queue)s AND since >= %(after)s GROUP BY want) w
 GROUP BY 1

-- name: forget
DELETE FROM {own}.asks WHERE since < %(before)s
