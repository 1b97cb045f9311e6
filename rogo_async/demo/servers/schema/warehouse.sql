-- The warehouse's two tables, named as in SQL Server. Columns that only make up the
-- width of the real ones come last.

CREATE SCHEMA "dbo";

CREATE TABLE "dbo"."Rogo_AssessmentReport" (
    "AttemptId" integer,
    "TIUserId" varchar(255),
    "TISectionId" varchar(255),
    "Exercise" text,
    "MarksAchieved" numeric,
    "MarksAwarded" numeric,
    "MarksAvailable" numeric,
    "GradePercent" numeric,
    "Grade" text,
    "MarkerNotes" text,
    "ResultsApproved" timestamp,
    "DateInserted" timestamp,
    "DateModified" timestamp,
    "ReportId" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "MembershipNumber" varchar(32),
    "CentreName" text,
    "MarkerName" text,
    "ModeratorName" text,
    "DueDate" timestamp,
    "WordCount" integer,
    "IsResubmission" boolean DEFAULT false
);

CREATE INDEX "IX_Rogo_AssessmentReport_AttemptId"
    ON "dbo"."Rogo_AssessmentReport" ("AttemptId");

CREATE TABLE "dbo"."Rogo_AssessmentReportScores" (
    "AttemptId" integer,
    "ScoreLabelCorrected" text,
    "Score" numeric,
    "MarkerComment" text,
    "DateInserted" timestamp,
    "DateModified" timestamp,
    "ScoreId" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "ScoreLabel" text,
    "ScoreAvailable" numeric,
    "ScoreOrder" integer
);

CREATE INDEX "IX_Rogo_AssessmentReportScores_AttemptId"
    ON "dbo"."Rogo_AssessmentReportScores" ("AttemptId");
