"""What people write in coursework, in feedback and in remarks. Plain lists, no rules."""

SENTENCES = (
    "The organisation reviewed its approach to recruitment during the spring.",
    "Evidence suggests that clear objectives improve the results of a team.",
    "Managers were asked to record how they had used the new procedure.",
    "A comparison of both models shows where each of them falls short.",
    "Reliable data matter more than the number of charts in a report.",
    "In the case study, the branch lost a third of its staff within a year.",
    "Stakeholders expect a short summary before any detailed analysis.",
    "The costs of absence are often higher than the costs of prevention.",
    "Interviews with six colleagues confirmed the first impression.",
    "An induction plan should cover the first ninety days at least.",
    "The author recommends a pilot of three months in two departments.",
    "Legislation sets the minimum, and good practice goes further.",
    "Reward alone does not explain why people decide to stay.",
    "Feedback is most useful when it is specific, prompt and kind.",
    "The table below compares planned and actual hours of training.",
    "Ethical conduct includes the courage to question a decision.",
    "A flexible rota reduced overtime without a loss of quality.",
    "The survey was answered by 212 of 340 members of staff.",
    "Each recommendation names an owner, a date and a measure.",
    "Remote work changes how trust is built within a team.",
    "Conflicts were resolved informally wherever that was possible.",
    "The learning need was identified through observation.",
    "Change fails most often because its purpose stays unclear.",
    "A fair process is accepted even when its outcome disappoints.",
    "Several sources disagree on the effect of annual appraisals.",
    "The conclusion returns to the three questions of the brief.",
    "Costs and benefits were estimated over a period of five years.",
    "Coaching differs from mentoring in its length and its focus.",
    "Succession planning starts long before a post falls vacant.",
    "Both parties signed the agreement at the end of the meeting.",
)
"""Plain ASCII without brackets, so that every document format takes them as they are."""

MARKER_NOTES = (
    "A well structured answer that meets the outcomes of the unit.",
    "Good use of sources.\r\n\r\nPlease number your pages next time.",
    "Sound analysis 👍 but the conclusion is rather short.",
    "See the annotated script.\n- Q1: clear\n- Q2: more depth needed\n- Q3: excellent",
    "Überzeugende Argumentation – très bien présentée. 良い。",
    'The phrase "best practice" needs a reference; 50% of the claims have none.',
    "Resubmission reviewed by the second marker, marks unchanged. ✅",
)

MARKER_COMMENTS = (
    "Clear and to the point.",
    "More examples from your own workplace would help.",
    "References missing for two of the claims.",
    "Excellent 🎉",
    "Answer the question that was asked: compare, do not just describe.",
    "Good link between theory\nand practice.",
    "Within the word count, well presented.",
)

DOCUMENT_TITLES = (
    "Assignment",
    "Assignment final",
    "Case study report",
    "Reflective account",
    "Written answers",
    "Project proposal v2",
    "Draft_3_corrected",
    "Portfolio",
    "Assessment submission",
    "Essay-final-FINAL",
)
