-- Only the permissions that a migration needs in the target.

GRANT SELECT ON users, assessments, assessment_sections, malpractice_levels TO rogo_writer;

GRANT SELECT, INSERT, DELETE ON
    lti_launch_sessions, lti_session_records, assignment_submissions, submission_files,
    submission_marking_assignments, submission_section_marks, submission_grades,
    malpractice_enforcements
TO rogo_writer;

GRANT UPDATE ON malpractice_enforcements TO rogo_writer;

-- Only for ROGO_REFRESH, and for the rollback of a run that refreshed:
GRANT UPDATE ON
    lti_launch_sessions, lti_session_records, assignment_submissions, submission_files,
    submission_marking_assignments, submission_section_marks, submission_grades
TO rogo_writer;
