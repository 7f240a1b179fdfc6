"""The bodies of the edits' interface, as the OpenAPI description shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
Tags = Annotated[list[Tag], Field(max_length=100)]
EditId = Annotated[str, Field(min_length=1, max_length=64)]
Policy = Literal["refuse", "newest", "same_words", "keep"]


class Given(BaseModel):
    """What a client sends: no other fields, no other types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Draft(Given):
    """An edit that is not stored."""

    prompt: Text
    answer: Text
    tags: Tags = []


class NewEdit(Draft):
    """An edit to add."""

    note: str = ""
    source: str = ""
    expires: str = Field("", description="a date or time of ISO 8601, from which on it is not used")
    policy: Policy = Field(
        "refuse",
        description="what happens where stored edits contradict it: refuse answers 409 and changes"
        " nothing, newest replaces them, same_words replaces those of the same words and keeps the"
        " others, keep keeps all",
    )
    message: str = Field("", description="why, for the log")


class Turn(Given):
    """A question that was asked before, and its answer."""

    question: Text
    answer: str


class Question(Given):
    """A question."""

    question: Text
    tags: Tags | None = Field(None, description="what it sees: edits with one of these, or none")
    history: Annotated[list[Turn], Field(max_length=1000)] = Field(
        [], description="earlier turns of the conversation; the router reads the question alone"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="of a generated answer; an edit's is never cut"
    )


class Attempt(Given):
    """A question, and an edit to try it on."""

    question: Text
    edit: Draft
    tags: Tags | None = None


class Report(Given):
    """A question that an edit answered, and should not have; or the other way round."""

    question: Text
    edit_id: EditId
    wrong: Literal["hit", "miss"] = Field(
        "hit", description="hit: the edit should not have answered; miss: it should have"
    )


class EditFields(BaseModel):
    """A stored edit."""

    prompt: str
    answer: str
    id: str
    tags: list[str] = []
    note: str = ""
    author: str = ""
    time: str = ""
    source: str = ""
    expires: str = ""


class Listed(EditFields):
    """A stored edit, and how often it answered since the server began."""

    expired: bool
    answers: int
    last_answered: str


class EditList(BaseModel):
    """A page of edits, oldest first."""

    version: int = Field(description="the number of the newest operation, for If-Match")
    total: int = Field(description="how many edits there are on all pages")
    edits: list[Listed]


class Added(EditFields):
    """The edit as it is stored now.

    replaced: ids of edits that it replaced. noted: what it gets in the way of, which was kept.
    """

    version: int
    new: bool
    replaced: list[str]
    noted: list[dict[str, Any]]


class Removed(BaseModel):
    """The edit that was removed."""

    version: int
    edit: EditFields


class Removal(Given):
    """Edits to remove together."""

    ids: Annotated[list[EditId], Field(min_length=1, max_length=1000)]
    message: str = Field("", description="why, for the log")


class AllRemoved(BaseModel):
    """The edits that were removed, as one operation."""

    version: int
    edits: list[EditFields]


class Imported(BaseModel):
    """What an import did."""

    version: int
    read: int
    added: int
    replaced: list[str]


class OperationFields(BaseModel):
    """A change that was made."""

    seq: int
    time: str
    author: str
    do: str
    message: str
    of: int
    count: int
    removed: list[EditFields]
    added: list[EditFields]


class Log(BaseModel):
    """Operations, newest first."""

    version: int
    operations: list[OperationFields]


class Done(BaseModel):
    """The operation that was undone or redone."""

    version: int
    operation: OperationFields


class Diff(BaseModel):
    """What differs between two states."""

    version: int
    removed: list[EditFields]
    added: list[EditFields]


class ConflictFields(BaseModel):
    """Two edits that get in each other's way."""

    kind: str
    new: EditFields
    old: EditFields
    old_by_new: float
    new_by_old: float


class Conflicts(BaseModel):
    """Conflicts of edits."""

    version: int
    conflicts: list[ConflictFields]


class Checked(BaseModel):
    """What is wrong with the edits; the last three where the editor was asked."""

    version: int
    edits: int
    expired: int
    problems: list[dict[str, Any]]
    conflicts: list[list[str]]
    judged: list[dict[str, str]] | None = None
    unsayable: dict[str, str] | None = None
    unanswered: list[str] | None = None


class NearFields(BaseModel):
    """An edit, and how likely the question is in its scope."""

    edit: EditFields
    score: float


class AnswerFields(BaseModel):
    """An answer, and where it comes from."""

    question: str
    text: str
    edit_id: str | None
    score: float
    unsure: bool
    nearest: NearFields | None
    runner_up: NearFields | None


class WhyFields(AnswerFields):
    """An answer, and what decided it."""

    threshold: float
    margin: float
    reads: str
    base_text: str


class Tried(BaseModel):
    """The answer now, and what the draft would do.

    would_answer: whether the draft, alone, answers the question. text: its answer.
    """

    now: AnswerFields
    would_answer: bool
    score: float
    threshold: float
    text: str


class Reported(BaseModel):
    """The row that was written, which `serac calibrate --data` reads."""

    edits: list[tuple[str, str]]
    inside: list[str]
    outside: list[str]


class Error(BaseModel):
    """What is wrong, and what to do; `code` is for programs."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(BaseModel):
    """A request that was not served."""

    error: Error


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": what}
    for status, what in {
        400: "not JSON, or a text that cannot be stored",
        401: "no API key, or an unknown one",
        403: "the key may not do this, or a page of another origin sent it",
        404: "there is no such edit",
        408: "the body did not arrive in time",
        409: "stored edits contradict it, or the memory has changed since `If-Match`",
        413: "the body is too large",
        422: "a field or parameter is not of its type",
        429: "too many requests of this key",
        503: "the memory cannot be read, or too many requests at once",
        504: "the answer took too long",
        507: "the disk is full",
    }.items()
}
