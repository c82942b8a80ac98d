-- name: worker_status
UPDATE {panda}.harvester_workers SET pilotstatus = %(status)s, nodeid = coalesce(%(node)s, nodeid),
    pilotstarttime = CASE WHEN %(status)s = 'started' THEN %(now)s::timestamp ELSE pilotstarttime END,
    pilotendtime = CASE WHEN %(status)s = 'finished' THEN %(now)s::timestamp ELSE pilotendtime END
 WHERE harvesterid = %(harvester)s AND workerid = %(worker)s

-- name: worker_node
-- A node as a pilot found it; what a later pilot does not say stays.
WITH n AS (INSERT INTO {panda}.worker_node AS n (site, host_name, cpu_model, cpu_model_normalized, n_logical_cpus, n_sockets,
    cores_per_socket, threads_per_core, cpu_architecture, cpu_architecture_level, clock_speed, total_memory,
    total_local_disk, last_seen)
  VALUES (%(site)s, %(host_name)s, %(cpu_model)s, %(normalized)s, %(n_logical_cpus)s, %(n_sockets)s,
    %(cores_per_socket)s, %(threads_per_core)s, %(cpu_architecture)s, %(cpu_architecture_level)s, %(clock_speed)s,
    %(total_memory)s, %(total_local_disk)s, %(now)s)
  ON CONFLICT (site, host_name, cpu_model) DO UPDATE SET cpu_model_normalized = excluded.cpu_model_normalized,
    n_logical_cpus = coalesce(excluded.n_logical_cpus, n.n_logical_cpus),
    n_sockets = coalesce(excluded.n_sockets, n.n_sockets),
    cores_per_socket = coalesce(excluded.cores_per_socket, n.cores_per_socket),
    threads_per_core = coalesce(excluded.threads_per_core, n.threads_per_core),
    cpu_architecture = coalesce(excluded.cpu_architecture, n.cpu_architecture),
    cpu_architecture_level = coalesce(excluded.cpu_architecture_level, n.cpu_architecture_level),
    clock_speed = coalesce(excluded.clock_speed, n.clock_speed),
    total_memory = coalesce(excluded.total_memory, n.total_memory),
    total_local_disk = coalesce(excluded.total_local_disk, n.total_local_disk),
    last_seen = excluded.last_seen)
INSERT INTO {panda}.worker_node_queue (site, host_name, panda_queue, last_seen)
SELECT %(site)s, %(host_name)s, %(panda_queue)s, %(now)s WHERE %(panda_queue)s::text IS NOT NULL
ON CONFLICT (site, host_name, panda_queue) DO UPDATE SET last_seen = excluded.last_seen

-- name: worker_node_gpu
INSERT INTO {panda}.worker_node_gpus AS g (site, host_name, vendor, model, count, vram, architecture, framework,
    framework_version, driver_version, last_seen)
VALUES (%(site)s, %(host_name)s, %(vendor)s, %(model)s, %(count)s, %(vram)s, %(architecture)s, %(framework)s,
    %(framework_version)s, %(driver_version)s, %(now)s)
ON CONFLICT (site, host_name, vendor, model) DO UPDATE SET count = excluded.count,
    vram = coalesce(excluded.vram, g.vram), architecture = coalesce(excluded.architecture, g.architecture),
    framework = coalesce(excluded.framework, g.framework),
    framework_version = coalesce(excluded.framework_version, g.framework_version),
    driver_version = coalesce(excluded.driver_version, g.driver_version), last_seen = excluded.last_seen
