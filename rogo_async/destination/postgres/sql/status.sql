-- Statements of the command status (specification §5).

-- name: migrated_submissions
-- All submissions of migrated attempts. assigned_at is the time when the run wrote the row.
SELECT s.id, s.lti_launch_id AS launch_id, coalesce(f.files, 0) AS files,
    coalesce(e.rules, 0) AS rules, m.written_at
FROM assignment_submissions s
LEFT JOIN (
    SELECT submission_id, count(*) AS files FROM submission_files GROUP BY 1
) f ON f.submission_id = s.id
LEFT JOIN (
    SELECT submission_id, count(*) AS rules FROM malpractice_enforcements GROUP BY 1
) e ON e.submission_id = s.id
LEFT JOIN (
    SELECT submission_id, min(assigned_at)::timestamptz AS written_at
    FROM submission_marking_assignments GROUP BY 1
) m ON m.submission_id = s.id
WHERE s.lti_launch_id ~ '^rogo_[0-9]+_';

-- name: started_attempts
-- The attempts with a launch or a session record (rule 3).
SELECT launch_id::text AS launch_id FROM lti_launch_sessions WHERE launch_id ~ '^rogo_[0-9]+_'
UNION ALL
SELECT launch_id::text FROM lti_session_records WHERE launch_id ~ '^rogo_[0-9]+_';
