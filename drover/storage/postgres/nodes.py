"""The statements about nodes: their signs of life, their ends, and emergencies of all of them."""

from __future__ import annotations

from typing import Final

LIVING_NODES: Final = """
    SELECT coalesce(json_agg(json_build_object('incarnation', incarnation, 'name', name, 'url', url,
        'state', state, 'beat', beat, 'free', free, 'evictable', evictable, 'sessions', sessions,
        'max_sessions', max_sessions, 'version', version, 'emergency', emergency,
        'memory', memory_available_mb,
        'seen', extract(epoch FROM seen_at))), '[]')
    FROM nodes WHERE state IN ('up', 'draining')
"""
BEAT: Final = f"""
    WITH mine AS (
        UPDATE nodes SET beat = beat + 1, free = %(free)s, evictable = %(evictable)s, sessions = %(sessions)s,
            memory_available_mb = %(memory_available_mb)s, state = %(state)s, emergency = %(emergency)s,
            seen_at = clock_timestamp()
        WHERE incarnation = %(me)s AND state IN ('up', 'draining') RETURNING beat
    )
    SELECT (SELECT beat FROM mine), (SELECT emergency FROM cluster), ({LIVING_NODES}),
        (SELECT coalesce(json_agg(json_build_array(session_id, epoch)), '[]')
         FROM sessions WHERE incarnation = %(me)s), (SELECT last_value FROM epochs)
"""
COUNT_EMERGENCIES: Final = "UPDATE cluster SET emergency = greatest(emergency, %s)"
NEXT_EMERGENCY: Final = "UPDATE cluster SET emergency = greatest(emergency, %s) + 1 RETURNING emergency"
DECLARE_LOST: Final = """
    UPDATE nodes SET state = 'lost'
    WHERE incarnation = %(incarnation)s AND beat = %(beat)s AND state IN ('up', 'draining')
"""
LEAVE: Final = """
    UPDATE nodes SET state = 'left' WHERE incarnation = %(incarnation)s AND state IN ('up', 'draining')
"""
# An emergency of all nodes that begins at this moment waits, and then deletes what no living node has, and
# what is kept.
EMERGENCY: Final = "SELECT emergency FROM cluster FOR SHARE"
END_OUTDATED: Final = """
    DELETE FROM sessions s USING nodes n WHERE s.incarnation = n.incarnation
        AND n.incarnation = %(incarnation)s AND n.emergency < %(emergency)s
"""
LOST_NODES: Final = """
    SELECT DISTINCT ON (name) incarnation, name, url, beat,
        (SELECT count(*) FROM sessions s WHERE s.incarnation = n.incarnation), max_sessions, version, seen_at,
        emergency
    FROM nodes n
    WHERE state = 'lost' AND name NOT IN (SELECT name FROM nodes WHERE state IN ('up', 'draining'))
    ORDER BY name, seen_at DESC
"""
FORGET_NODES: Final = """
    DELETE FROM nodes n WHERE state IN ('lost', 'left') AND seen_at < clock_timestamp() - interval '1 hour'
        AND NOT EXISTS (SELECT FROM sessions s WHERE s.incarnation = n.incarnation)
"""
