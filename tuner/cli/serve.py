"""`tuner serve`: the database in a browser."""

import sys
from typing import Annotated

import typer

from tuner.cli.common import Db, Host

_EXAMPLES = """
Examples:

  tuner serve

  tuner serve --port 8000 --db results/gemm.db

  tuner serve --host 0.0.0.0 --token new
"""
_VARIABLE = "TUNER_SERVE_TOKEN"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve", epilog=_EXAMPLES)(serve)


def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8427,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=_VARIABLE,
            help="What browsers have to bring, of 16 characters or more; 'new' makes one. Others on this "
            f"machine can read a command's arguments: {_VARIABLE} is safer.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A further host name that browsers use for this server.", show_default=False),
    ] = None,
    db: Db = None,
) -> None:
    """Show the database in a browser, running sweeps live, with a JSON API under it; it only reads."""
    from tuner.cli.common import say
    from tuner.core.errors import TunerError

    try:
        from tuner.serve.address import Address, listening, url_of
        from tuner.serve.database import Database
        from tuner.serve.server import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "tuner":
            raise
        raise TunerError(f"tuner serve needs {error.name}: pip install 'kernel-tuner-lab[serve]'") from None
    if token == "new":
        import secrets

        token = secrets.token_urlsafe(24)
    address = Address(host, port, token, tuple(name or ()))
    found = listening(address)
    database = Database(db)
    url = url_of(found, address)

    def ready() -> None:
        say(f"{database.name} is at {url}{f'?token={token}' if token else ''}  (Ctrl-C ends it)")
        if token and not url.startswith("https:"):
            say("the token goes over the network as it is: use an SSH tunnel where others can listen")
        sys.stdout.flush()

    try:
        run(database, found, address, ready)
    finally:
        database.close()
