"""`why`: the post-mortem of an agent, for people at three in the morning and for programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import TYPE_CHECKING

import click

from manager.cli import exit_codes, sanitize
from manager.cli.options import agent_argument, chosen_format
from manager.cli.session import Session, current, now, say, shared_options, write, write_json
from manager.cli.times import time_text

if TYPE_CHECKING:
    from manager.why.material import Material
    from manager.why.model import PostMortem

_MARKUP = re.compile(r"([\\`*_\[\]<>|~&]|^[#+=-])")
_FENCE = re.compile(r"`{3,}")


@click.command("why")
@agent_argument()
@click.option(
    "--attempt", type=click.IntRange(min=1), metavar="N", help="Which attempt; by default the last one."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown", "html"]),
    help="How to write it; text by default, `--json` is the same as json.",
)
@shared_options
def why_command(*, agent: str, attempt: int | None, form: str | None) -> int:
    """Why AGENT ended: cause and how certain, evidence, who asked, what led to it, what followed, proof."""
    from manager.why.collect import explain, material_of
    from manager.why.words import is_wrong

    session = current()
    chosen = chosen_format(session, form, "text")
    view = session.view()
    material = material_of(view, agent)
    found = explain(material, attempt)
    if found.proof.wrong is not None:
        say(f"outlive: do not trust what the log says: {is_wrong(found.proof.wrong)}; see `outlive verify`")
    if chosen == "json":
        write_json(found.as_json())
    elif chosen == "html":
        write(as_html(found, material, session, at=view.as_of or now()))
    else:
        write(RENDERERS[chosen](found, session))
    return exit_codes.DONE


def as_html(found: PostMortem, material: Material, session: Session, *, at: int) -> str:
    """For a browser, a printer or an archive: one file, with the agent's life as a picture."""
    from manager.why.life import life_of
    from manager.why.page import page

    life = life_of(material, found.attempt, at)
    return page(found, life, zone=UTC if session.utc else None, made_at=at)


def as_text(found: PostMortem, session: Session) -> str:
    """For a terminal: the cause in one sentence, then the sections."""
    from manager.why.sections import sections
    from manager.why.words import summary

    lines = [sanitize.one_line(summary(found))]
    for section in sections(found, lambda at: time_text(at, utc=session.utc)):
        clean = sanitize.output if section.is_output else sanitize.one_line
        lines += ["", section.title, *(f"  {clean(line)}" for line in section.lines)]
    return "\n".join(lines)


def as_markdown(found: PostMortem, session: Session) -> str:
    """For an issue or a report: the same, as CommonMark in which no text of the agent is markup."""
    from manager.why.sections import sections
    from manager.why.words import summary, title

    lines = [f"# {_plain(title(found))}", "", f"**{_plain(summary(found))}**"]
    for section in sections(found, lambda at: time_text(at, utc=session.utc)):
        lines += ["", f"## {section.title.capitalize()}", ""]
        if section.is_output:
            text = "\n".join(sanitize.output(line) for line in section.lines)
            fence = "`" * max(3, *(len(run) + 1 for run in ["", *_FENCE.findall(text)]))
            lines += [f"{fence}text", text, fence]
        else:
            lines += [f"- {_plain(line)}" for line in section.lines]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", sanitize.one_line(text))


RENDERERS: Mapping[str, Callable[[PostMortem, Session], str]] = {"text": as_text, "markdown": as_markdown}
