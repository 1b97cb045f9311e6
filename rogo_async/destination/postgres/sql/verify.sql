-- Statements of the command verify. One statement per page gives a consistent snapshot; joins
-- against the page need no index on the child tables.

-- name: submissions_page
-- infinite_times: columns with infinity or -infinity, which no source has. The comparison is by
-- text, since a column may have another type than timestamptz.
WITH page AS MATERIALIZED (
    SELECT id, lti_launch_id, lti_session_record_id, file_count, total_file_size, lms_user_id,
        context_id, custom_assessment_code, submitted_at, created_at, updated_at
    FROM assignment_submissions
    WHERE id > :after::text AND lti_launch_id ~ '^rogo_[0-9]+_'
      AND (:ids::text[] IS NULL OR id = ANY (:ids::text[]))
    ORDER BY id
    LIMIT :count::int
), files AS (
    SELECT f.submission_id, json_agg(json_build_object(
        'order', f.upload_order, 'container', f.azure_container_name,
        'name', f.azure_blob_name, 'size', f.file_size) ORDER BY f.upload_order)::text AS files,
        CASE WHEN bool_or(f.uploaded_at::text ~ 'infinity') THEN 'submission_files.uploaded_at' END
            AS infinite_times
    FROM submission_files f JOIN page ON page.id = f.submission_id
    GROUP BY 1
), grades AS (
    SELECT g.submission_id, count(*) AS grades,
        bool_or(g.malpractice_level_id IS NOT NULL) AS malpractice,
        min(g.assessment_id) AS assessment_id,
        concat_ws(', ',
            CASE WHEN bool_or(g.completed_at::text ~ 'infinity')
                THEN 'submission_grades.completed_at' END,
            CASE WHEN bool_or(g.created_at::text ~ 'infinity')
                THEN 'submission_grades.created_at' END,
            CASE WHEN bool_or(g.updated_at::text ~ 'infinity')
                THEN 'submission_grades.updated_at' END
        ) AS infinite_times
    FROM submission_grades g JOIN page ON page.id = g.submission_id
    GROUP BY 1
), markings AS (
    SELECT m.submission_id, count(*) AS markings,
        concat_ws(', ',
            CASE WHEN bool_or(m.status_updated_at::text ~ 'infinity')
                THEN 'submission_marking_assignments.status_updated_at' END,
            CASE WHEN bool_or(m.created_at::text ~ 'infinity')
                THEN 'submission_marking_assignments.created_at' END,
            CASE WHEN bool_or(m.updated_at::text ~ 'infinity')
                THEN 'submission_marking_assignments.updated_at' END
        ) AS infinite_times
    FROM submission_marking_assignments m JOIN page ON page.id = m.submission_id
    GROUP BY 1
), marks AS (
    SELECT k.submission_id,
        count(*) FILTER (WHERE a.assessment_id IS DISTINCT FROM g.assessment_id)
            AS mismatched_marks,
        concat_ws(', ',
            CASE WHEN bool_or(k.created_at::text ~ 'infinity')
                THEN 'submission_section_marks.created_at' END,
            CASE WHEN bool_or(k.updated_at::text ~ 'infinity')
                THEN 'submission_section_marks.updated_at' END
        ) AS infinite_times
    FROM submission_section_marks k
    JOIN grades g ON g.submission_id = k.submission_id
    LEFT JOIN assessment_sections a ON a.id = k.section_id
    GROUP BY 1
)
SELECT p.id, p.lti_launch_id AS launch_id, p.lti_session_record_id AS session_record_id,
    p.file_count, p.total_file_size, f.files,
    l.launch_id IS NOT NULL AS has_launch, r.id AS session_id,
    (l.user_id, l.context_id, l.custom_assessment_code)
        IS NOT DISTINCT FROM (p.lms_user_id, p.context_id, p.custom_assessment_code)
        AS launch_agrees,
    (r.lms_user_id, r.context_id, r.custom_assessment_code)
        IS NOT DISTINCT FROM (p.lms_user_id, p.context_id, p.custom_assessment_code)
        AS session_agrees,
    coalesce(g.grades, 0) AS grades, coalesce(m.markings, 0) AS markings,
    coalesce(s.mismatched_marks, 0) AS mismatched_marks,
    coalesce(g.malpractice, false) AND NOT EXISTS (
        SELECT FROM malpractice_enforcements e
        WHERE e.lms_user_id = p.lms_user_id AND e.context_id = p.context_id
          AND e.custom_assessment_code = p.custom_assessment_code
    ) AS rule_missing,
    concat_ws(', ',
        CASE WHEN p.submitted_at::text ~ 'infinity' THEN 'assignment_submissions.submitted_at' END,
        CASE WHEN p.created_at::text ~ 'infinity' THEN 'assignment_submissions.created_at' END,
        CASE WHEN p.updated_at::text ~ 'infinity' THEN 'assignment_submissions.updated_at' END,
        CASE WHEN l.created_at::text ~ 'infinity' THEN 'lti_launch_sessions.created_at' END,
        CASE WHEN r.created_at::text ~ 'infinity' THEN 'lti_session_records.created_at' END,
        f.infinite_times, nullif(m.infinite_times, ''), nullif(s.infinite_times, ''),
        nullif(g.infinite_times, '')
    ) AS infinite_times
FROM page p
LEFT JOIN lti_launch_sessions l ON l.launch_id = p.lti_launch_id
LEFT JOIN lti_session_records r ON r.launch_id = p.lti_launch_id
LEFT JOIN files f ON f.submission_id = p.id
LEFT JOIN grades g ON g.submission_id = p.id
LEFT JOIN markings m ON m.submission_id = p.id
LEFT JOIN marks s ON s.submission_id = p.id
ORDER BY p.id;

-- name: submissions_sample
SELECT id FROM assignment_submissions
WHERE lti_launch_id ~ '^rogo_[0-9]+_' ORDER BY random() LIMIT :count::int;

-- name: submissions_of_launches
SELECT id FROM assignment_submissions WHERE lti_launch_id = ANY (:launch_ids::text[]);

-- name: submissions_total
SELECT count(*) AS total FROM assignment_submissions WHERE lti_launch_id ~ '^rogo_[0-9]+_';

-- name: duplicate_attempts
-- Attempts with more than one submission, from this tool or another one. An attempt is an SQL int.
SELECT attempt::bigint AS attempt, array_agg(lti_launch_id::text ORDER BY id) AS launch_ids,
    array_agg(id::text ORDER BY id) AS ids
FROM (
    SELECT id, lti_launch_id, substring(lti_launch_id from '^rogo_0*([0-9]{1,10})_') AS attempt
    FROM assignment_submissions
) AS marked
WHERE attempt::bigint BETWEEN 1 AND 2147483647
GROUP BY 1
HAVING count(*) > 1;

-- name: launches_without_submission
-- Launch and session records of migrated attempts that have no submission.
SELECT launch_id FROM (
    SELECT launch_id FROM lti_launch_sessions
    UNION
    SELECT launch_id FROM lti_session_records
) AS marked
WHERE launch_id ~ '^rogo_[0-9]+_'
  AND NOT EXISTS (SELECT FROM assignment_submissions s WHERE s.lti_launch_id = marked.launch_id);
