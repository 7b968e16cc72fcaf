"""`tinytales-tui stories …`: what can be typed. What is shown is in `stories_show`, what is changed in `stories_change`, what leaves and
comes in `stories_send`, and writing one again in `stories_replay`. No Textual; torch only where a story is written again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="stories",
    help="Your library: list, read, search, export, import and replay stories; without a command, list them.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _ids(incomplete: str) -> list[str]:
    """Ids of stories for the shell's completion."""
    from engine.errors import TinyTalesError
    from tinytales_tui.library.store import Library
    from tinytales_tui.paths import library_file

    if not library_file().is_file():
        return []
    try:
        with Library.open(library_file()) as library:
            return [line.id for line in library.listing() if line.id.startswith(incomplete)]
    except TinyTalesError:
        return []


_ID = "As `list` names it; its first letters are enough."
_Id = Annotated[str, typer.Argument(metavar="ID", help=_ID, autocompletion=_ids)]
_Ids = Annotated[list[str], typer.Argument(metavar="ID...", help=_ID, autocompletion=_ids)]
_Json = Annotated[bool, typer.Option("--json", help="JSON, with everything that is known.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_Sort = Annotated[str, typer.Option("--sort", metavar="changed|created|name|words|rating", help="What comes first.")]
_Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Only those with this tag; may be repeated.")]
_Favourites = Annotated[bool, typer.Option("--favourites", help="Only favourites.")]
_Trash = Annotated[bool, typer.Option("--trash", help="What is in the trash.")]
_Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help="At most so many.", min=1)]
_Node = Annotated[int | None, typer.Option("--node", metavar="N", help="At this node of its tree, not the one in front.", min=1)]


@app.callback()
def stories(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(
    sort: _Sort = "changed",
    tag: _Tags = None,
    favourites: _Favourites = False,
    trash: _Trash = False,
    limit: _Limit = None,
    json_object: _Json = False,
) -> None:
    """All stories, the newest first (parts: what was generated or edited at once, in all branches)."""
    from tinytales_tui.stories_show import show_list

    raise typer.Exit(show_list("", sort, tag or [], favourites, trash, limit, json_object))


@app.command()
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS...", help="All of these, or their beginnings; a phrase in quotes is one.")
    ],
    sort: _Sort = "changed",
    tag: _Tags = None,
    favourites: _Favourites = False,
    trash: _Trash = False,
    limit: _Limit = None,
    json_object: _Json = False,
) -> None:
    """Stories that have these words anywhere: in any branch, the title, the topic or a tag. Exit code 1: none has."""
    from tinytales_tui.stories_show import show_list

    phrases = (f'"{piece}"' if " " in piece.strip() else piece for piece in words)
    raise typer.Exit(show_list(" ".join(phrases), sort, tag or [], favourites, trash, limit, json_object))


@app.command()
def show(
    story: _Id,
    node: _Node = None,
    tree: Annotated[bool, typer.Option("--tree", help="All its branches, with their first words.")] = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="Each generated token with its probability.")] = False,
    json_object: _Json = False,
) -> None:
    """Read a story."""
    from tinytales_tui.stories_show import show_one

    raise typer.Exit(show_one(story, node, tree, tokens, json_object))


@app.command()
def export(
    stories: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help=f"{_ID} Or --all, or --tag.", autocompletion=_ids)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole library, but for the trash.")] = False,
    tag: _Tags = None,
    favourites: _Favourites = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="md|txt|json|html|epub", help="The form. Left out: as FILE ends, else md; json has every branch."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Left out: standard output.")] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Of a page or book with several stories.")] = "Stories",
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    json_object: Annotated[bool, typer.Option("--json", help="The same as --to json.")] = False,
) -> None:
    """One, some or all stories as Markdown, text, JSON, a web page or a book, whole or not at all."""
    from tinytales_tui.stories_send import export_stories

    form = "json" if json_object else to
    raise typer.Exit(export_stories(stories or [], everything, tag or [], favourites, form, output, title, force))


@app.command("import")
def import_(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="What `export --to json` or `--prompt --json` wrote; - for standard input."),
    ],
    json_object: _Json = False,
) -> None:
    """Take stories into the library, all of them or none; those that are there already are passed over."""
    from tinytales_tui.stories_send import import_stories

    raise typer.Exit(import_stories(files, json_object))


@app.command()
def delete(
    stories: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help=_ID, autocompletion=_ids)] = None,
    now: Annotated[bool, typer.Option("--now", help="For good, with no way back.")] = False,
    trash: Annotated[bool, typer.Option("--trash", help="All that is in the trash, for good.")] = False,
    yes: _Yes = False,
    json_object: _Json = False,
) -> None:
    """Put stories into the trash; `restore` brings them back."""
    from tinytales_tui.stories_change import delete_stories

    raise typer.Exit(delete_stories(stories or [], now=now, trash=trash, yes=yes, as_json=json_object))


@app.command()
def restore(stories: _Ids, json_object: _Json = False) -> None:
    """Bring stories back from the trash."""
    from tinytales_tui.stories_change import restore_stories

    raise typer.Exit(restore_stories(stories, json_object))


@app.command()
def rename(
    story: _Id,
    title: Annotated[str, typer.Argument(metavar="TITLE", help='"" lets the topic or the first words stand for it again.')],
    json_object: _Json = False,
) -> None:
    """Give a story a title."""
    from tinytales_tui.stories_change import rename_story

    raise typer.Exit(rename_story(story, title, json_object))


@app.command()
def tag(
    story: _Id,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Tags it gets.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="TAG", help="A tag it loses; may be repeated.")] = None,
    favourite: Annotated[bool | None, typer.Option("--favourite/--no-favourite", help="Whether it is a favourite.")] = None,
    json_object: _Json = False,
) -> None:
    """Give a story tags, or take them away, or mark it as a favourite; its tags are printed."""
    from tinytales_tui.stories_change import tag_story

    raise typer.Exit(tag_story(story, tags or [], remove or [], favourite, json_object))


@app.command()
def replay(
    story: _Id,
    node: _Node = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", "-c", metavar="SOURCE", help="Write with this one, not the recipe's.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps ..., not the recipe's.")] = None,
    json_object: _Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on standard error.")] = False,
) -> None:
    """Write a story again from its recipe and compare it token for token. Exit code 1: it is not the same, and why."""
    from tinytales_tui.stories_replay import replay_story

    raise typer.Exit(replay_story(story, node, checkpoint, device, json_object, quiet))
