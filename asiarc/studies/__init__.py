"""Studies: declared mixers trained beside one another on the same seeds and text, to decide a claim; no search in them.

`Study` names mixers, tasks and seeds; `Search` names arms that search at equal compute, and trains their winners
again. Both are declared in ``reproductions/claim_*.py`` beside the deciders that read them, collected as items
there, run through the same workshop, executor and archive as a campaign's trials, and resumed like them. What the
trained models look like inside (gates, moved parameters) is measured in the sandbox too (`probe`).
"""

from asiarc.studies.arms import Search, SearchResult
from asiarc.studies.study import Study, StudyResult

__all__ = ["Search", "SearchResult", "Study", "StudyResult"]
