"""The command serve: HTTP in front of an editor, or of a model that is already deployed; and its
API keys."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from serac_jax.cli.answering import editor_argument, mesh_of, named
from serac_jax.cli.command import OK, Command, memory_path
from serac_jax.cli.options import packages_of
from serac_jax.core.console import complain, say, show_json
from serac_jax.core.errors import UserError

if TYPE_CHECKING:
    from serac_jax.server.settings import Settings


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="*",
        metavar="key NAME",
        help="make an API key of this name, in the file of --api-keys, instead of serving",
    )
    editor_argument(parser, "the editor, as for ask; by default $SERAC_EDITOR, or mini")
    parser.add_argument("--rerank", default="", metavar="MODEL", help="as for ask")
    where = parser.add_argument_group("where it listens")
    where.add_argument("--host", default="127.0.0.1", help="the address (127.0.0.1)")
    where.add_argument("--port", type=int, default=8800, help="the port (8800)")
    where.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    upstream_arguments(parser)
    key_arguments(parser)
    limit_arguments(parser)
    parser.add_argument(
        "--reports",
        default="",
        metavar="FILE",
        help="where reported false hits are kept, for `calibrate --data` (MEMORY.reports.jsonl)",
    )
    parser.add_argument(
        "--no-warm-up",
        dest="warm_up",
        action="store_false",
        help="be ready at once; the first questions then wait for their programs to compile",
    )
    parser.add_argument("--log-texts", action="store_true", help="log questions too")


def upstream_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("in front of a deployed model")
    group.add_argument(
        "--upstream",
        default="",
        metavar="URL",
        help="an OpenAI-compatible server, which answers what no edit does; $SERAC_UPSTREAM_KEY is"
        " its own API key",
    )
    group.add_argument(
        "--mode",
        choices=("answer", "inject"),
        default="answer",
        help="what happens to a hit: answer answers it here, inject puts the edit before the"
        " question, and the upstream answers (answer)",
    )
    group.add_argument(
        "--template",
        default="",
        metavar="FILE",
        help="of inject: a text with {question}, {answer} and, if you like, {prompt}",
    )


def key_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("who may call")
    group.add_argument(
        "--api-keys",
        default="",
        metavar="FILE",
        help="the file of API keys; without one, only this machine is listened to",
    )
    group.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="of a new key: it sees edits with this tag and those without any; by default all",
    )
    group.add_argument("--may-edit", action="store_true", help="of a new key: it may change edits")
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web page's origin that may call, such as https://example.com",
    )


def limit_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max-body", type=int, default=8 << 20, metavar="BYTES", help="of a request (8 MiB)"
    )
    group.add_argument(
        "--max-prompt", type=int, default=20_000, metavar="N", help="characters of a question"
    )
    group.add_argument(
        "--rate", type=int, default=0, metavar="N", help="requests a minute of one key (any)"
    )
    group.add_argument(
        "--concurrent", type=int, default=256, metavar="N", help="requests at once (256)"
    )
    group.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="for an answer (120)"
    )
    group.add_argument(
        "--grace",
        type=int,
        default=30,
        metavar="SECONDS",
        help="in which requests may finish when the server is stopped (30)",
    )


def run(options: Namespace) -> int:
    if options.what:
        return make_key(options)
    with packages_of("serve"):
        from serac_jax.server import run_server
    settings = settings_of(options)
    settings.check()
    complain(introduction(settings))
    run_server.run(settings)
    return OK


def make_key(options: Namespace) -> int:
    """Makes an API key, and prints it: it is not kept."""
    from serac_jax.server import tenants

    if options.what[0] != "key" or len(options.what) != 2:
        raise UserError("`serve` takes nothing behind it, or key and a name: `serve key ann`")
    if not options.api_keys:
        raise UserError("--api-keys=FILE names the file that the key is added to")
    name, path = options.what[1], Path(options.api_keys)
    key = tenants.make_key(path, name, options.tag, options.may_edit)
    show_json({"name": name, "key": key}) if options.json else say(key)
    complain(f"added to {path}, which has a hash of it; the key itself is not shown again")
    return OK


def settings_of(options: Namespace) -> Settings:
    """The settings of a command line."""
    from serac_jax.server.settings import Settings

    alike = set(Settings._fields) & vars(options).keys() - {"editor", "memory", "mesh"}
    return Settings(
        editor=named(options) or "mini",
        memory=str(memory_path(options)),
        mesh=mesh_of(options),
        origins=tuple(options.allow_origin),
        **{name: getattr(options, name) for name in alike},
    )


def introduction(settings: Settings) -> str:
    """What is served, where, and to whom."""
    model = settings.upstream or "its own base model"
    address = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}"
    who = (
        f"keys of {settings.api_keys}"
        if settings.api_keys
        else "no API keys: whoever is on this machine may ask and edit, and nobody else"
    )
    return (
        f"{address}:{settings.port}: {settings.editor} with the edits of {settings.memory},"
        f" in front of {model}; {who}"
    )


COMMANDS = {
    "serve": Command(
        run,
        arguments,
        """
serve                                               # http://127.0.0.1:8800
serve --editor=smollm2 --memory=edits.jsonl
serve --upstream=http://127.0.0.1:8000/v1           # in front of vLLM, say
serve --upstream=http://127.0.0.1:8000/v1 --mode=inject
serve key ann --api-keys=keys.jsonl --may-edit      # make an API key
serve --api-keys=keys.jsonl --host=0.0.0.0 --workers=2
""",
    ),
}
