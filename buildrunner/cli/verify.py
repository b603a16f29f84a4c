"""`buildrunner verify`: checks a package whole."""

import click

from buildrunner.cli.options import json_option


@click.command("verify")
@click.argument("zip_file", metavar="ZIP")
@json_option
def command(zip_file: str, as_json: bool) -> int:
    """Check every byte of a ZIP made by buildrunner: exit 1 when anything differs, 2 when it is no such zip."""
    from buildrunner.naming import display
    from buildrunner.package import verify
    from buildrunner.reports.words import count

    found = verify(zip_file)
    if as_json:
        import json

        click.echo(
            json.dumps({"path": zip_file, "ok": not found.problems, "files": found.files, "problems": found.problems})
        )
    else:
        for problem in found.problems:
            click.echo(f"{display(zip_file)}: {problem}", err=True)
        if not found.problems:
            click.echo(f"{display(zip_file)}: {count(found.files, 'file')}, all as packaged")
    return 1 if found.problems else 0
