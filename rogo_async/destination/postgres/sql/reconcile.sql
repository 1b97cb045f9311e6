-- Statements that read the rows of migrated submissions, and write them again (specification §5,
-- verify --source and run --refresh).

-- name: rows_of_launches
-- All rows of the submissions with these launch ids, with all columns, and the transaction that
-- wrote each. The malpractice rules are those that name a submission, and all of its key; named is
-- the launch id of the submission that a rule names. One scan of each table without an index;
-- it reads ids only, since it would build each whole row that it passes. An array of ids makes the
-- index certain; an array of launch ids, without an index, would be compared with each row.
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT unnest(:launch_ids::text[]) AS launch_id
), page AS MATERIALIZED (
    SELECT s.id, s.lti_launch_id, s.lms_user_id, s.custom_assessment_code, s.context_id
    FROM wanted JOIN assignment_submissions s ON s.lti_launch_id = wanted.launch_id
)
SELECT s.lti_launch_id AS launch_id, 'assignment_submissions' AS table_name,
    s.xmin::text AS written_by, to_jsonb(s)::text AS content, NULL AS named
FROM assignment_submissions s WHERE s.id = ANY (ARRAY(SELECT id FROM page))
UNION ALL
SELECT l.launch_id, 'lti_launch_sessions', l.xmin::text, to_jsonb(l)::text, NULL
FROM wanted JOIN lti_launch_sessions l USING (launch_id)
UNION ALL
SELECT r.launch_id, 'lti_session_records', r.xmin::text, to_jsonb(r)::text, NULL
FROM wanted JOIN lti_session_records r USING (launch_id)
UNION ALL
SELECT p.lti_launch_id, 'submission_files', f.xmin::text, to_jsonb(f)::text, NULL
FROM page p JOIN submission_files f ON f.submission_id = p.id
WHERE f.id = ANY (ARRAY(SELECT f.id FROM page p JOIN submission_files f ON f.submission_id = p.id))
UNION ALL
SELECT p.lti_launch_id, 'submission_marking_assignments', m.xmin::text, to_jsonb(m)::text, NULL
FROM page p JOIN submission_marking_assignments m ON m.submission_id = p.id
WHERE m.id = ANY (ARRAY(
    SELECT m.id FROM page p JOIN submission_marking_assignments m ON m.submission_id = p.id))
UNION ALL
SELECT p.lti_launch_id, 'submission_section_marks', k.xmin::text, to_jsonb(k)::text, NULL
FROM page p JOIN submission_section_marks k ON k.submission_id = p.id
WHERE k.id = ANY (ARRAY(
    SELECT k.id FROM page p JOIN submission_section_marks k ON k.submission_id = p.id))
UNION ALL
SELECT p.lti_launch_id, 'submission_grades', g.xmin::text, to_jsonb(g)::text, NULL
FROM submission_grades g JOIN page p ON p.id = g.submission_id
UNION ALL
SELECT rules.launch_id, 'malpractice_enforcements', e.xmin::text, to_jsonb(e)::text,
    s.lti_launch_id
FROM (
    SELECT p.lti_launch_id AS launch_id, e.id
    FROM malpractice_enforcements e JOIN page p ON p.id = e.submission_id
    UNION
    SELECT p.lti_launch_id, e.id
    FROM malpractice_enforcements e
    JOIN page p ON (p.lms_user_id, p.custom_assessment_code, p.context_id)
        = (e.lms_user_id, e.custom_assessment_code, e.context_id)
) AS rules
JOIN malpractice_enforcements e ON e.id = rules.id
LEFT JOIN assignment_submissions s ON s.id = e.submission_id;

-- name: submission_heads
-- The submissions with these launch ids, and how many rows each has in all tables, malpractice rules
-- included. One scan of each table without an index.
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT unnest(:launch_ids::text[]) AS launch_id
), page AS MATERIALIZED (
    SELECT s.id, s.lti_launch_id
    FROM wanted JOIN assignment_submissions s ON s.lti_launch_id = wanted.launch_id
), found AS (
    SELECT lti_launch_id AS launch_id, id FROM page
    UNION ALL
    SELECT launch_id, NULL FROM wanted JOIN lti_launch_sessions l USING (launch_id)
    UNION ALL
    SELECT launch_id, NULL FROM wanted JOIN lti_session_records r USING (launch_id)
    UNION ALL
    SELECT p.lti_launch_id, NULL FROM submission_files f JOIN page p ON p.id = f.submission_id
    UNION ALL
    SELECT p.lti_launch_id, NULL
    FROM submission_marking_assignments m JOIN page p ON p.id = m.submission_id
    UNION ALL
    SELECT p.lti_launch_id, NULL
    FROM submission_section_marks k JOIN page p ON p.id = k.submission_id
    UNION ALL
    SELECT p.lti_launch_id, NULL FROM submission_grades g JOIN page p ON p.id = g.submission_id
    UNION ALL
    SELECT p.lti_launch_id, NULL
    FROM malpractice_enforcements e JOIN page p ON p.id = e.submission_id
)
SELECT launch_id, coalesce(max(id), '') AS submission_id, count(*) AS rows FROM found GROUP BY 1;

-- name: column_types
-- The types of these tables' columns without a length. A domain is left out: it may have one.
SELECT t.name AS table_name, a.attname::text AS column_name,
    format('%I.%I', n.nspname, y.typname) AS type_name
FROM unnest(:tables::text[]) AS t (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type y ON y.oid = a.atttypid AND y.typtype <> 'd'
JOIN pg_namespace n ON n.oid = y.typnamespace;

-- name: shared_transactions
-- Those of these transactions that wrote more than one submission. A run writes each submission in
-- a transaction of its own, so other changes of these rows cannot be seen.
SELECT s.xmin::text AS written_by FROM assignment_submissions s
WHERE s.xmin::text = ANY (:transactions::text[])
GROUP BY 1 HAVING count(*) > 1;

-- name: missing_rights
SELECT t.name, t.privilege FROM unnest(:tables::text[], :privileges::text[]) AS t (name, privilege)
WHERE NOT has_table_privilege(to_regclass(t.name), t.privilege);

-- name: write_statements
-- For each of these tables a statement that sets all columns of the row $1 to the values in the
-- JSON object $2 (a column that is not in it keeps its value), and one that inserts the row $1.
SELECT t.name AS table_name,
    format(
        'UPDATE %1$s e SET (%2$s) = (SELECT %3$s FROM jsonb_populate_record(e, $2::jsonb) v) '
        'WHERE e.id = $1::text RETURNING to_jsonb(e)::text AS content',
        to_regclass(t.name), string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum),
        string_agg(format('v.%I', a.attname), ', ' ORDER BY a.attnum)
    ) AS update_row,
    format(
        'INSERT INTO %1$s AS e (%2$s) SELECT %3$s '
        'FROM jsonb_populate_record(NULL::%1$s, $1::jsonb) v RETURNING to_jsonb(e)::text AS content',
        to_regclass(t.name), string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum),
        string_agg(format('v.%I', a.attname), ', ' ORDER BY a.attnum)
    ) AS insert_row,
    format('DELETE FROM %1$s WHERE id = ANY ($1::text[]) RETURNING id', to_regclass(t.name))
        AS delete_rows
FROM unnest(:tables::text[]) AS t (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(t.name)
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
GROUP BY t.name;

-- name: rules_by_id
SELECT id, to_jsonb(e)::text AS content FROM malpractice_enforcements e
WHERE id = ANY (:ids::text[]);
