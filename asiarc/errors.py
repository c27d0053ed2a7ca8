"""The errors that a user may catch: each says what was given, what is allowed and what to do next."""

from asiarc.core.errors import (
    ArchiveError,
    AsiarcError,
    BrokenRuleError,
    BudgetExhaustedError,
    CampaignError,
    CandidateError,
    DeclarationError,
    EvidenceError,
    ExecutionError,
    ExtraMissingError,
    KernelError,
    KernelInputError,
    ModelInputError,
    TaskError,
)

__all__ = [
    "ArchiveError",
    "AsiarcError",
    "BrokenRuleError",
    "BudgetExhaustedError",
    "CampaignError",
    "CandidateError",
    "DeclarationError",
    "EvidenceError",
    "ExecutionError",
    "ExtraMissingError",
    "KernelError",
    "KernelInputError",
    "ModelInputError",
    "TaskError",
]
